use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Pod};
use lateen_api::networking::workload_entry::WorkloadEntrySpec;

use crate::{Labels, Meta};

/// The label by which the injector tells that a workload has a proxy.
const TLS_MODE: &str = "security.istio.io/tlsMode";

/// Something that serves or calls: a pod, or what a WorkloadEntry describes.
#[derive(Clone, Debug, PartialEq)]
pub struct Workload {
    /// The pod or WorkloadEntry.
    pub meta: Meta,
    /// The pod's uid: another pod of the same name is another one.
    pub uid: Arc<str>,
    /// Its labels.
    pub labels: Arc<Labels>,
    /// Its addresses; none as long as it has not started. A WorkloadEntry may have a host name here.
    pub addresses: Vec<Arc<str>>,
    /// The account it runs under.
    pub service_account: Arc<str>,
    /// The node it runs on, if any.
    pub node: Arc<str>,
    /// Named container ports, or the ports of a WorkloadEntry.
    pub ports: Vec<(Arc<str>, u16)>,
    /// Whether it can be called at all (a pod that has ended cannot).
    pub alive: bool,
    /// Whether it answers its readiness probes. What a WorkloadEntry describes is taken to.
    pub ready: bool,
    /// What telemetry calls it: who owns it, and its canonical service.
    pub identity: Arc<Identity>,
    /// Locality of a WorkloadEntry, `region/zone/subzone`.
    pub locality: Option<Arc<str>>,
    /// Relative weight among its service's endpoints.
    pub weight: u32,
}

/// What telemetry calls a workload.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    /// The Deployment or other owner, else the pod's own name.
    pub workload: String,
    /// The namespace.
    pub namespace: String,
    /// `service.istio.io/canonical-name`.
    pub canonical_name: String,
    /// `service.istio.io/canonical-revision`.
    pub canonical_revision: String,
}

impl Workload {
    /// What the mesh reads of a pod.
    pub fn of_pod(pod: &Pod) -> Workload {
        let meta = Meta::of(&pod.metadata);
        let labels = pod.metadata.labels.clone().unwrap_or_default();
        let spec = pod.spec.as_ref();
        let status = pod.status.as_ref();
        let mut addresses: Vec<Arc<str>> = Vec::new();
        let primary = status.and_then(|s| s.pod_ip.as_deref());
        let more = status.iter().flat_map(|s| s.pod_ips.iter().flatten()).map(|ip| ip.ip.as_str());
        for ip in primary.into_iter().chain(more).filter(|ip| ip.parse::<IpAddr>().is_ok()) {
            if !addresses.iter().any(|known| &**known == ip) {
                addresses.push(ip.into());
            }
        }
        let phase = status.and_then(|s| s.phase.as_deref()).unwrap_or_default();
        let conditions = status.iter().flat_map(|s| s.conditions.iter().flatten());
        let ready = conditions.into_iter().any(|c| c.type_ == "Ready" && c.status == "True");
        let containers = spec.iter().flat_map(|s| s.containers.iter());
        let ports = containers
            .flat_map(|c| c.ports.iter().flatten())
            .filter_map(|p| Some((p.name.as_deref()?.into(), u16::try_from(p.container_port).ok()?)))
            .collect();
        let identity = Identity::new(owner(pod), &meta, &labels);
        Workload {
            uid: pod.metadata.uid.as_deref().unwrap_or_default().into(),
            labels: Arc::new(labels),
            addresses,
            service_account: spec
                .and_then(|s| s.service_account_name.as_deref())
                .filter(|name| !name.is_empty())
                .unwrap_or("default")
                .into(),
            node: spec.and_then(|s| s.node_name.as_deref()).unwrap_or_default().into(),
            ports,
            alive: !matches!(phase, "Succeeded" | "Failed") && pod.metadata.deletion_timestamp.is_none(),
            ready,
            identity: Arc::new(identity),
            locality: None,
            weight: 1,
            meta,
        }
    }

    /// What the mesh reads of a WorkloadEntry.
    pub fn of_entry(meta: Meta, spec: &WorkloadEntrySpec) -> Workload {
        let identity = Identity::new(meta.name.to_string(), &meta, &spec.labels);
        let account = if spec.service_account.is_empty() { "default" } else { &spec.service_account };
        Workload {
            uid: "".into(),
            labels: Arc::new(spec.labels.clone()),
            addresses: Vec::from([spec.address.as_str().into()]),
            service_account: account.into(),
            node: "".into(),
            ports: spec
                .ports
                .iter()
                .filter_map(|(name, port)| Some((name.as_str().into(), u16::try_from(*port).ok()?)))
                .collect(),
            alive: true,
            ready: true,
            identity: Arc::new(identity),
            locality: (!spec.locality.is_empty()).then(|| spec.locality.as_str().into()),
            weight: spec.weight.max(1),
            meta,
        }
    }

    /// Whether its labels say that it takes the mesh's mutual TLS: the injector, which gave it a proxy, wrote so.
    pub fn takes_mtls(&self) -> bool {
        self.labels.get(TLS_MODE).is_some_and(|mode| mode == "istio")
    }

    /// The port of a name.
    pub fn named_port(&self, name: &str) -> Option<u16> {
        self.ports.iter().find(|(known, _)| &**known == name).map(|(_, port)| *port)
    }
}

impl Identity {
    fn new(workload: String, meta: &Meta, labels: &Labels) -> Self {
        Identity {
            canonical_name: crate::labels::canonical_name(labels, &workload).to_owned(),
            canonical_revision: crate::labels::canonical_revision(labels).to_owned(),
            namespace: meta.namespace.to_string(),
            workload,
        }
    }
}

/// The name of a pod's owner; for a ReplicaSet of a Deployment the Deployment's, which is the ReplicaSet's name
/// without the hash of the pod template.
fn owner(pod: &Pod) -> String {
    let name = pod.metadata.name.clone().unwrap_or_default();
    let owners = pod.metadata.owner_references.iter().flatten();
    let Some(owner) = owners.into_iter().find(|o| o.controller == Some(true)) else { return name };
    let hash = pod.metadata.labels.as_ref().and_then(|l| l.get("pod-template-hash"));
    match hash.and_then(|hash| owner.name.strip_suffix(hash.as_str())?.strip_suffix('-')) {
        Some(deployment) if owner.kind == "ReplicaSet" => deployment.to_owned(),
        _ => owner.name.clone(),
    }
}

/// Where a workload runs: region, zone and subzone, each possibly empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Locality {
    /// `topology.kubernetes.io/region`.
    pub region: Arc<str>,
    /// `topology.kubernetes.io/zone`.
    pub zone: Arc<str>,
    /// `topology.istio.io/subzone`.
    pub subzone: Arc<str>,
}

impl Locality {
    /// Reads `region/zone/subzone`, of which the later parts may be absent.
    pub fn parse(text: &str) -> Locality {
        let mut parts = text.splitn(3, '/').map(Arc::from);
        let mut next = || parts.next().unwrap_or_else(|| "".into());
        Locality { region: next(), zone: next(), subzone: next() }
    }

    /// The locality that a node's labels tell.
    pub fn of_node(node: &Node) -> Locality {
        let labels = node.metadata.labels.as_ref();
        let label = |keys: [&str; 2]| {
            let found = labels.and_then(|l| keys.into_iter().find_map(|key| l.get(key)));
            found.map(String::as_str).unwrap_or_default().into()
        };
        Locality {
            region: label(["topology.kubernetes.io/region", "failure-domain.beta.kubernetes.io/region"]),
            zone: label(["topology.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/zone"]),
            subzone: label(["topology.istio.io/subzone", "topology.istio.io/subzone"]),
        }
    }

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.region.is_empty() && self.zone.is_empty() && self.subzone.is_empty()
    }
}
