use std::collections::{BTreeSet, HashMap};

use super::*;
use crate::any;
use crate::pb::envoy::config::cluster::v3::Cluster;
use crate::pb::envoy::service::discovery::v3::Resource;

fn client(flavour: Flavour) -> Client {
    Client::new(Node { id: "n".to_owned(), ..Node::default() }, flavour)
}

fn deltas(client: &mut Client) -> Vec<DeltaDiscoveryRequest> {
    let requests = client.take_requests().into_iter();
    requests
        .map(|request| match request {
            Request::Delta(request) => *request,
            Request::StateOfTheWorld(_) => panic!("a delta stream"),
        })
        .collect()
}

fn sotws(client: &mut Client) -> Vec<DiscoveryRequest> {
    let requests = client.take_requests().into_iter();
    requests
        .map(|request| match request {
            Request::StateOfTheWorld(request) => *request,
            Request::Delta(_) => panic!("a state-of-the-world stream"),
        })
        .collect()
}

fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn response(nonce: &str, resources: &[(&str, &str)], removed: &[&str]) -> DeltaDiscoveryResponse {
    let resource = |(name, version): &(&str, &str)| Resource {
        name: (*name).to_owned(),
        version: (*version).to_owned(),
        ..Resource::default()
    };
    DeltaDiscoveryResponse {
        type_url: TypeUrl::Cluster.as_str().to_owned(),
        nonce: nonce.to_owned(),
        resources: resources.iter().map(resource).collect(),
        removed_resources: removed.iter().map(|name| (*name).to_owned()).collect(),
        ..DeltaDiscoveryResponse::default()
    }
}

#[test]
fn first_requests_go_in_order_and_only_the_first_names_the_node() {
    let mut client = client(Flavour::Delta);
    client.subscribe_all(TypeUrl::Listener);
    client.subscribe_all(TypeUrl::Cluster);
    client.subscribe(TypeUrl::Route, BTreeSet::new());
    client.connected();
    let requests = deltas(&mut client);
    let types: Vec<_> = requests.iter().map(|request| request.type_url.as_str()).collect();
    assert_eq!(types, [TypeUrl::Cluster.as_str(), TypeUrl::Listener.as_str()], "no names, no request");
    assert!(requests[0].node.is_some() && requests[1].node.is_none());
    assert!(deltas(&mut client).is_empty());
}

#[test]
fn accepted_response_is_acknowledged_by_its_nonce() {
    let mut client = client(Flavour::Delta);
    client.subscribe_all(TypeUrl::Cluster);
    deltas(&mut client);
    let update = client.receive_delta(response("7", &[("a", "1")], &[])).unwrap();
    client.settle(&update, &[]);
    let requests = deltas(&mut client);
    assert_eq!(requests.len(), 1);
    assert_eq!((requests[0].response_nonce.as_str(), &requests[0].error_detail), ("7", &None));
}

#[test]
fn rejected_resource_is_named_and_the_others_are_held() {
    let mut client = client(Flavour::Delta);
    client.subscribe_all(TypeUrl::Cluster);
    deltas(&mut client);
    let update = client.receive_delta(response("1", &[("a", "1"), ("b", "1")], &[])).unwrap();
    client.settle(&update, &[Rejection { name: "b".to_owned(), reason: "type: unsupported".to_owned() }]);
    let detail = deltas(&mut client)[0].error_detail.clone().unwrap();
    assert_eq!((detail.code, detail.message.as_str()), (3, "b: type: unsupported"));
    assert_eq!(client.held(TypeUrl::Cluster).collect::<Vec<_>>(), [("a", "1")]);
}

#[test]
fn new_stream_resumes_with_the_versions_that_are_held() {
    let mut client = client(Flavour::Delta);
    client.subscribe_all(TypeUrl::Cluster);
    deltas(&mut client);
    let update = client.receive_delta(response("1", &[("a", "1"), ("b", "2")], &[])).unwrap();
    client.settle(&update, &[]);
    let update = client.receive_delta(response("2", &[], &["b"])).unwrap();
    client.settle(&update, &[]);
    client.connected();
    let requests = deltas(&mut client);
    assert_eq!(requests.len(), 1, "old answers do not belong to the new stream");
    assert!(requests[0].node.is_some());
    assert_eq!(requests[0].initial_resource_versions, HashMap::from([("a".to_owned(), "1".to_owned())]));
}

#[test]
fn subscriptions_change_by_difference() {
    let mut client = client(Flavour::Delta);
    client.subscribe(TypeUrl::VirtualHost, names(&["80/*", "90/*"]));
    assert_eq!(deltas(&mut client)[0].resource_names_subscribe, ["80/*", "90/*"]);
    client.subscribe(TypeUrl::VirtualHost, names(&["90/*", "95/*"]));
    let request = deltas(&mut client).remove(0);
    assert_eq!(request.resource_names_subscribe, ["95/*"]);
    assert_eq!(request.resource_names_unsubscribe, ["80/*"]);
}

#[test]
fn what_is_no_longer_wanted_is_no_longer_held() {
    let mut client = client(Flavour::Delta);
    client.subscribe(TypeUrl::VirtualHost, names(&["80/*", "90/*"]));
    let mut hosts = response("1", &[("80/a:80", "1"), ("90/b:90", "1")], &[]);
    hosts.type_url = TypeUrl::VirtualHost.as_str().to_owned();
    let update = client.receive_delta(hosts).unwrap();
    client.settle(&update, &[]);
    client.subscribe(TypeUrl::VirtualHost, names(&["90/*"]));
    assert_eq!(client.held(TypeUrl::VirtualHost).collect::<Vec<_>>(), [("90/b:90", "1")]);
}

#[test]
fn response_of_a_type_never_asked_for_is_ignored() {
    assert_eq!(client(Flavour::Delta).receive_delta(response("1", &[], &[])), None);
}

fn world(version: &str, clusters: &[&str]) -> DiscoveryResponse {
    let cluster = |name: &&str| any(&Cluster { name: (*name).to_owned(), ..Cluster::default() });
    DiscoveryResponse {
        version_info: version.to_owned(),
        nonce: format!("n{version}"),
        type_url: TypeUrl::Cluster.as_str().to_owned(),
        resources: clusters.iter().map(cluster).collect(),
        ..DiscoveryResponse::default()
    }
}

#[test]
fn state_of_the_world_removes_what_is_missing_and_keeps_the_last_good_version_in_a_nack() {
    let mut client = client(Flavour::StateOfTheWorld);
    client.subscribe_all(TypeUrl::Cluster);
    assert_eq!(sotws(&mut client).len(), 1);
    let update = client.receive(world("1", &["a", "b"])).unwrap();
    client.settle(&update, &[]);
    assert_eq!(sotws(&mut client)[0].version_info, "1");
    let update = client.receive(world("2", &["b", "c"])).unwrap();
    assert_eq!(update.removed, ["a"]);
    client.settle(&update, &[Rejection { name: "c".to_owned(), reason: "no".to_owned() }]);
    let request = sotws(&mut client).remove(0);
    assert_eq!((request.version_info.as_str(), request.response_nonce.as_str()), ("1", "n2"));
    assert!(request.error_detail.is_some());
}
