//! From a bootstrap to what a proxy starts with: its own resources, and what waits for secrets.

use std::sync::Arc;
use std::time::Duration;

use lateen_xds::TypeUrl;
use lateen_xds::pb::envoy::config::bootstrap::v3::Bootstrap;

use crate::access_log::Sinks;
use crate::bootstrap::{BootstrapError, Plan};
use crate::config::Store;
use crate::convert;
use crate::stats::istio::{IstioMetrics, Node as IstioNode};
use crate::tls::Source;
use crate::trace::Tracers;
use crate::worker::Workers;
use crate::xds_client::Applier;

/// Clusters and listeners of the bootstrap itself.
#[derive(Default)]
pub(crate) struct Statics {
    pub clusters: Vec<convert::ConvertedCluster>,
    pub listeners: Vec<convert::ConvertedListener>,
    pub waits_for_secrets: convert::WaitsForSecrets,
}

/// Waits for the secrets of the bootstrap's own resources, except those that the control plane gives later.
pub(crate) async fn warm(context: &convert::Context, waits: &convert::WaitsForSecrets) {
    let mut waits = waits.clone();
    waits.retain(|(slot, _)| slot.source != Source::Ads);
    let mut arrivals = context.secrets.arrivals();
    let all = async {
        while !waits.iter().all(|(slot, _)| slot.is_settled()) {
            if arrivals.changed().await.is_err() {
                return;
            }
        }
    };
    // A bootstrap that waits for ever would never serve its own administration.
    let limit = Some(convert::longest_wait(&waits)).filter(|limit| !limit.is_zero());
    let _ = tokio::time::timeout(limit.unwrap_or(LONGEST_WARMING), all).await;
}

/// Longest wait for the secrets of the bootstrap's own resources, where they name none.
const LONGEST_WARMING: Duration = Duration::from_secs(15);

/// What puts updates in force, and tells workers of changed listeners.
pub(crate) fn applier(context: &Arc<convert::Context>, workers: &Arc<Workers>, plan: &Plan) -> Applier {
    let weak = Arc::downgrade(workers);
    let on_listeners = Arc::new(move || {
        for error in weak.upgrade().iter().flat_map(|workers| workers.sync_listeners()) {
            tracing::error!(%error, "a listener cannot be served");
        }
    });
    let wants_clusters =
        plan.ads.as_ref().is_some_and(|ads| ads.wants_clusters) || plan.clusters_file.is_some();
    let mut applier =
        Applier::new(context.clone(), Arc::default(), Arc::default(), wants_clusters, on_listeners);
    for (kind, file) in [(TypeUrl::Cluster, &plan.clusters_file), (TypeUrl::Listener, &plan.listeners_file)] {
        if let Some(path) = file {
            applier.read_all_from(kind, path.clone());
        }
    }
    applier
}

/// What conversion needs beside the messages.
pub(crate) fn context(bootstrap: &Bootstrap, plan: &Plan, store: Arc<Store>) -> convert::Context {
    let node = bootstrap.node.as_ref();
    let node = IstioNode::new(node.map_or("", |node| &node.id), node.and_then(|node| node.metadata.as_ref()));
    let mut upstream_socket = plan.upstream_socket.clone();
    // Where the proxy cannot be exempted from redirection by its user, it is by this mark.
    if let Some(mark) = std::env::var("LATEEN_SOCKET_MARK").ok().and_then(|mark| mark.parse().ok()) {
        upstream_socket.mark = Some(mark);
    }
    convert::Context {
        store,
        secrets: Arc::default(),
        sinks: Arc::<Sinks>::default(),
        istio: Arc::new(IstioMetrics::new(node)),
        tracers: Arc::new(Tracers::new(bootstrap.node.as_ref(), default_tracer(bootstrap))),
        upstream_socket,
    }
}

/// The tracer of connection managers that name none.
#[allow(deprecated, reason = "Envoy takes the field, and so must we")]
fn default_tracer(bootstrap: &Bootstrap) -> Option<lateen_xds::pb::envoy::config::trace::v3::tracing::Http> {
    bootstrap.tracing.as_ref()?.http.clone()
}

/// Converts the static resources.
pub(crate) fn statics(bootstrap: &Bootstrap, context: &convert::Context) -> Result<Statics, BootstrapError> {
    let mut statics = Statics::default();
    let Some(resources) = &bootstrap.static_resources else { return Ok(statics) };
    let failed = |kind: &str, index: usize, name: &str, error| BootstrapError::Resource {
        resource: format!("static_resources.{kind}[{index}] ({name})"),
        error,
    };
    for (index, message) in resources.secrets.iter().enumerate() {
        let secret =
            convert::secret(message).map_err(|error| failed("secrets", index, &message.name, error))?;
        context.secrets.put_static(&message.name, secret);
    }
    for (index, message) in resources.clusters.iter().enumerate() {
        // The agent's sockets are for the proxy itself, which dials them as the plan says.
        if is_local(message) {
            continue;
        }
        let converted = convert::cluster(message, context)
            .map_err(|error| failed("clusters", index, &message.name, error))?;
        statics.waits_for_secrets.extend(converted.waits_for_secrets.iter().cloned());
        statics.clusters.push(converted);
    }
    for (index, message) in resources.listeners.iter().enumerate() {
        let converted = convert::listener(message, context)
            .map_err(|error| failed("listeners", index, &message.name, error))?;
        statics.waits_for_secrets.extend(converted.waits_for_secrets.iter().cloned());
        statics.listeners.push(converted);
    }
    Ok(statics)
}

/// Whether a cluster leads to unix sockets.
fn is_local(cluster: &lateen_xds::pb::envoy::config::cluster::v3::Cluster) -> bool {
    use lateen_xds::pb::envoy::config::core::v3::address::Address;
    use lateen_xds::pb::envoy::config::endpoint::v3::lb_endpoint::HostIdentifier;
    let groups = cluster.load_assignment.iter().flat_map(|assignment| &assignment.endpoints);
    groups.flat_map(|group| &group.lb_endpoints).any(|endpoint| match &endpoint.host_identifier {
        Some(HostIdentifier::Endpoint(endpoint)) => {
            let address = endpoint.address.as_ref().and_then(|address| address.address.as_ref());
            matches!(address, Some(Address::Pipe(_)))
        }
        _ => false,
    })
}

/// Checks a bootstrap as [`crate::run::Server::start`] would, without starting anything.
///
/// # Errors
/// What cannot be used, with its path.
pub fn validate(bootstrap: &Bootstrap) -> Result<(), BootstrapError> {
    let plan = Plan::read(bootstrap)?;
    statics(bootstrap, &context(bootstrap, &plan, Store::new(1))).map(drop)
}
