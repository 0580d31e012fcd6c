use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock};

use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Node, Pod, Secret, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::ApiResource;
use kube::runtime::watcher;
use kube::{Api, Client};
use lateen_api::{FieldError, authentication, networking, security};
use lateen_mesh::{Kind, Resource};
use lateen_watch::Untyped;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::watch::{Taken, Watch};
use super::{Injection, SourceId, Update, mesh_config, secret};
use crate::ca::{MeshRoots, TrustDomains};
use crate::status::Note;

/// Objects of a page of a list.
const PAGE: u32 = 500;

/// Labels of the namespaces, for decisions about injection.
#[derive(Clone, Debug, Default)]
pub struct Namespaces(Arc<RwLock<HashMap<String, BTreeMap<String, String>>>>);

impl Namespaces {
    /// The labels of a namespace, `None` when it is not known.
    pub fn labels(&self, namespace: &str) -> Option<BTreeMap<String, String>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(namespace).cloned()
    }

    fn set(&self, namespace: Namespace) {
        let name = namespace.metadata.name.unwrap_or_default();
        let labels = namespace.metadata.labels.unwrap_or_default();
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(name, labels);
    }
}

/// Where Istio's own configuration stands.
#[derive(Clone, Debug)]
pub struct MeshConfigMap {
    /// The control plane's namespace.
    pub namespace: String,
    /// The ConfigMap's name: `istio`.
    pub name: String,
    /// The name of the ConfigMap with the values that injection reads: `istio-sidecar-injector`.
    pub injection_name: String,
    /// The DNS domain of services: `cluster.local`.
    pub domain: String,
    /// Told each time that the mesh configuration has been read.
    pub injection: Injection,
    /// The mesh's trust domains, told likewise.
    pub trust_domains: TrustDomains,
    /// Further roots, told likewise.
    pub mesh_roots: MeshRoots,
}

/// Watches everything that the mesh is made of. Returns the sources that will report a first list; the tasks end
/// when `tasks` is dropped.
pub fn kubernetes(
    client: &Client,
    config_map: &MeshConfigMap,
    namespaces: &Namespaces,
    updates: &mpsc::Sender<Update>,
    tasks: &mut JoinSet<()>,
) -> Vec<SourceId> {
    let mut start = Start { client, updates, tasks, ids: Vec::new() };
    start.core::<Service>(Kind::Service);
    start.core::<EndpointSlice>(Kind::EndpointSlice);
    start.core::<Pod>(Kind::Pod);
    start.core::<Node>(Kind::Node);
    start.istio::<networking::virtual_service::VirtualServiceSpec>(Kind::VirtualService);
    start.istio::<networking::destination_rule::DestinationRuleSpec>(Kind::DestinationRule);
    start.istio::<networking::gateway::GatewaySpec>(Kind::Gateway);
    start.istio::<networking::service_entry::ServiceEntrySpec>(Kind::ServiceEntry);
    start.istio::<networking::workload_entry::WorkloadEntrySpec>(Kind::WorkloadEntry);
    start.istio::<networking::sidecar::SidecarSpec>(Kind::Sidecar);
    start.istio::<lateen_api::telemetry::TelemetrySpec>(Kind::Telemetry);
    start.istio::<networking::envoy_filter::EnvoyFilterSpec>(Kind::EnvoyFilter);
    start.istio::<networking::proxy_config::ProxyConfigSpec>(Kind::ProxyConfig);
    start.istio::<security::peer_authentication::PeerAuthenticationSpec>(Kind::PeerAuthentication);
    start.istio::<security::request_authentication::RequestAuthenticationSpec>(Kind::RequestAuthentication);
    start.istio::<security::authorization_policy::AuthorizationPolicySpec>(Kind::AuthorizationPolicy);
    start.istio::<authentication::PolicySpec>(Kind::Policy);
    start.istio::<authentication::MeshPolicySpec>(Kind::MeshPolicy);
    let all = lateen_watch::all::<Secret>(client.clone());
    start.watch(Kind::Secret, all, secrets(), |found: Secret| secret::take(&found));
    let all = lateen_watch::all::<ConfigMap>(client.clone());
    start.watch(Kind::ConfigMap, all, listing(), |found: ConfigMap| secret::take_map(found));
    start.mesh_config(config_map);
    let known = namespaces.clone();
    let all = lateen_watch::all::<Namespace>(client.clone());
    start.watch(Kind::Namespace, all, listing(), move |namespace| {
        known.set(namespace);
        Taken::Ignore
    });
    start.ids
}

fn listing() -> watcher::Config {
    watcher::Config::default().page_size(PAGE).any_semantic()
}

/// Secrets, but for the kinds that are numerous and never hold anything for TLS.
fn secrets() -> watcher::Config {
    listing().fields("type!=helm.sh/release.v1,type!=kubernetes.io/service-account-token")
}

struct Start<'a> {
    client: &'a Client,
    updates: &'a mpsc::Sender<Update>,
    tasks: &'a mut JoinSet<()>,
    ids: Vec<SourceId>,
}

impl Start<'_> {
    /// A kind that every Kubernetes has.
    fn core<K>(&mut self, id: SourceId)
    where
        K: kube::Resource<DynamicType = ()> + DeserializeOwned,
        Resource: From<K>,
    {
        let api = lateen_watch::all::<K>(self.client.clone());
        self.watch(id, api, listing(), |object: K| Taken::Upsert(Box::new(Resource::from(object))));
    }

    /// One of Istio's kinds, in whichever version the API serves.
    fn istio<S: lateen_api::Kind>(&mut self, id: SourceId)
    where
        Resource: From<lateen_api::Object<S>>,
    {
        let api = |version: &&str| Api::<Untyped>::all_with(self.client.clone(), &api_resource::<S>(version));
        let watch =
            Watch { id, apis: S::VERSIONS.iter().map(api).collect(), config: listing(), optional: true };
        self.spawn(watch, move |found| {
            let Untyped { metadata, value } = found;
            match read::<S>(value) {
                Ok(object) => Taken::Upsert(Box::new(Resource::from(object))),
                Err(errors) => refused(id, &metadata, errors),
            }
        });
    }

    fn mesh_config(&mut self, map: &MeshConfigMap) {
        let api = lateen_watch::namespaced::<ConfigMap>(self.client.clone(), &map.namespace);
        let MeshConfigMap { name, injection_name, domain, injection, trust_domains, mesh_roots, .. } =
            map.clone();
        self.watch(Kind::MeshConfig, api, listing(), move |found: ConfigMap| {
            let found_name = found.metadata.name.as_deref();
            if found_name == Some(&*injection_name) {
                injection.take_values(&found);
            }
            if found_name != Some(&*name) {
                return Taken::Ignore;
            }
            injection.take_mesh_config(&found);
            trust_domains.take(&found);
            mesh_roots.take(&found);
            mesh_config::take(&found, &domain)
        });
    }

    /// One of Kubernetes' own kinds; what cannot be read stays as it was.
    fn watch<K: DeserializeOwned>(
        &mut self,
        id: SourceId,
        api: Api<Untyped>,
        config: watcher::Config,
        take: impl Fn(K) -> Taken + Send + Sync + 'static,
    ) {
        let watch = Watch { id, apis: vec![api], config, optional: false };
        self.spawn(watch, move |found| found.read().map_or(Taken::Keep, &take));
    }

    fn spawn(&mut self, watch: Watch, take: impl Fn(Untyped) -> Taken + Send + Sync + 'static) {
        self.ids.push(watch.id);
        self.tasks.spawn(watch.run(self.updates.clone(), Box::new(take)));
    }
}

/// One of Istio's objects. Items of a list come without version and kind.
fn read<S: lateen_api::Kind>(mut value: Value) -> Result<lateen_api::Object<S>, Vec<FieldError>> {
    if let Some(fields) = value.as_object_mut() {
        fields.remove("apiVersion");
        fields.remove("kind");
    }
    let decoded = lateen_api::Object::<S>::decode(value);
    match decoded.object {
        Some(object) if decoded.report.errors.is_empty() => Ok(object),
        _ => Err(decoded.report.errors),
    }
}

fn refused(id: SourceId, meta: &ObjectMeta, errors: Vec<FieldError>) -> Taken {
    tracing::warn!(
        kind = %id,
        namespace = meta.namespace.as_deref().unwrap_or_default(),
        name = meta.name.as_deref().unwrap_or_default(),
        errors = lateen_api::object::join(&errors),
        "resource cannot be read; the last good one stays"
    );
    Taken::Refused(Box::new(Note::refused(id, meta, errors)))
}

/// Where a version of a kind is served.
pub(crate) fn api_resource<S: lateen_api::Kind>(version: &str) -> ApiResource {
    ApiResource {
        group: S::GROUP.into(),
        version: version.into(),
        api_version: format!("{}/{version}", S::GROUP),
        kind: S::KIND.into(),
        plural: S::PLURAL.into(),
    }
}
