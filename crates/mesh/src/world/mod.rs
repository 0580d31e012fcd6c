//! The mutable side: objects in their distilled form, and what changed since the last snapshot.

mod endpoints;
mod resource;
mod security;
mod tuning;

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex};

use k8s_openapi::api::discovery::v1::EndpointSlice;
use lateen_api::{ServiceEntry, WorkloadEntry};

pub use resource::Resource;

use crate::addresses::Addresses;
use crate::destination_rule::DestinationRules;
use crate::mesh::{Services, Workloads};
use crate::sidecar::Sidecars;
use crate::source::slice::Slice;
use crate::source::{self};
use crate::virtual_service::VirtualServices;
use crate::{
    Change, Changes, ConfigKey, DestinationRule, Gateway, Gateways, Kind, LegacyPolicy, Locality, Mesh, Meta,
    Service, ServiceId, Settings, Sidecar, VirtualService, Workload,
};

/// The objects that the mesh is built from, in a distilled form.
#[derive(Debug, Default)]
pub struct World {
    last: Arc<Mesh>,
    pending: Changes,
    /// Kinds whose index the next snapshot builds anew.
    stale: BTreeSet<Kind>,
    settings: Arc<Settings>,
    /// Services by the object that declares them; a ServiceEntry declares one for each host.
    services: HashMap<ConfigKey, Vec<Arc<Service>>>,
    addresses: Arc<Mutex<Addresses>>,
    slices: HashMap<ConfigKey, Slice>,
    /// Slices by the service they belong to (namespace, name).
    slices_of: HashMap<(Arc<str>, Arc<str>), BTreeSet<ConfigKey>>,
    pods: HashMap<(Arc<str>, Arc<str>), Arc<Workload>>,
    entries: HashMap<ConfigKey, Arc<Workload>>,
    nodes: HashMap<Arc<str>, Arc<Locality>>,
    virtual_services: HashMap<ConfigKey, Arc<VirtualService>>,
    destination_rules: HashMap<ConfigKey, Arc<DestinationRule>>,
    gateways: HashMap<ConfigKey, Arc<Gateway>>,
    sidecars: HashMap<ConfigKey, Arc<Sidecar>>,
    tuning: tuning::Tuning,
    security: security::Security,
    /// Services whose endpoints the next snapshot works out anew.
    stale_endpoints: BTreeSet<ServiceId>,
    all_endpoints_stale: bool,
}

impl World {
    /// A world without objects, for services of the domain `cluster.local`.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a new or changed object. Tells whether the mesh depends on what changed: an object that differs only
    /// in what the mesh does not read (a status, a resource version) changes nothing.
    pub fn upsert(&mut self, resource: Resource) -> Change {
        let domain = self.settings.domain.clone();
        match resource {
            Resource::Service(object) => {
                let service = source::kubernetes::service(&object, &domain);
                let key = ConfigKey::new(Kind::Service, &*service.meta.namespace, &*service.meta.name);
                self.put_services(key, vec![service])
            }
            Resource::ServiceEntry(object) => {
                let ServiceEntry { metadata, spec, .. } = *object;
                let meta = Meta::of(&metadata);
                let services = source::service_entry::services(&meta, metadata.labels.as_ref(), &spec);
                self.put_services(ConfigKey::new(Kind::ServiceEntry, meta.namespace, meta.name), services)
            }
            Resource::EndpointSlice(object) => self.put_slice(&object),
            Resource::Pod(pod) => self.put_pod(Workload::of_pod(&pod)),
            Resource::WorkloadEntry(object) => {
                let WorkloadEntry { metadata, spec, .. } = *object;
                self.put_entry(Workload::of_entry(Meta::of(&metadata), &spec))
            }
            Resource::Node(node) => {
                let name = node.metadata.name.as_deref().unwrap_or_default();
                self.put_node(name.into(), Some(Locality::of_node(&node)))
            }
            Resource::VirtualService(object) => {
                let new = VirtualService::resolve(Meta::of(&object.metadata), object.spec, &domain);
                let key = ConfigKey::new(Kind::VirtualService, &*new.meta.namespace, &*new.meta.name);
                let changed = put(&mut self.virtual_services, &key, new);
                self.config(changed, key)
            }
            Resource::DestinationRule(object) => {
                let new = DestinationRule::resolve(Meta::of(&object.metadata), object.spec, &domain);
                let key = ConfigKey::new(Kind::DestinationRule, &*new.meta.namespace, &*new.meta.name);
                let changed = put(&mut self.destination_rules, &key, new);
                self.config(changed, key)
            }
            Resource::Gateway(object) => {
                let new = Gateway::new(Meta::of(&object.metadata), object.spec);
                let key = ConfigKey::new(Kind::Gateway, &*new.meta.namespace, &*new.meta.name);
                let changed = put(&mut self.gateways, &key, new);
                self.config(changed, key)
            }
            Resource::Sidecar(object) => {
                let new = Sidecar { meta: Meta::of(&object.metadata), spec: object.spec };
                let key = ConfigKey::new(Kind::Sidecar, &*new.meta.namespace, &*new.meta.name);
                let changed = put(&mut self.sidecars, &key, new);
                self.config(changed, key)
            }
            Resource::Telemetry(object) => self.put_telemetry(*object),
            Resource::EnvoyFilter(object) => self.put_envoy_filter(*object),
            Resource::ProxyConfig(object) => self.put_proxy_config(*object),
            Resource::PeerAuthentication(object) => self.put_peer_authentication(*object),
            Resource::RequestAuthentication(object) => self.put_request_authentication(*object),
            Resource::AuthorizationPolicy(object) => self.put_authorization_policy(*object),
            Resource::Policy(object) => {
                self.put_legacy(LegacyPolicy { meta: Meta::of(&object.metadata), spec: object.spec })
            }
            Resource::Issuer(issuer) => self.put_issuer(*issuer),
            Resource::MeshPolicy(object) => {
                self.put_legacy(LegacyPolicy { meta: Meta::of(&object.metadata), spec: object.spec.0 })
            }
            Resource::Credential(credential) => self.put_credential(*credential),
            Resource::Settings(settings) => self.put_settings(*settings),
        }
    }

    /// Forgets an object.
    pub fn remove(&mut self, key: &ConfigKey) -> Change {
        match key.kind {
            Kind::Service | Kind::ServiceEntry => self.put_services(key.clone(), Vec::new()),
            Kind::EndpointSlice => self.remove_slice(key),
            Kind::Pod => self.remove_pod(key),
            Kind::WorkloadEntry => self.remove_entry(key),
            Kind::Node => self.put_node(key.name.clone(), None),
            Kind::VirtualService => {
                let removed = self.virtual_services.remove(key).is_some();
                self.config(removed, key.clone())
            }
            Kind::DestinationRule => {
                let removed = self.destination_rules.remove(key).is_some();
                self.config(removed, key.clone())
            }
            Kind::Gateway => {
                let removed = self.gateways.remove(key).is_some();
                self.config(removed, key.clone())
            }
            Kind::Sidecar => {
                let removed = self.sidecars.remove(key).is_some();
                self.config(removed, key.clone())
            }
            Kind::MeshConfig => self.put_settings(Settings::default()),
            Kind::Telemetry | Kind::EnvoyFilter | Kind::ProxyConfig => self.remove_tuning(key),
            Kind::PeerAuthentication
            | Kind::RequestAuthentication
            | Kind::AuthorizationPolicy
            | Kind::Policy
            | Kind::MeshPolicy
            | Kind::Issuer
            | Kind::Secret
            | Kind::ConfigMap => self.remove_security(key),
            _ => Change::None,
        }
    }

    /// Builds the next snapshot and says what the step to it touched. Without changes it is the last one again.
    pub fn snapshot(&mut self) -> (Arc<Mesh>, Changes) {
        let mut mesh = (*self.last).clone();
        self.rebuild_security(&mut mesh);
        self.rebuild_endpoints(&mut mesh);
        if !self.pending.workloads.is_empty() {
            mesh.workloads = Arc::new(self.index_workloads());
        }
        if self.pending.keys.iter().any(|key| key.kind == Kind::Node) {
            mesh.nodes = Arc::new(self.nodes.clone());
        }
        let stale = std::mem::take(&mut self.stale);
        let has = |kind: Kind| stale.contains(&kind) || stale.contains(&Kind::MeshConfig);
        let settings = &self.settings;
        if has(Kind::Service) {
            let services = Services::index(self.services.values().flatten());
            mesh.services = Arc::new(services.with_addresses(&self.addresses));
        }
        if has(Kind::VirtualService) {
            let default = &settings.default_virtual_service_export;
            mesh.virtual_services = Arc::new(VirtualServices::index(&self.virtual_services, default));
        }
        if has(Kind::DestinationRule) {
            let rules = self.destination_rules.values();
            let default = &settings.default_destination_rule_export;
            mesh.destination_rules =
                Arc::new(DestinationRules::index(rules, &settings.root_namespace, default));
        }
        if has(Kind::Gateway) {
            mesh.gateways = Arc::new(Gateways::index(self.gateways.values()));
        }
        if has(Kind::Sidecar) {
            mesh.sidecars = Arc::new(Sidecars::index(self.sidecars.values(), &settings.root_namespace));
        }
        self.tuning.rebuild(&mut mesh, has, &settings.root_namespace);
        mesh.settings = settings.clone();
        let changes = std::mem::take(&mut self.pending);
        if !changes.is_empty() {
            mesh.version += 1;
            self.last = Arc::new(mesh);
        }
        (self.last.clone(), changes)
    }

    fn put_services(&mut self, key: ConfigKey, services: Vec<Service>) -> Change {
        let old = self.services.get(&key).map_or(&[][..], Vec::as_slice);
        if old.len() == services.len() && old.iter().zip(&services).all(|(a, b)| **a == *b) {
            return Change::None;
        }
        self.stale_endpoints.extend(old.iter().map(|s| s.id.clone()));
        self.stale_endpoints.extend(services.iter().map(|s| s.id.clone()));
        if services.is_empty() {
            self.services.remove(&key);
        } else {
            self.services.insert(key.clone(), services.into_iter().map(Arc::new).collect());
        }
        self.stale.insert(Kind::Service);
        self.pending.config = true;
        self.pending.keys.insert(key);
        Change::Config
    }

    fn put_slice(&mut self, object: &EndpointSlice) -> Change {
        let meta = Meta::of(&object.metadata);
        let key = ConfigKey::new(Kind::EndpointSlice, meta.namespace, meta.name);
        let Some(slice) = source::slice::slice(object) else { return self.remove_slice(&key) };
        if self.slices.get(&key) == Some(&slice) {
            return Change::None;
        }
        self.remove_slice(&key);
        let service = (slice.meta.namespace.clone(), slice.service.clone());
        self.mark_endpoints(&service.0, &service.1);
        self.slices_of.entry(service).or_default().insert(key.clone());
        self.slices.insert(key, slice);
        Change::Endpoints
    }

    fn remove_slice(&mut self, key: &ConfigKey) -> Change {
        let Some(old) = self.slices.remove(key) else { return Change::None };
        let service = (old.meta.namespace, old.service);
        self.mark_endpoints(&service.0, &service.1);
        if let Some(slices) = self.slices_of.get_mut(&service) {
            slices.remove(key);
        }
        Change::Endpoints
    }

    fn put_settings(&mut self, settings: Settings) -> Change {
        if *self.settings == settings {
            return Change::None;
        }
        self.settings = Arc::new(settings);
        self.stale.insert(Kind::MeshConfig);
        self.config(true, ConfigKey::new(Kind::MeshConfig, "", ""))
    }

    fn config(&mut self, changed: bool, key: ConfigKey) -> Change {
        if !changed {
            return Change::None;
        }
        self.stale.insert(key.kind);
        self.pending.config = true;
        self.pending.keys.insert(key);
        Change::Config
    }

    fn index_workloads(&self) -> Workloads {
        let mut workloads = Workloads { by_name: self.pods.clone(), by_address: HashMap::new() };
        for pod in self.pods.values().filter(|p| p.alive) {
            workloads.by_address.extend(pod.addresses.iter().map(|ip| (ip.clone(), pod.clone())));
        }
        workloads
    }
}

/// Puts a value into its place unless the same is there; tells whether it was put.
fn put<T: PartialEq>(map: &mut HashMap<ConfigKey, Arc<T>>, key: &ConfigKey, new: T) -> bool {
    if map.get(key).is_some_and(|old| **old == new) {
        return false;
    }
    map.insert(key.clone(), Arc::new(new));
    true
}
