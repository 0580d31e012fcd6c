//! What a Sidecar says about requests to its workload, and services that are another name for one.

use lateen_xds::pb::envoy::config::cluster::v3::Cluster;
use lateen_xds::pb::envoy::config::cluster::v3::cluster::{ClusterDiscoveryType, DiscoveryType};
use lateen_xds::pb::envoy::config::core::v3::address::Address;
use lateen_xds::pb::envoy::config::endpoint::v3::lb_endpoint::HostIdentifier;
use lateen_xds::pb::envoy::config::listener::v3::FilterChain;

use crate::kit::{Cluster0, Read, addresses, sidecar};

const SERVICES: &str = "
apiVersion: v1
kind: Service
metadata: {name: a}
spec: {selector: {app: a}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: a}
spec: {template: {metadata: {labels: {app: a}}, spec: {containers: []}}}
";

fn seen(more: &str) -> Read {
    let mut cluster = Cluster0::new();
    cluster.apply(SERVICES);
    cluster.apply(more);
    cluster.resources(&sidecar("a-0", &[("app", "a")], "lateen"))
}

fn is_static(cluster: &Cluster) -> bool {
    cluster.cluster_discovery_type == Some(ClusterDiscoveryType::Type(DiscoveryType::Static as i32))
}

fn endpoint(cluster: &Cluster) -> Option<Address> {
    let group = cluster.load_assignment.as_ref()?.endpoints.first()?;
    let Some(HostIdentifier::Endpoint(endpoint)) = &group.lb_endpoints.first()?.host_identifier else {
        return None;
    };
    endpoint.address.as_ref()?.address.clone()
}

#[test]
fn ingress_listeners_take_the_place_of_the_services_ports() {
    let seen = seen(
        "
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: a}
spec:
  workloadSelector: {labels: {app: a}}
  inboundConnectionPool: {tcp: {maxConnections: 7}}
  ingress:
  - {port: {number: 9443, protocol: HTTP, name: web}, defaultEndpoint: '127.0.0.1:8080'}
  - {port: {number: 9000, protocol: TCP, name: sock}, defaultEndpoint: 'unix:///run/app.sock'}
  - port: {number: 9001, protocol: TCP, name: pod}
    defaultEndpoint: '0.0.0.0:9100'
    connectionPool: {tcp: {maxConnections: 3}}
  - {port: {number: 9002, protocol: TCP, name: same}}
",
    );
    let loopback = seen.cluster("inbound|9443||");
    assert!(is_static(&loopback) && loopback.upstream_bind_config.is_none());
    assert_eq!(addresses(loopback.load_assignment.as_ref().expect("endpoints")), ["127.0.0.1"]);
    let Some(Address::Pipe(pipe)) = endpoint(&seen.cluster("inbound|9000||")) else { panic!("no socket") };
    assert_eq!(pipe.path, "/run/app.sock");
    let pod = seen.cluster("inbound|9001||");
    assert_eq!(addresses(pod.load_assignment.as_ref().expect("endpoints")), ["10.244.0.99"]);
    assert!(!is_static(&seen.cluster("inbound|9002||")));
    let limit = |cluster: &Cluster| {
        let thresholds = &cluster.circuit_breakers.as_ref().expect("limits").thresholds[0];
        thresholds.max_connections.map(|limit| limit.value)
    };
    assert_eq!((limit(&loopback), limit(&pod)), (Some(7), Some(3)));
    let ports: Vec<u32> = seen
        .listener("virtualInbound")
        .filter_chains
        .iter()
        .filter_map(|chain| chain.filter_chain_match.as_ref()?.destination_port.map(|port| port.value))
        .collect();
    assert!([9443, 9000, 9001, 9002].iter().all(|port| ports.contains(port)), "{ports:?}");
    assert!(!ports.contains(&8080), "the service's own port is not listed");
}

#[test]
fn ports_that_are_not_captured_are_opened_by_the_proxy() {
    let seen = seen(
        "
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: a}
spec:
  workloadSelector: {labels: {app: a}}
  ingress:
  - {port: {number: 9443, protocol: HTTP, name: web}, captureMode: NONE, bind: 127.0.0.9}
  - {port: {number: 9000, protocol: TCP, name: tcp}, captureMode: NONE, defaultEndpoint: 'unix:///run/app.sock'}
  - {port: {number: 9001, protocol: TCP, name: caught}}
  egress:
  - {port: {number: 80, protocol: HTTP, name: out}, captureMode: NONE, hosts: ['./*']}
  - {hosts: ['./*']}
",
    );
    let web = seen.listener("127.0.0.9_9443");
    assert!(web.bind_to_port.is_none_or(|bind| bind.value));
    assert!(web.filter_chains.iter().all(|chain| {
        chain.filter_chain_match.as_ref().is_none_or(|matched| matched.destination_port.is_none())
    }));
    assert_eq!(
        addresses(seen.cluster("inbound|9443||").load_assignment.as_ref().expect("endpoints")),
        ["127.0.0.1"]
    );
    seen.listener("10.244.0.99_9000");
    let inbound = seen.listener("virtualInbound");
    let caught = |port: u32| {
        inbound.filter_chains.iter().any(|chain| {
            let matched = chain.filter_chain_match.as_ref();
            matched.and_then(|m| m.destination_port).is_some_and(|own| own.value == port)
        })
    };
    assert!(caught(9001) && !caught(9443) && !caught(9000));
    let out = seen.listener("127.0.0.1_80");
    assert_eq!(out.bind_to_port.map(|bind| bind.value), Some(true));
    assert_eq!(out.filter_chains.len(), 1);
}

#[test]
fn limits_alone_leave_the_ports_as_they_are() {
    let seen = seen(
        "
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: default}
spec: {inboundConnectionPool: {http: {http1MaxPendingRequests: 2}}, egress: [{hosts: ['*/*']}]}
",
    );
    let cluster = seen.cluster("inbound|8080||");
    let thresholds = &cluster.circuit_breakers.as_ref().expect("limits").thresholds[0];
    assert_eq!(thresholds.max_pending_requests.map(|limit| limit.value), Some(2));
    assert!(!is_static(&cluster) && cluster.upstream_bind_config.is_some());
}

#[test]
fn an_external_name_is_another_name_for_the_service() {
    let seen = seen(
        "
apiVersion: v1
kind: Service
metadata: {name: nick}
spec: {type: ExternalName, externalName: a.default.svc.cluster.local, clusterIP: '', ports: [{port: 80}]}
",
    );
    let host = seen.host("80", "a.default.svc.cluster.local:80");
    for name in ["a", "nick", "nick.default.svc.cluster.local"] {
        assert!(host.domains.iter().any(|domain| domain == name), "{name} in {:?}", host.domains);
    }
}

const TERMINATED: &str = "
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: a}
spec:
  workloadSelector: {labels: {app: a}}
  ingress:
  - port: {number: 9443, protocol: HTTPS, name: https}
    defaultEndpoint: '127.0.0.1:8080'
    tls: {mode: MUTUAL, serverCertificate: /etc/certs/c.pem, privateKey: /etc/certs/k.pem, caCertificates: /etc/certs/ca.pem}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: a}
spec: {selector: {matchLabels: {app: a}}, portLevelMtls: {9443: {mode: MODE}}}
";

#[test]
fn tls_of_clients_ends_at_the_sidecar_where_the_meshs_own_is_off() {
    let of_port = |mode: &str| -> Vec<FilterChain> {
        let listener = seen(&TERMINATED.replace("MODE", mode)).listener("virtualInbound");
        let is_ours = |chain: &FilterChain| {
            let matched = chain.filter_chain_match.as_ref();
            matched.and_then(|m| m.destination_port).is_some_and(|port| port.value == 9443)
        };
        listener.filter_chains.into_iter().filter(is_ours).collect()
    };
    let [chain] = &of_port("DISABLE")[..] else { panic!("one chain: plain connections are closed") };
    assert_eq!(chain.filter_chain_match.as_ref().map(|m| &*m.transport_protocol), Some("tls"));
    assert_eq!(chain.filters[0].name, "envoy.filters.network.http_connection_manager", "HTTP inside of TLS");
    let text = |chain: &FilterChain| format!("{:?}", chain.transport_socket);
    let file = |chain: &FilterChain, name: &[u8]| {
        text(chain).contains(&format!("{:?}", name).replace(['[', ']'], ""))
    };
    assert!(file(chain, b"file-cert:/etc/certs/c.pem~/etc/certs/k.pem"), "{}", text(chain));
    assert!(file(chain, b"file-root:/etc/certs/ca.pem"));
    let strict = of_port("STRICT");
    assert!(strict.iter().all(|chain| !file(chain, b"file-cert:")), "the mesh's own TLS goes first");
}
