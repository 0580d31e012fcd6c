//! One pod as a Service sees it.

use std::net::IpAddr;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod, Service, ServicePort};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt;

use crate::pods;
use crate::store::{Key, Store};

const ZONE: &str = "topology.kubernetes.io/zone";

/// A port as the pod serves it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct BackendPort {
    pub(super) name: String,
    pub(super) protocol: String,
    pub(super) app_protocol: Option<String>,
    pub(super) port: i32,
}

/// A pod that stands behind a Service.
#[derive(Clone, Debug)]
pub(super) struct Backend {
    pub(super) addresses: Vec<IpAddr>,
    pub(super) ports: Vec<BackendPort>,
    pub(super) ready: bool,
    pub(super) serving: bool,
    pub(super) terminating: bool,
    pub(super) pod: String,
    pub(super) namespace: String,
    pub(super) uid: Option<String>,
    pub(super) node: Option<String>,
    pub(super) zone: Option<String>,
    pub(super) hostname: Option<String>,
    /// When its readiness last changed.
    pub(super) since: Option<Timestamp>,
}

impl Backend {
    /// The pod's first address of a family.
    pub(super) fn address(&self, ipv6: bool) -> Option<IpAddr> {
        self.addresses.iter().find(|address| address.is_ipv6() == ipv6).copied()
    }
}

/// The pods behind a Service, by name.
pub(super) fn all(service: &Service, pods: &[Arc<Pod>], nodes: &Store<Node>) -> Vec<Backend> {
    let selected = pods.iter().filter(|pod| super::selects(service, pod.metadata.labels.as_ref()));
    selected.filter_map(|pod| of(service, pod, nodes)).collect()
}

fn of(service: &Service, pod: &Pod, nodes: &Store<Node>) -> Option<Backend> {
    if pods::is_finished(pod) {
        return None;
    }
    let addresses = addresses(pod);
    if addresses.is_empty() {
        return None;
    }
    let spec = service.spec.as_ref()?;
    let serving = pods::is_ready(pod);
    let terminating = pods::is_terminating(pod);
    // The user's wish goes before readiness: databases find their peers before they are ready.
    let publish = spec.publish_not_ready_addresses.unwrap_or(false);
    let pod_spec = pod.spec.as_ref()?;
    let node = pod_spec.node_name.clone();
    let zone = node.as_ref().and_then(|node| nodes.get(&Key::new("", node))?.labels().get(ZONE).cloned());
    let subdomain = pod_spec.subdomain.as_deref() == service.metadata.name.as_deref();
    Some(Backend {
        addresses,
        ports: spec.ports.iter().flatten().filter_map(|port| resolve(port, pod)).collect(),
        ready: publish || (serving && !terminating),
        serving: publish || serving,
        terminating,
        pod: pod.name_any(),
        namespace: pod.namespace().unwrap_or_default(),
        uid: pod.uid(),
        node,
        zone,
        since: pods::changed_readiness(pod),
        hostname: pod_spec.hostname.clone().filter(|name| subdomain && !name.is_empty()),
    })
}

fn addresses(pod: &Pod) -> Vec<IpAddr> {
    let Some(status) = &pod.status else { return Vec::new() };
    let many = status.pod_ips.iter().flatten().map(|ip| ip.ip.as_str());
    let mut list: Vec<IpAddr> = many.filter_map(|ip| ip.parse().ok()).collect();
    if list.is_empty() {
        list.extend(status.pod_ip.iter().filter_map(|ip| ip.parse::<IpAddr>().ok()));
    }
    list
}

fn resolve(port: &ServicePort, pod: &Pod) -> Option<BackendPort> {
    let protocol = port.protocol.clone().unwrap_or_else(|| "TCP".to_owned());
    let number = match &port.target_port {
        None => port.port,
        Some(IntOrString::Int(0)) => port.port,
        Some(IntOrString::Int(number)) => *number,
        Some(IntOrString::String(name)) if name.is_empty() => port.port,
        Some(IntOrString::String(name)) => named(pod, name, &protocol)?,
    };
    let name = port.name.clone().unwrap_or_default();
    Some(BackendPort { name, protocol, app_protocol: port.app_protocol.clone(), port: number })
}

/// The number of a container port; init containers that keep running serve too.
fn named(pod: &Pod, name: &str, protocol: &str) -> Option<i32> {
    let spec = pod.spec.as_ref()?;
    let sidecars =
        spec.init_containers.iter().flatten().filter(|c| c.restart_policy.as_deref() == Some("Always"));
    let mut ports =
        spec.containers.iter().chain(sidecars).flat_map(|container| container.ports.iter().flatten());
    let same = ports.find(|port| {
        port.name.as_deref() == Some(name) && port.protocol.as_deref().unwrap_or("TCP") == protocol
    });
    same.map(|port| port.container_port)
}
