//! Endpoints by where their clients are.

use std::collections::BTreeMap;
use std::sync::Arc;

use lateen_generate::{Generator, Proxy};
use lateen_xds::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;

use crate::kit::{Cluster0, Read, sidecar};

const CLUSTER: &str = "outbound|80||s.default.svc.cluster.local";

fn service_entry() -> String {
    let places = ["eu/1/a", "eu/1/b", "eu/2/a", "us/1/a", "asia/1/a"];
    let endpoint = |(at, place): (usize, &&str)| {
        format!("{{address: 198.51.100.{at}, locality: {place}, labels: {{rack: r{}}}}}", at % 2)
    };
    let endpoints: Vec<String> = places.iter().enumerate().map(endpoint).collect();
    format!(
        "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: s}}
spec:
  hosts: [s.default.svc.cluster.local]
  resolution: STATIC
  ports: [{{number: 80, name: http, protocol: HTTP}}]
  endpoints: [{}]
",
        endpoints.join(", ")
    )
}

fn rule(policy: &str) -> String {
    format!(
        "
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: s}}
spec: {{host: s.default.svc.cluster.local, trafficPolicy: {policy}}}
"
    )
}

fn client(region: &str, zone: &str, subzone: &str) -> Proxy {
    let locality = [region, zone, subzone].map(Arc::from);
    Proxy { locality, ..sidecar("c-0", &[("app", "c"), ("rack", "r1")], "lateen") }
}

fn assignment(policy: &str, client: &Proxy) -> ClusterLoadAssignment {
    let mut cluster = Cluster0::new();
    cluster.apply(&service_entry());
    cluster.apply(&rule(policy));
    Read(Generator::new(cluster.mesh()).resources(client)).endpoints(CLUSTER)
}

/// Priority and weight of each locality.
fn groups(assignment: &ClusterLoadAssignment) -> BTreeMap<String, (u32, u32)> {
    let one = |group: &lateen_xds::pb::envoy::config::endpoint::v3::LocalityLbEndpoints| {
        let l = group.locality.clone().unwrap_or_default();
        let weight = group.load_balancing_weight.map_or(0, |w| w.value);
        (format!("{}/{}/{}", l.region, l.zone, l.sub_zone), (group.priority, weight))
    };
    assignment.endpoints.iter().map(one).collect()
}

fn priorities(assignment: &ClusterLoadAssignment) -> Vec<u32> {
    groups(assignment).values().map(|(priority, _)| *priority).collect()
}

#[test]
fn near_endpoints_come_first_where_failures_are_detected() {
    let here = client("eu", "1", "a");
    let plain = assignment("{loadBalancer: {simple: ROUND_ROBIN}}", &here);
    assert!(priorities(&plain).iter().all(|p| *p == 0), "nothing would ever fail over");
    let near = assignment("{outlierDetection: {consecutive5xxErrors: 1}}", &here);
    // asia, eu/1/a, eu/1/b, eu/2/a, us
    assert_eq!(priorities(&near), [3, 0, 1, 2, 3]);
    let policy =
        "{outlierDetection: {}, loadBalancer: {localityLbSetting: {failover: [{from: eu, to: us}]}}}";
    assert_eq!(priorities(&assignment(policy, &here)), [4, 0, 1, 2, 3]);
    let off = "{outlierDetection: {}, loadBalancer: {localityLbSetting: {enabled: false}}}";
    assert!(priorities(&assignment(off, &here)).iter().all(|p| *p == 0));
    let elsewhere = assignment("{outlierDetection: {}}", &client("africa", "1", "a"));
    assert!(priorities(&elsewhere).iter().all(|p| *p == 0), "priorities have no gaps");
}

#[test]
fn shares_are_given_by_the_clients_place_and_the_rest_gets_nothing() {
    let policy = "{loadBalancer: {localityLbSetting: {distribute: [
        {from: 'eu/1/*', to: {'eu/1/*': 80, 'us/*': 20}}, {from: 'us/*', to: {'us/*': 100}}]}}}";
    let seen = groups(&assignment(policy, &client("eu", "1", "b")));
    let weights: Vec<(&str, u32)> =
        seen.iter().map(|(place, (_, weight))| (place.as_str(), *weight)).collect();
    assert_eq!(weights, [("eu/1/a", 4_000), ("eu/1/b", 4_000), ("us/1/a", 2_000)]);
    assert_eq!(groups(&assignment(policy, &client("us", "1", "a"))).len(), 1);
    assert_eq!(groups(&assignment(policy, &client("asia", "1", "a"))).len(), 5, "no share is set from there");
}

#[test]
fn labels_make_endpoints_near_in_their_order() {
    let policy = "{outlierDetection: {}, loadBalancer: {localityLbSetting: {failoverPriority: [
        topology.kubernetes.io/region, rack]}}}";
    let seen = assignment(policy, &client("eu", "9", "z"));
    let by_address: BTreeMap<String, u32> = seen
        .endpoints
        .iter()
        .flat_map(|group| {
            let single = ClusterLoadAssignment { endpoints: vec![group.clone()], ..Default::default() };
            crate::kit::addresses(&single).into_iter().map(|address| (address, group.priority))
        })
        .collect();
    let priorities: Vec<u32> = by_address.into_values().collect();
    // r0 in eu, r1 in eu, r0 in eu, r1 elsewhere, r0 elsewhere: the region counts first.
    assert_eq!(priorities, [1, 0, 1, 2, 2]);
}
