//! What the kernel should know of services; pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use kube::ResourceExt;
use lateen_netfilter::{Pick, Proto};

use crate::cluster::Catalog;

/// A service's port as a chain of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    /// How an endpoint is chosen.
    pub pick: Pick,
    /// Endpoints that take connections; never empty.
    pub endpoints: Vec<SocketAddr>,
}

/// All services.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Chains by name.
    pub chains: BTreeMap<String, Target>,
    /// Addresses: to which chain.
    pub addresses: BTreeMap<(Ipv4Addr, Proto, u16), String>,
    /// Node ports: to which chain.
    pub node_ports: BTreeMap<(Proto, u16), String>,
    /// Endpoints, which may call themselves through their service.
    pub endpoints: BTreeSet<Ipv4Addr>,
}

/// Plans for the services of the catalog. A port without ready endpoints is left out: it is refused then.
pub(crate) fn plan(catalog: &Catalog) -> Plan {
    let mut plan = Plan::default();
    for service in catalog.services() {
        let Some(spec) = service.spec.as_ref().filter(|s| s.type_.as_deref() != Some("ExternalName")) else {
            continue;
        };
        for port in spec.ports.iter().flatten() {
            add(&mut plan, catalog, &service, spec, port);
        }
    }
    plan
}

fn add(plan: &mut Plan, catalog: &Catalog, service: &Service, spec: &ServiceSpec, port: &ServicePort) {
    let proto = match port.protocol.as_deref() {
        None | Some("TCP") => Proto::Tcp,
        Some("UDP") => Proto::Udp,
        Some("SCTP") => Proto::Sctp,
        Some(_) => return,
    };
    let Ok(number) = u16::try_from(port.port) else { return };
    let addresses: Vec<Ipv4Addr> = spec
        .cluster_ip
        .iter()
        .chain(spec.external_ips.iter().flatten())
        .filter_map(|ip| ip.parse().ok())
        .collect();
    let (namespace, name) = (service.namespace().unwrap_or_default(), service.name_any());
    let backends = catalog.backends(&namespace, &name, Some(port.name.as_deref().unwrap_or_default()));
    let endpoints: Vec<SocketAddr> =
        backends.iter().filter(|b| b.ready).map(|b| SocketAddr::from((b.ip, b.port))).collect();
    if endpoints.is_empty() || addresses.is_empty() {
        return;
    }
    let chain = format!("svc-{namespace}/{name}/{number}-{}", proto.word());
    plan.endpoints.extend(backends.iter().map(|b| b.ip));
    plan.addresses.extend(addresses.into_iter().map(|ip| ((ip, proto, number), chain.clone())));
    if let Some(node_port) = port.node_port.and_then(|p| u16::try_from(p).ok()).filter(|p| *p > 0) {
        plan.node_ports.insert((proto, node_port), chain.clone());
    }
    let sticky = spec.session_affinity.as_deref() == Some("ClientIP");
    let pick = if sticky { Pick::SourceHash } else { Pick::Random };
    plan.chains.insert(chain, Target { pick, endpoints });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::Sink;

    #[test]
    fn only_ports_with_ready_endpoints_are_planned() {
        let catalog = Catalog::new();
        let service = |name: &str, ip: &str| -> Service {
            serde_json::from_value(serde_json::json!({
                "metadata": {"name": name, "namespace": "n"},
                "spec": {"clusterIP": ip, "type": "NodePort", "sessionAffinity": "ClientIP",
                    "ports": [{"name": "http", "port": 80, "nodePort": 30080}]}
            }))
            .unwrap()
        };
        catalog.service_sink().replace(vec![
            service("full", "10.96.0.20"),
            service("empty", "10.96.0.21"),
            service("headless", "None"),
        ]);
        let slice = serde_json::from_value(serde_json::json!({
            "metadata": {"name": "x", "namespace": "n", "labels": {"kubernetes.io/service-name": "full"}},
            "addressType": "IPv4", "ports": [{"name": "http", "port": 8080}],
            "endpoints": [{"addresses": ["10.244.0.2"]},
                {"addresses": ["10.244.0.3"], "conditions": {"ready": false}}]
        }))
        .unwrap();
        catalog.slice_sink().replace(vec![slice]);
        let plan = plan(&catalog);
        let chain = "svc-n/full/80-tcp";
        assert_eq!(plan.chains[chain].endpoints, ["10.244.0.2:8080".parse().unwrap()]);
        assert_eq!(plan.chains[chain].pick, Pick::SourceHash);
        assert_eq!(plan.addresses.len(), 1);
        assert_eq!(plan.node_ports[&(Proto::Tcp, 30080)], chain);
    }
}
