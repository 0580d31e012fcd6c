//! A Service's EndpointSlices: grouped by the ports that the pods serve, at most a hundred endpoints each.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{ObjectReference, Service};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;

use super::backend::{Backend, BackendPort};
use super::{MANAGED_BY, MANAGER, SERVICE_NAME};

/// Most endpoints of one slice (Kubernetes' `--max-endpoints-per-slice`).
const MOST: usize = 100;
const HEADLESS: &str = "service.kubernetes.io/headless";

#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) create: Vec<EndpointSlice>,
    pub(super) update: Vec<EndpointSlice>,
    pub(super) delete: Vec<Arc<EndpointSlice>>,
}

/// Whether a slice is kept by `manager` for that Service.
pub(super) fn belongs_to(slice: &EndpointSlice, service: &str, manager: &str) -> bool {
    let label = |name: &str| slice.labels().get(name).map(String::as_str);
    label(SERVICE_NAME) == Some(service) && label(MANAGED_BY) == Some(manager)
}

/// What to write so that the slices say what the backends are.
pub(super) fn plan(service: &Service, backends: &[Backend], existing: &[Arc<EndpointSlice>]) -> Plan {
    let wanted = families(service).into_iter().flat_map(|ipv6| wanted(service, backends, ipv6)).collect();
    let labels = labels(service);
    let owners = super::owned_by(service);
    let new = |mut slice: EndpointSlice| {
        slice.metadata = ObjectMeta {
            generate_name: Some(format!("{}-", service.name_any())),
            namespace: service.namespace(),
            labels: Some(labels.clone()),
            owner_references: Some(owners.clone()),
            ..ObjectMeta::default()
        };
        slice
    };
    match_up(wanted, existing, &labels, new)
}

/// Pairs wanted slices with existing ones of the same ports and family, so that little is written and names last.
pub(super) fn match_up(
    wanted: Vec<EndpointSlice>,
    existing: &[Arc<EndpointSlice>],
    labels: &BTreeMap<String, String>,
    new: impl Fn(EndpointSlice) -> EndpointSlice,
) -> Plan {
    let mut plan = Plan::default();
    let mut free: Vec<_> =
        existing.iter().filter(|slice| slice.metadata.deletion_timestamp.is_none()).collect();
    for wanted in wanted {
        let fits = |slice: &&Arc<EndpointSlice>| {
            slice.address_type == wanted.address_type && slice.ports == wanted.ports
        };
        let same_family = |slice: &&Arc<EndpointSlice>| slice.address_type == wanted.address_type;
        let position = free.iter().position(fits).or_else(|| free.iter().position(same_family));
        let Some(position) = position else {
            plan.create.push(new(wanted));
            continue;
        };
        let old = free.remove(position);
        let unchanged = old.endpoints == wanted.endpoints
            && old.ports == wanted.ports
            && old.metadata.labels.as_ref() == Some(labels);
        if !unchanged {
            let mut metadata = old.metadata.clone();
            metadata.labels = Some(labels.clone());
            plan.update.push(EndpointSlice { metadata, ..wanted });
        }
    }
    plan.delete.extend(free.into_iter().cloned());
    plan
}

/// The address families of a Service; whether each is IPv6.
fn families(service: &Service) -> Vec<bool> {
    let spec = service.spec.as_ref();
    let named = spec.and_then(|spec| spec.ip_families.as_ref()).filter(|families| !families.is_empty());
    match named {
        Some(families) => families.iter().map(|family| family == "IPv6").collect(),
        None => vec![spec.and_then(|spec| spec.cluster_ip.as_ref()).is_some_and(|ip| ip.contains(':'))],
    }
}

fn wanted(service: &Service, backends: &[Backend], ipv6: bool) -> Vec<EndpointSlice> {
    let mut groups: BTreeMap<&[BackendPort], Vec<Endpoint>> = BTreeMap::new();
    for backend in backends {
        if let Some(endpoint) = endpoint(backend, ipv6) {
            groups.entry(&backend.ports).or_default().push(endpoint);
        }
    }
    let slice = |ports: Vec<EndpointPort>, endpoints: Vec<Endpoint>| EndpointSlice {
        address_type: if ipv6 { "IPv6" } else { "IPv4" }.to_owned(),
        ports: (!ports.is_empty()).then_some(ports),
        endpoints,
        metadata: ObjectMeta::default(),
    };
    if groups.is_empty() {
        // A slice without endpoints tells "none" from "not looked at yet".
        return vec![slice(placeholder_ports(service), Vec::new())];
    }
    let mut slices = Vec::new();
    for (ports, endpoints) in groups {
        let ports: Vec<_> = ports.iter().map(port).collect();
        slices.extend(endpoints.chunks(MOST).map(|part| slice(ports.clone(), part.to_vec())));
    }
    slices
}

/// Ports of a slice without endpoints; a named target has no number yet.
fn placeholder_ports(service: &Service) -> Vec<EndpointPort> {
    use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
    let ports = service.spec.as_ref().and_then(|spec| spec.ports.as_ref());
    let known = |port: &k8s_openapi::api::core::v1::ServicePort| {
        let number = match &port.target_port {
            None | Some(IntOrString::Int(0)) => port.port,
            Some(IntOrString::Int(number)) => *number,
            Some(IntOrString::String(_)) => return None,
        };
        Some(self::port(&BackendPort {
            name: port.name.clone().unwrap_or_default(),
            protocol: port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()),
            app_protocol: port.app_protocol.clone(),
            port: number,
        }))
    };
    ports.into_iter().flatten().filter_map(known).collect()
}

fn port(port: &BackendPort) -> EndpointPort {
    EndpointPort {
        name: Some(port.name.clone()),
        port: Some(port.port),
        protocol: Some(port.protocol.clone()),
        app_protocol: port.app_protocol.clone(),
    }
}

fn endpoint(backend: &Backend, ipv6: bool) -> Option<Endpoint> {
    let address = backend.address(ipv6)?;
    Some(Endpoint {
        addresses: vec![address.to_string()],
        conditions: Some(EndpointConditions {
            ready: Some(backend.ready),
            serving: Some(backend.serving),
            terminating: Some(backend.terminating),
        }),
        hostname: backend.hostname.clone(),
        node_name: backend.node.clone(),
        zone: backend.zone.clone(),
        target_ref: Some(target(backend)),
        ..Endpoint::default()
    })
}

pub(super) fn target(backend: &Backend) -> ObjectReference {
    ObjectReference {
        kind: Some("Pod".to_owned()),
        name: Some(backend.pod.clone()),
        namespace: Some(backend.namespace.clone()),
        uid: backend.uid.clone(),
        ..ObjectReference::default()
    }
}

fn labels(service: &Service) -> BTreeMap<String, String> {
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    if service.spec.as_ref().and_then(|spec| spec.cluster_ip.as_deref()) == Some("None") {
        labels.insert(HEADLESS.to_owned(), String::new());
    }
    labels.insert(SERVICE_NAME.to_owned(), service.name_any());
    labels.insert(MANAGED_BY.to_owned(), MANAGER.to_owned());
    labels
}
