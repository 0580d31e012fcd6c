//! Gateways that nothing serves, and VirtualServices that their Gateways do not let through.

use std::collections::BTreeSet;

use lateen_api::networking::gateway::TlsProtocol;
use lateen_api::validation::handshakes;
use lateen_mesh::{Gateway, Kind, MESH_GATEWAY, Mesh, VirtualService, hostname};

use crate::finding::{Code, Finding, Severity, key};

pub(crate) fn check(mesh: &Mesh, findings: &mut Vec<Finding>) {
    for gateway in &mesh.gateways.all {
        workloads(mesh, gateway, findings);
        versions(gateway, findings);
    }
    for vs in &mesh.virtual_services.declared {
        hosts(mesh, vs, findings);
    }
}

fn workloads(mesh: &Mesh, gateway: &Gateway, findings: &mut Vec<Finding>) {
    let pods: Vec<_> = mesh.workloads().filter(|w| w.alive && gateway.selects(&w.labels)).collect();
    let resource = key(Kind::Gateway, &gateway.meta);
    if pods.is_empty() {
        let pairs: Vec<String> = gateway.spec.selector.iter().map(|(k, v)| format!("{k}={v}")).collect();
        findings.push(Finding::new(
            Code::ReferencedResourceNotFound,
            Severity::Error,
            resource,
            "spec.selector".to_owned(),
            format!("no pod has the labels {}, so that nothing serves this Gateway", pairs.join(",")),
            "correct the labels (Istio's own gateway has istio=ingressgateway), or start a gateway that has them",
        ));
        return;
    }
    let served = |pod: &&std::sync::Arc<lateen_mesh::Workload>| {
        mesh.inbound(&pod.meta.namespace, &pod.labels, |name| pod.named_port(name))
    };
    let inbound: Vec<_> = pods.iter().flat_map(served).collect();
    let ports: BTreeSet<u32> =
        inbound.iter().flat_map(|i| [u32::from(i.port.number), u32::from(i.target)]).collect();
    for (at, server) in gateway.spec.servers.iter().enumerate() {
        let Some(port) = server.port.as_ref().filter(|p| !ports.contains(&p.number)) else { continue };
        findings.push(Finding::new(
            Code::GatewayPortNotOnWorkload,
            Severity::Warning,
            resource.clone(),
            format!("spec.servers[{at}].port.number"),
            format!(
                "no Service of the gateway's pods has the port {}, so that clients cannot reach it",
                port.number
            ),
            "add the port to the gateway's Service, or use one that it has",
        ));
    }
}

/// Servers with which Lateen's own proxies have nothing to agree on.
fn versions(gateway: &Gateway, findings: &mut Vec<Finding>) {
    for (at, server) in gateway.spec.servers.iter().enumerate() {
        let Some(tls) = server.tls.as_ref().filter(|tls| !handshakes::is_possible(tls)) else { continue };
        let field = if tls.max_protocol_version < TlsProtocol::TlsV1_2 {
            "maxProtocolVersion"
        } else {
            "cipherSuites"
        };
        findings.push(Finding::new(
            Code::SchemaValidationError,
            Severity::Warning,
            key(Kind::Gateway, &gateway.meta),
            format!("spec.servers[{at}].tls.{field}"),
            format!(
                "Lateen's own proxies speak TLS 1.2 and 1.3, by suites with forward secrecy: at such gateways the hosts {} are \
                 closed",
                server.hosts.join(", ")
            ),
            "allow TLS 1.3, or a suite such as ECDHE-ECDSA-AES128-GCM-SHA256 and ECDHE-RSA-AES128-GCM-SHA256",
        ));
    }
}

fn hosts(mesh: &Mesh, vs: &VirtualService, findings: &mut Vec<Finding>) {
    let gateways: Vec<_> = vs.gateways.iter().filter_map(|id| mesh.gateways.get(id)).collect();
    let with_mesh = vs.gateways.iter().any(|g| &**g == MESH_GATEWAY);
    if gateways.is_empty() || with_mesh {
        return;
    }
    let served = |gateway: &Gateway, host: &str| {
        let entries = gateway.spec.servers.iter().flat_map(|s| &s.hosts);
        let mut entries = entries.map(|e| e.split_once('/').unwrap_or(("*", e)));
        entries.any(|(namespace, offered)| {
            let namespace = if namespace == "." { &*gateway.meta.namespace } else { namespace };
            (namespace == "*" || namespace == &*vs.meta.namespace) && hostname::overlap(offered, host)
        })
    };
    for (at, host) in vs.hosts.iter().enumerate() {
        if gateways.iter().any(|gateway| served(gateway, host)) {
            continue;
        }
        findings.push(Finding::new(
            Code::VirtualServiceHostNotFoundInGateway,
            Severity::Warning,
            key(Kind::VirtualService, &vs.meta),
            format!("spec.hosts[{at}]"),
            format!("no server of the Gateways {} offers {host:?}", vs.spec.gateways.join(", ")),
            "add the host to a server of the Gateway, or take one that it has",
        ));
    }
}
