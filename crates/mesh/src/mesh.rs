use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, LazyLock, Mutex, OnceLock, PoisonError};

use crate::addresses::Addresses;
use crate::destination_rule::DestinationRules;
use crate::envoy_filter::EnvoyFilters;
use crate::gateway::Gateways;
use crate::scope::beats;
use crate::service::TargetPort;
use crate::sidecar::Sidecars;
use crate::telemetry::Telemetries;
use crate::virtual_service::VirtualServices;
use crate::{
    Credentials, Endpoints, Ingress, Labels, Locality, Policies, Port, Service, ServiceId, Settings,
    Workload, labels,
};

/// An immutable snapshot of the mesh. Parts that did not change are shared with the snapshot before.
#[derive(Clone, Debug, Default)]
pub struct Mesh {
    /// Counts snapshots, from 1.
    pub version: u64,
    /// What MeshConfig says.
    pub settings: Arc<Settings>,
    /// All services.
    pub services: Arc<Services>,
    /// All VirtualServices.
    pub virtual_services: Arc<VirtualServices>,
    /// All DestinationRules.
    pub destination_rules: Arc<DestinationRules>,
    /// All Gateways.
    pub gateways: Arc<Gateways>,
    /// All Sidecars.
    pub sidecars: Arc<Sidecars>,
    /// All Telemetries.
    pub telemetries: Arc<Telemetries>,
    /// All EnvoyFilters.
    pub envoy_filters: Arc<EnvoyFilters>,
    /// All ProxyConfigs, oldest first; injection writes them into pods.
    pub proxy_configs: Arc<[lateen_api::ProxyConfig]>,
    /// Where nodes are.
    pub(crate) nodes: Arc<HashMap<Arc<str>, Arc<Locality>>>,
    /// All security policies.
    pub policies: Arc<Policies>,
    /// All Secrets and ConfigMaps that hold something for TLS.
    pub credentials: Arc<Credentials>,
    pub(crate) endpoints: Arc<HashMap<ServiceId, Arc<Endpoints>>>,
    pub(crate) workloads: Arc<Workloads>,
}

/// All services, by host and by namespace.
#[derive(Debug, Default)]
pub struct Services {
    all: Vec<Arc<Service>>,
    by_host: HashMap<Arc<str>, Vec<usize>>,
    by_namespace: HashMap<Arc<str>, Vec<usize>>,
    /// Shared with the indices before and after, so that an address stays.
    addresses: Arc<Mutex<Addresses>>,
    /// The same services with chosen addresses, once somebody asks.
    addressed: OnceLock<Option<Arc<Services>>>,
}

impl Services {
    pub(crate) fn index<'a>(services: impl Iterator<Item = &'a Arc<Service>>) -> Self {
        let mut index = Self { all: services.cloned().collect(), ..Self::default() };
        index.all.sort_by(|a, b| a.id.cmp(&b.id));
        for (at, service) in index.all.iter().enumerate() {
            index.by_host.entry(service.id.host.clone()).or_default().push(at);
            index.by_namespace.entry(service.id.namespace.clone()).or_default().push(at);
        }
        index
    }

    /// Chooses addresses as the indices before did.
    pub(crate) fn with_addresses(self, addresses: &Arc<Mutex<Addresses>>) -> Self {
        Services { addresses: addresses.clone(), ..self }
    }

    /// The services as those clients see them whose names the mesh resolves: with addresses that are chosen for those that
    /// want one. `None` where none does. Worked out when it is asked for first.
    fn addressed(&self) -> Option<&Arc<Services>> {
        let choose = || self.addresses.lock().unwrap_or_else(PoisonError::into_inner).choose(&self.all);
        self.addressed.get_or_init(choose).as_ref()
    }

    /// Every service, sorted by host, then by namespace.
    pub fn all(&self) -> &[Arc<Service>] {
        &self.all
    }

    /// The services that declare a host.
    pub fn of_host(&self, host: &str) -> impl Iterator<Item = &Arc<Service>> {
        self.by_host.get(host).into_iter().flatten().filter_map(|at| self.all.get(*at))
    }

    /// The services that a namespace declares.
    pub fn of_namespace(&self, namespace: &str) -> impl Iterator<Item = &Arc<Service>> {
        self.by_namespace.get(namespace).into_iter().flatten().filter_map(|at| self.all.get(*at))
    }
}

/// All workloads, by pod and by address.
#[derive(Clone, Debug, Default)]
pub(crate) struct Workloads {
    pub by_name: HashMap<(Arc<str>, Arc<str>), Arc<Workload>>,
    pub by_address: HashMap<Arc<str>, Arc<Workload>>,
}

/// A service port that a workload serves, and where.
#[derive(Clone, Debug)]
pub struct Inbound {
    /// The service.
    pub service: Arc<Service>,
    /// Its port.
    pub port: Port,
    /// The port on which the workload listens.
    pub target: u16,
    /// What the workload's Sidecar says about it.
    pub ingress: Option<Arc<Ingress>>,
}

impl Mesh {
    /// The same snapshot with other settings: those of some proxies.
    pub fn with_settings(&self, settings: Arc<Settings>) -> Mesh {
        Mesh { settings, ..self.clone() }
    }

    /// The same snapshot as clients see it whose names the mesh resolves: services that want an address have one that is
    /// chosen for them. `None` where none wants one.
    pub fn with_chosen_addresses(&self) -> Option<Mesh> {
        Some(Mesh { services: self.services.addressed()?.clone(), ..self.clone() })
    }

    /// The ready endpoints of a service.
    pub fn endpoints(&self, service: &ServiceId) -> &Arc<Endpoints> {
        static NONE: LazyLock<Arc<Endpoints>> = LazyLock::new(Arc::default);
        self.endpoints.get(service).unwrap_or(&NONE)
    }

    /// Where a workload runs, as far as it or its node tells.
    pub fn locality(&self, workload: &Workload) -> Option<Arc<Locality>> {
        match &workload.locality {
            Some(text) => Some(Arc::new(Locality::parse(text))),
            None => self.nodes.get(&workload.node).cloned(),
        }
    }

    /// Whether all services have the same endpoints as in another snapshot, by identity.
    pub fn same_endpoints(&self, other: &Mesh) -> bool {
        Arc::ptr_eq(&self.endpoints, &other.endpoints)
    }

    /// The service that clients of a namespace mean by a host.
    pub fn service_for(&self, host: &str, namespace: &str) -> Option<&Arc<Service>> {
        let default = &self.settings.default_service_export;
        let visible = self.services.of_host(host).filter(|s| s.visible_to(namespace, default));
        visible.reduce(|known, new| if beats(new, known, namespace) { new } else { known })
    }

    /// A pod by its namespace and name.
    pub fn workload(&self, namespace: &str, name: &str) -> Option<&Arc<Workload>> {
        self.workloads.by_name.get(&(Arc::from(namespace), Arc::from(name)))
    }

    /// The pod that has an address.
    pub fn workload_at(&self, address: IpAddr) -> Option<&Arc<Workload>> {
        self.workloads.by_address.get(address.to_string().as_str())
    }

    /// Every pod, in no order.
    pub fn workloads(&self) -> impl Iterator<Item = &Arc<Workload>> {
        self.workloads.by_name.values()
    }

    /// The service ports that a workload serves: those of services in its namespace that select it.
    /// `labels` are its labels and `named` tells the number of a named container port.
    pub fn inbound(
        &self,
        namespace: &str,
        labels: &Labels,
        named: impl Fn(&str) -> Option<u16>,
    ) -> Vec<Inbound> {
        let mut found = Vec::new();
        for service in self.services.of_namespace(namespace) {
            if service.selector.is_empty() || !labels::selects(&service.selector, labels) {
                continue;
            }
            for port in &service.ports {
                let target = match &port.target {
                    TargetPort::Number(number) => Some(*number),
                    TargetPort::Name(name) => named(name),
                };
                found.extend(target.map(|target| Inbound {
                    service: service.clone(),
                    port: port.clone(),
                    target,
                    ingress: None,
                }));
            }
        }
        found
    }
}
