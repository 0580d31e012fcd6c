//! Debug information over xDS on the secure port, as `istioctl proxy-status` and `istioctl x internal-debug` ask for it.
//!
//! Source: Istio, types `istio.io/debug/syncz` (`ClientConfig`s), `istio.io/debug/config_dump` (dumps of one proxy) and
//! `istio.io/debug` (a debug page). Callers of the control plane's namespace see everything, others their own namespace.

use std::sync::Arc;

use bytes::Bytes;
use http::Uri;
use lateen_xds::TypeUrl;
use lateen_xds::grpc::framed;
use lateen_xds::pb::envoy::admin::v3 as admin;
use lateen_xds::pb::envoy::config::core::v3::{ControlPlane, Node};
use lateen_xds::pb::envoy::service::discovery::v3::DiscoveryResponse;
use lateen_xds::pb::envoy::service::status::v3::client_config::GenericXdsConfig;
use lateen_xds::pb::envoy::service::status::v3::{ClientConfig, ConfigStatus};
use lateen_xds::pb::google::protobuf::{Any, Struct, Value, value::Kind};
use lateen_xds::server::{Protocol, SyncState};
use serde_json::json;
use tonic::{Status, Streaming};

use super::connection::Sender;
use super::discovery::Discovery;
use super::registry::Connection;
use crate::auth::Caller;
use crate::{Context, Refusal, debug};

const PAGE: &str = "istio.io/debug";
const SYNCZ: &str = "istio.io/debug/syncz";
const CONFIG_DUMP: &str = "istio.io/debug/config_dump";

/// The types whose state is told, in Istio's order.
const SHOWN: [TypeUrl; 5] =
    [TypeUrl::Listener, TypeUrl::Route, TypeUrl::Endpoints, TypeUrl::Cluster, TypeUrl::ExtensionConfig];

/// Whether a type is of debug information.
pub(super) fn is_debug(type_url: &str) -> bool {
    type_url == PAGE || type_url.strip_prefix(PAGE).is_some_and(|rest| rest.starts_with('/'))
}

/// Who asks, and in which namespace the control plane is.
pub(super) struct Asker<'a> {
    /// None: nobody has proved anything.
    pub caller: Option<&'a Caller>,
    pub system: &'a str,
}

/// Answers whoever asks for debug information, for as long as the stream is open.
///
/// # Errors
/// The caller may not see it, or nobody knows what it asks for.
pub(super) async fn serve<Q: Discovery>(
    mut requests: Streaming<Q>,
    first: Q,
    sender: &Sender,
    protocol: Protocol,
    context: &Arc<Context>,
    asker: &Asker<'_>,
) -> Result<(), Status> {
    if protocol != Protocol::StateOfTheWorld {
        return Err(Status::unimplemented("debug information is given on StreamAggregatedResources alone"));
    }
    let mut request = Some(first);
    while let Some(wanted) = request {
        // An acknowledgement asks for nothing.
        if !wanted.is_acknowledgement() {
            let answer = answer(wanted.asked(), asker, context).await?;
            if sender.send(Ok(answer)).await.is_err() {
                return Ok(());
            }
        }
        request = requests.message().await?;
    }
    Ok(())
}

/// Answers one request.
async fn answer(
    (type_url, names): (&str, &[String]),
    asker: &Asker<'_>,
    context: &Arc<Context>,
) -> Result<Bytes, Status> {
    let refused = |refusal, status: Status| {
        context.metrics.refusals.on(refusal);
        tracing::warn!(type_url, ?names, reason = status.message(), "debug information refused");
        status
    };
    let Some(caller) = asker.caller else {
        let text = "debug information is for callers that prove who they are, on port 15012";
        return Err(refused(Refusal::DebugUnknown, Status::unauthenticated(text)));
    };
    let page = |path: String| -> Result<String, Status> {
        let uri: Uri = path.parse().map_err(|_| Status::invalid_argument("not the name of a debug page"))?;
        if debug::may_see(asker.system, caller, context, &uri) {
            return Ok(path);
        }
        let text = format!("{} may not see it", caller.identities[0]);
        Err(refused(Refusal::DebugNamespace, Status::permission_denied(text)))
    };
    let resources = match (type_url, names) {
        (SYNCZ, _) => syncz(asker.system, caller, context),
        (CONFIG_DUMP, [proxy]) => {
            page(format!("/debug/config_dump?proxyID={proxy}"))?;
            let found = context.registry.find(proxy);
            dumps(&*found.ok_or_else(|| Status::not_found(format!("{proxy:?} is not connected")))?)
        }
        (PAGE, [name]) => {
            let path = page(format!("/debug/{name}"))?;
            let value = debug::page(Arc::clone(context), &path).await.map_err(Status::not_found)?;
            vec![Any { type_url: PAGE.to_owned(), value }]
        }
        (CONFIG_DUMP, _) => return Err(Status::invalid_argument("exactly one proxy is to be named")),
        (PAGE, _) => return Err(Status::invalid_argument("exactly one debug page is to be named")),
        _ => {
            return Err(Status::not_found(format!("there is no debug information of the type {type_url:?}")));
        }
    };
    Ok(response(type_url, resources))
}

fn response(type_url: &str, resources: Vec<Any>) -> Bytes {
    let pod = std::env::var("POD_NAME").unwrap_or_else(|_| "istiod".to_owned());
    let version = env!("CARGO_PKG_VERSION");
    let identifier = json!({ "Component": "istiod", "ID": pod, "Info": { "version": version } });
    framed(&DiscoveryResponse {
        type_url: type_url.to_owned(),
        resources,
        nonce: "1".to_owned(),
        control_plane: Some(ControlPlane { identifier: identifier.to_string() }),
        ..DiscoveryResponse::default()
    })
}

fn syncz(system: &str, caller: &Caller, context: &Context) -> Vec<Any> {
    let of = |namespace: &str| caller.identities.iter().any(|id| id.namespace() == namespace);
    let all = context.registry.all();
    let seen = all.iter().filter(|c| of(system) || of(&c.proxy.namespace));
    seen.map(|connection| lateen_xds::any(&status(connection))).collect()
}

fn status(connection: &Connection) -> ClientConfig {
    let proxy = &connection.proxy;
    let session = connection.session();
    let of = |type_url: TypeUrl| {
        let status = match session.status(type_url).state() {
            SyncState::Synced => ConfigStatus::Synced,
            SyncState::Stale => ConfigStatus::Stale,
            SyncState::NotSent => ConfigStatus::NotSent,
        };
        GenericXdsConfig {
            type_url: type_url.as_str().to_owned(),
            config_status: status as i32,
            ..GenericXdsConfig::default()
        }
    };
    let text = |text: &str| Value { kind: Some(Kind::StringValue(text.to_owned())) };
    let fields = [
        ("CLUSTER_ID", text(&proxy.cluster)),
        ("NAMESPACE", text(&proxy.namespace)),
        ("ISTIO_VERSION", text(&connection.istio_version)),
    ];
    let metadata = Struct { fields: fields.map(|(key, value)| (key.to_owned(), value)).into() };
    let id = format!("{}.{}", proxy.name, proxy.namespace);
    ClientConfig {
        node: Some(Node { id, metadata: Some(metadata), ..Node::default() }),
        generic_xds_configs: SHOWN.map(of).into(),
        ..ClientConfig::default()
    }
}

/// What a proxy was sent, in the form of Envoy's `config_dump`; without Secrets.
fn dumps(connection: &Connection) -> Vec<Any> {
    use admin::clusters_config_dump::DynamicCluster;
    use admin::listeners_config_dump::{DynamicListener, DynamicListenerState};
    use admin::routes_config_dump::DynamicRouteConfig;
    let all = |type_url: TypeUrl| {
        let mut found = Vec::new();
        connection.session().visit_subscribed(type_url, &mut |resource| {
            let any = Any { type_url: type_url.as_str().into(), value: resource.body.to_vec() };
            found.push((resource.name.to_string(), format!("{:016x}", resource.version), Some(any)));
        });
        found.into_iter()
    };
    let clusters = all(TypeUrl::Cluster).map(|(_, version_info, cluster)| DynamicCluster {
        version_info,
        cluster,
        ..DynamicCluster::default()
    });
    let listeners = all(TypeUrl::Listener).map(|(name, version_info, listener)| {
        let state = DynamicListenerState { version_info, listener, ..DynamicListenerState::default() };
        DynamicListener { name, active_state: Some(state), ..DynamicListener::default() }
    });
    let routes = all(TypeUrl::Route).map(|(_, version_info, route_config)| DynamicRouteConfig {
        version_info,
        route_config,
        ..DynamicRouteConfig::default()
    });
    let clusters = admin::ClustersConfigDump {
        dynamic_active_clusters: clusters.collect(),
        ..admin::ClustersConfigDump::default()
    };
    let listeners = admin::ListenersConfigDump {
        dynamic_listeners: listeners.collect(),
        ..admin::ListenersConfigDump::default()
    };
    let routes = admin::RoutesConfigDump {
        dynamic_route_configs: routes.collect(),
        ..admin::RoutesConfigDump::default()
    };
    vec![lateen_xds::any(&clusters), lateen_xds::any(&listeners), lateen_xds::any(&routes)]
}
