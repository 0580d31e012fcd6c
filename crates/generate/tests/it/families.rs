//! Pods of IPv6 alone, and of both IP versions.

use lateen_generate::{Families, Proxy};
use lateen_xds::TypeUrl;
use lateen_xds::pb::envoy::config::core::v3::address::Address as Kind;
use lateen_xds::pb::envoy::config::core::v3::{Address, SocketAddress};
use lateen_xds::pb::envoy::config::endpoint::v3::lb_endpoint::HostIdentifier;
use lateen_xds::pb::envoy::config::listener::v3::Listener;
use serde_json::{Value, json};

use crate::kit::{Cluster0, Read, ingress, sidecar};

const V4: &str = "10.244.0.99";
const V6: &str = "fd00:244::99";

const MANIFEST: &str = "
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: web}
  clusterIP: 10.96.1.1
  clusterIPs: [10.96.1.1, 'fd00:96::1']
  ports: [{name: http, port: 80, targetPort: 8080}, {name: tcp, port: 9000}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: out}
spec:
  hosts: [out.example]
  resolution: DNS
  ports: [{number: 443, name: tls, protocol: TLS}]
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 8080, name: http, protocol: HTTP}, hosts: ['*']}]
---
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: tokens}
spec:
  selector: {matchLabels: {app: web}}
  jwtRules: [{issuer: a, jwksUri: 'https://keys.example/jwks'}]
";

/// Each pod has a second address, in a slice of its own as Kubernetes makes it.
fn cluster() -> Cluster0 {
    let mut cluster = Cluster0::new();
    cluster.apply(MANIFEST);
    let endpoint = |at: usize| {
        json!({
            "addresses": [format!("fd00:244::{at}")], "conditions": {"ready": true},
            "targetRef": {"kind": "Pod", "name": format!("web-{at}")},
        })
    };
    let slice: Value = json!({
        "metadata": {
            "name": "web-v6", "namespace": "default", "labels": {"kubernetes.io/service-name": "web"},
        },
        "addressType": "IPv6",
        "endpoints": [endpoint(0), endpoint(1)],
        "ports": [{"name": "http", "port": 8080}, {"name": "tcp", "port": 9000}],
    });
    let slice: k8s_openapi::api::discovery::v1::EndpointSlice = serde_json::from_value(slice).unwrap();
    cluster.world.upsert(slice.into());
    cluster
}

fn of(addresses: &[&str], program: &str) -> Proxy {
    let addresses = addresses.iter().map(|ip| ip.parse().unwrap()).collect();
    Proxy { addresses, ..sidecar("web-0", &[("app", "web")], program) }
}

fn ip(address: &Option<Address>) -> String {
    match address.as_ref().and_then(|a| a.address.as_ref()) {
        Some(Kind::SocketAddress(SocketAddress { address, .. })) => address.clone(),
        other => panic!("unexpected {other:?}"),
    }
}

/// Where a listener listens.
fn places(listener: &Listener) -> Vec<String> {
    let more = listener.additional_addresses.iter().map(|more| ip(&more.address));
    std::iter::once(ip(&listener.address)).chain(more).collect()
}

/// Addresses that connections to the application come from.
fn sources(seen: &Read, cluster: &str) -> Vec<String> {
    let bind = seen.cluster(cluster).upstream_bind_config.expect("a source");
    let extra = bind.extra_source_addresses.into_iter().filter_map(|extra| extra.address);
    bind.source_address.into_iter().chain(extra).map(|socket| socket.address).collect()
}

/// The addresses of each endpoint.
fn endpoints(seen: &Read) -> Vec<Vec<String>> {
    let assignment = seen.endpoints("outbound|80||web.default.svc.cluster.local");
    let all = assignment.endpoints.into_iter().flat_map(|group| group.lb_endpoints);
    let one = all.map(|endpoint| {
        let Some(HostIdentifier::Endpoint(endpoint)) = endpoint.host_identifier else { panic!("an address") };
        let more = endpoint.additional_addresses.iter().map(|more| ip(&more.address));
        std::iter::once(ip(&endpoint.address)).chain(more).collect()
    });
    one.collect()
}

#[test]
fn a_pod_of_ipv6_listens_and_connects_by_ipv6_alone() {
    for program in ["lateen", "envoy"] {
        let seen = cluster().resources(&of(&[V6], program));
        for name in ["virtualInbound", "virtualOutbound", "::_80"] {
            assert_eq!(places(&seen.listener(name)), ["::"], "{name}");
        }
        for name in ["inbound|8080||", "InboundPassthroughCluster", "InboundPassthroughClusterIpv6"] {
            assert_eq!(sources(&seen, name), ["::6"], "{name}");
        }
        assert!(!seen.names(TypeUrl::Cluster).contains(&"InboundPassthroughClusterIpv4".to_owned()));
        assert_eq!(endpoints(&seen), [["fd00:244::0"], ["fd00:244::1"]]);
    }
}

#[test]
fn a_pod_of_both_versions_listens_on_both_the_first_address_first() {
    for (addresses, wildcards, own) in [
        ([V4, V6], ["0.0.0.0", "::"], ["127.0.0.6", "::6"]),
        ([V6, V4], ["::", "0.0.0.0"], ["::6", "127.0.0.6"]),
    ] {
        let seen = cluster().resources(&of(&addresses, "lateen"));
        let shared = format!("{}_80", wildcards[0]);
        for name in ["virtualInbound", "virtualOutbound", &shared] {
            assert_eq!(places(&seen.listener(name)), wildcards, "{name}");
        }
        // Each of a service's addresses has its own listener for TCP.
        for address in ["10.96.1.1", "fd00:96::1"] {
            assert_eq!(places(&seen.listener(&format!("{address}_9000"))), [address]);
        }
        assert_eq!(sources(&seen, "inbound|8080||"), own);
        let first = |endpoint: &Vec<String>| endpoint[0].contains(':') == (addresses[0] == V6);
        let endpoints = endpoints(&seen);
        assert!(endpoints.len() == 2 && endpoints.iter().all(|e| e.len() == 2 && first(e)), "{endpoints:?}");
    }
}

#[test]
fn names_are_looked_up_for_the_versions_that_the_pod_has() {
    use lateen_xds::pb::envoy::config::cluster::v3::cluster::DnsLookupFamily as Lookup;
    let cases: [(&[&str], _); 3] =
        [(&[V4], Lookup::V4Only), (&[V6], Lookup::V6Only), (&[V4, V6], Lookup::All)];
    for (addresses, lookup) in cases {
        let seen = cluster().resources(&of(addresses, "lateen"));
        for name in ["outbound|443||out.example", "outbound|443|jwks|keys.example"] {
            let found = seen.cluster(name).dns_lookup_family;
            assert_eq!(found, lookup as i32, "{name}");
        }
    }
}

/// A client of IPv4 gets no address that it cannot reach.
#[test]
fn a_pod_of_ipv4_sees_nothing_of_ipv6() {
    let seen = cluster().resources(&of(&[V4, "fe80::1"], "lateen"));
    assert_eq!(endpoints(&seen), [["10.244.0.10"], ["10.244.0.11"]]);
    for name in ["virtualInbound", "virtualOutbound", "0.0.0.0_80"] {
        assert_eq!(places(&seen.listener(name)), ["0.0.0.0"], "{name}");
    }
    assert_eq!(sources(&seen, "inbound|8080||"), ["127.0.0.6"]);
}

#[test]
fn gateways_listen_on_the_versions_that_they_have() {
    let addresses = [V4, V6].map(|ip| ip.parse().unwrap()).to_vec();
    assert_eq!(Families::of(&addresses), Families::V4V6);
    let both = Proxy { addresses, ..ingress("lateen") };
    assert_eq!(places(&cluster().resources(&both).listener("0.0.0.0_8080")), ["0.0.0.0", "::"]);
    let v6 = Proxy { addresses: vec![V6.parse().unwrap()], ..ingress("lateen") };
    assert_eq!(places(&cluster().resources(&v6).listener("::_8080")), ["::"]);
}

#[test]
fn envoy_accepts_the_resources_of_either() {
    for (name, addresses) in [("v6", &[V6][..]), ("v4-v6", &[V4, V6]), ("v6-v4", &[V6, V4])] {
        crate::envoy::accepts(&format!("families-{name}"), &cluster().resources(&of(addresses, "envoy")));
        let addresses = addresses.iter().map(|ip| ip.parse().unwrap()).collect();
        let gateway = Proxy { addresses, ..ingress("envoy") };
        crate::envoy::accepts(&format!("families-{name}-gateway"), &cluster().resources(&gateway));
    }
}
