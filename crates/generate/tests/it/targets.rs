//! What policies apply to by `targetRefs`.

use lateen_generate::Proxy;
use lateen_xds::TypeUrl;
use prost::Message;

use crate::kit::{Cluster0, Read, ingress, sidecar};
use crate::transport::{SERVICES, trusted};

const GATEWAY: &str = "
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge, namespace: istio-system}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]
";

/// A policy that denies a header's value, and is told apart by it.
fn policy(namespace: &str, targets: &str) -> String {
    format!(
        "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {{name: a, namespace: {namespace}}}\n\
         spec: {{action: DENY, targetRefs: {targets}, rules: [{{when: [{{key: 'request.headers[x]', values: [z]}}]}}]}}\n"
    )
}

fn seen(policy: &str, proxy: Proxy) -> Read {
    let mut cluster = Cluster0::new();
    cluster.apply(SERVICES);
    cluster.apply(GATEWAY);
    cluster.apply(policy);
    cluster.resources(&trusted(proxy))
}

fn stands(message: &impl Message) -> bool {
    String::from_utf8_lossy(&message.encode_to_vec()).contains("policy[a]")
}

/// Inbound ports of a pod of the service `web` where the policy stands.
fn ports(policy: &str) -> Vec<u32> {
    let listener = seen(policy, sidecar("x-0", &[("app", "web")], "envoy")).listener("virtualInbound");
    let guarded = listener.filter_chains.iter().filter(|chain| stands(*chain));
    let ports = guarded.filter_map(|c| Some(c.filter_chain_match.as_ref()?.destination_port?.value));
    let mut ports: Vec<u32> = ports.collect();
    ports.dedup();
    ports
}

/// Whether it stands at a gateway whose pods have these labels besides.
fn at_gateway(policy: &str, more: &[(&str, &str)]) -> bool {
    let mut proxy = ingress("envoy");
    proxy.labels.extend(more.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
    let seen = seen(policy, proxy);
    seen.names(TypeUrl::Listener).iter().any(|name| stands(&seen.listener(name)))
}

#[test]
fn services_are_guarded_at_the_ports_of_their_pods() {
    let web = "[{group: '', kind: Service, name: web}]";
    assert_eq!(ports(&policy("default", web)), [7000, 8080, 9000]);
    assert_eq!(ports(&policy("other", web)), [0; 0], "of another namespace");
    assert_eq!(ports(&policy("default", "[{group: '', kind: Service, name: db}]")), [0; 0]);
    let several = "[{group: '', kind: Service, name: db}, {group: core, kind: Service, name: web}]";
    assert!(!ports(&policy("default", several)).is_empty());
    let unknown = "[{group: apps, kind: Deployment, name: web}]";
    assert_eq!(ports(&policy("default", unknown)), [0; 0]);
}

#[test]
fn gateways_are_found_by_their_pods_labels() {
    let gateway = "[{group: gateway.networking.k8s.io, kind: Gateway, name: mine}]";
    let labels = [("gateway.networking.k8s.io/gateway-name", "mine")];
    assert!(at_gateway(&policy("istio-system", gateway), &labels));
    assert!(!at_gateway(&policy("istio-system", gateway), &[]));
    assert!(!at_gateway(&policy("default", gateway), &labels), "of another namespace");
    let class = "[{group: gateway.networking.k8s.io, kind: GatewayClass, name: istio}]";
    let labels = [("gateway.networking.k8s.io/gateway-class-name", "istio")];
    assert!(at_gateway(&policy("istio-system", class), &labels));
    assert!(!at_gateway(&policy("default", class), &labels), "classes are for the root namespace");
}
