use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use lateen_xds::istio::NameTable;
use lateen_xds::pb::envoy::config::core::v3::Node;
use lateen_xds::pb::google::protobuf::{Struct, value::Kind};

use crate::families::Families;

/// What a proxy does for its workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProxyKind {
    /// Beside an application (`sidecar`).
    Sidecar,
    /// At an edge of the mesh (`router`).
    Gateway,
}

/// Which program the proxy is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flavour {
    /// Lateen's own: routes by virtual host, Istio's filters built in.
    Lateen,
    /// Envoy as upstream releases it: whole route configurations, no filter that it does not have.
    Envoy,
}

/// How outbound and inbound connections reach the proxy (`INTERCEPTION_MODE`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Interception {
    /// Redirected; the original destination is asked of the kernel.
    #[default]
    Redirect,
    /// Transparent proxying keeps the client's address.
    Tproxy,
    /// Not captured at all.
    None,
}

/// The mark of connections to the application that bear a client's address: istio-iptables' `-t` by default, as in Istio.
pub(crate) const TPROXY_MARK: u32 = 1337;

/// Who resolves the names that a proxy's application calls (`DNS_CAPTURE`, `DNS_AUTO_ALLOCATE`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Naming {
    /// Whoever the pod asks.
    #[default]
    Elsewhere,
    /// The proxy's agent, by the table that it gets.
    Captured,
    /// The same, and services without an address have one that was chosen for them.
    Addressed,
}

/// A connected proxy, as its xDS node describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    /// The node's id as it stands on the wire.
    pub id: Arc<str>,
    /// Sidecar or gateway.
    pub kind: ProxyKind,
    /// Which program it is.
    pub flavour: Flavour,
    /// The pod's name.
    pub name: Arc<str>,
    /// The pod's namespace.
    pub namespace: Arc<str>,
    /// The pod's addresses, first the one of the node id.
    pub addresses: Vec<IpAddr>,
    /// The DNS domain of the namespace: `default.svc.cluster.local`.
    pub domain: Arc<str>,
    /// The pod's labels (`LABELS`).
    pub labels: BTreeMap<String, String>,
    /// `SERVICE_ACCOUNT`.
    pub service_account: Arc<str>,
    /// `CLUSTER_ID`, or `Kubernetes`.
    pub cluster: Arc<str>,
    /// `INTERCEPTION_MODE`.
    pub interception: Interception,
    /// `ISTIO_VERSION`; empty when the node does not tell.
    pub version: Arc<str>,
    /// What else the node's metadata says in words.
    pub metadata: BTreeMap<String, String>,
    /// Region, zone and subzone of the node.
    pub locality: [Arc<str>; 3],
    /// Whether its stream proved that it is who the node says (namespace and service account). Only such a proxy has
    /// certificates of the mesh, and gets secrets. A node cannot say so itself: the server sets it.
    pub authenticated: bool,
}

/// Why a node cannot be served.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ProxyError {
    /// The id is not `kind~address~pod.namespace~domain`.
    #[error("node id {0:?} is not of the form sidecar~IP~POD.NAMESPACE~NAMESPACE.svc.DOMAIN")]
    Id(String),
    /// The first part is neither `sidecar` nor `router`.
    #[error("node id {0:?}: the proxy type is {1:?}, expected \"sidecar\" or \"router\"")]
    Kind(String, String),
}

impl Proxy {
    /// The IP versions of the pod's addresses.
    pub fn families(&self) -> Families {
        Families::of(&self.addresses)
    }

    /// Who resolves names for its application. Addresses are chosen unless the proxy refuses them, as in Istio since 1.25.
    pub fn naming(&self) -> Naming {
        // As Go's `strconv.ParseBool` reads them.
        let says = |key: &str, values: [&str; 6]| {
            self.metadata.get(key).is_some_and(|value| values.contains(&value.as_str()))
        };
        if self.kind != ProxyKind::Sidecar || !says("DNS_CAPTURE", ["1", "t", "T", "true", "True", "TRUE"]) {
            Naming::Elsewhere
        } else if says("DNS_AUTO_ALLOCATE", ["0", "f", "F", "false", "False", "FALSE"]) {
            Naming::Captured
        } else {
            Naming::Addressed
        }
    }

    /// Whether its agent takes names each by itself, as Lateen's says that it does (`LATEEN_NAMES_BY_HOST`).
    pub fn names_by_host(&self) -> bool {
        self.naming() != Naming::Elsewhere && self.metadata.contains_key(NameTable::BY_HOST)
    }

    /// Reads an xDS node.
    ///
    /// Source of the form of the id and of the metadata: Istio, `pilot-agent` (`sidecar~IP~pod.ns~ns.svc.domain`,
    /// `NAMESPACE`, `LABELS`, `INTERCEPTION_MODE`, `SERVICE_ACCOUNT`, `CLUSTER_ID`, `INSTANCE_IPS`).
    ///
    /// # Errors
    /// When the id is malformed or names an unknown type.
    pub fn from_node(node: &Node) -> Result<Proxy, ProxyError> {
        let malformed = || ProxyError::Id(node.id.clone());
        let parts: Vec<&str> = node.id.split('~').collect();
        let [kind, address, pod, domain] = parts[..] else { return Err(malformed()) };
        let kind = match kind {
            "sidecar" => ProxyKind::Sidecar,
            "router" => ProxyKind::Gateway,
            other => return Err(ProxyError::Kind(node.id.clone(), other.to_owned())),
        };
        let (name, id_namespace) = pod.split_once('.').ok_or_else(malformed)?;
        let meta = node.metadata.as_ref();
        let text = |key: &str| meta.and_then(|m| string(m, key));
        let namespace = text("NAMESPACE").unwrap_or(id_namespace);
        let mut addresses: Vec<IpAddr> = address.parse().into_iter().collect();
        for ip in text("INSTANCE_IPS").unwrap_or_default().split(',') {
            addresses.extend(ip.trim().parse::<IpAddr>().ok().filter(|ip| !addresses.contains(ip)));
        }
        let locality = node.locality.clone().unwrap_or_default();
        Ok(Proxy {
            id: node.id.as_str().into(),
            kind,
            flavour: if node.user_agent_name == "lateen" { Flavour::Lateen } else { Flavour::Envoy },
            name: name.into(),
            namespace: namespace.into(),
            addresses,
            domain: domain.into(),
            labels: meta.map(labels).unwrap_or_default(),
            service_account: text("SERVICE_ACCOUNT").unwrap_or("default").into(),
            cluster: text("CLUSTER_ID").unwrap_or("Kubernetes").into(),
            interception: match text("INTERCEPTION_MODE") {
                Some("TPROXY") => Interception::Tproxy,
                Some("NONE") => Interception::None,
                _ => Interception::Redirect,
            },
            version: text("ISTIO_VERSION").unwrap_or_default().into(),
            metadata: meta.map(texts).unwrap_or_default(),
            locality: [locality.region.into(), locality.zone.into(), locality.sub_zone.into()],
            authenticated: false,
        })
    }
}

fn string<'a>(metadata: &'a Struct, key: &str) -> Option<&'a str> {
    match metadata.fields.get(key)?.kind.as_ref()? {
        Kind::StringValue(text) if !text.is_empty() => Some(text),
        _ => None,
    }
}

fn texts(metadata: &Struct) -> BTreeMap<String, String> {
    metadata.fields.keys().filter_map(|key| Some((key.clone(), string(metadata, key)?.to_owned()))).collect()
}

fn labels(metadata: &Struct) -> BTreeMap<String, String> {
    let Some(Kind::StructValue(labels)) = metadata.fields.get("LABELS").and_then(|v| v.kind.as_ref()) else {
        return BTreeMap::new();
    };
    labels.fields.keys().filter_map(|key| Some((key.clone(), string(labels, key)?.to_owned()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(id: &str) -> Node {
        Node { id: id.into(), ..Node::default() }
    }

    #[test]
    fn sidecar_id_gives_pod_namespace_and_domain() {
        let proxy =
            Proxy::from_node(&node("sidecar~10.244.0.7~reviews-v1-x.default~default.svc.cluster.local"))
                .expect("well formed");
        assert_eq!(proxy.kind, ProxyKind::Sidecar);
        assert_eq!((&*proxy.name, &*proxy.namespace), ("reviews-v1-x", "default"));
        assert_eq!(proxy.addresses, ["10.244.0.7".parse::<IpAddr>().expect("address")]);
        assert_eq!(proxy.flavour, Flavour::Envoy);
    }

    #[test]
    fn malformed_ids_are_refused_with_what_was_expected() {
        assert!(matches!(Proxy::from_node(&node("nonsense")), Err(ProxyError::Id(_))));
        assert!(matches!(Proxy::from_node(&node("waypoint~::1~a.b~c")), Err(ProxyError::Kind(..))));
    }
}
