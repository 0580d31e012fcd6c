use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use envoy_types::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};
use envoy_types::pb::google::rpc::Status;

use super::response::hex;
use super::*;

/// Resources as `name -> version`, by type.
#[derive(Clone, Default)]
pub(super) struct Fake(BTreeMap<TypeUrl, BTreeMap<Arc<str>, Arc<Encoded>>>);

impl Fake {
    pub(super) fn with(mut self, type_url: TypeUrl, resources: &[(&str, u64)]) -> Self {
        let list = self.0.entry(type_url).or_default();
        for (name, version) in resources {
            let body = body(name);
            list.insert(
                (*name).into(),
                Arc::new(Encoded { type_url, name: (*name).into(), version: *version, body }),
            );
        }
        self
    }

    fn without(mut self, type_url: TypeUrl, name: &str) -> Self {
        self.0.get_mut(&type_url).unwrap().remove(name).unwrap();
        self
    }
}

impl Resources for Fake {
    fn get(&self, type_url: TypeUrl, name: &str) -> Option<&Arc<Encoded>> {
        self.0.get(&type_url)?.get(name)
    }

    fn visit(&self, type_url: TypeUrl, prefix: &str, visitor: &mut dyn FnMut(&Arc<Encoded>)) {
        self.0
            .get(&type_url)
            .into_iter()
            .flatten()
            .filter(|(n, _)| n.starts_with(prefix))
            .for_each(|(_, r)| visitor(r));
    }

    fn visit_changed(&self, old: &Self, type_url: TypeUrl, visitor: &mut dyn FnMut(&Arc<str>)) {
        let empty = BTreeMap::new();
        let (old, new) = (old.0.get(&type_url).unwrap_or(&empty), self.0.get(&type_url).unwrap_or(&empty));
        old.keys().filter(|n| !new.contains_key(*n)).for_each(&mut *visitor);
        new.iter()
            .filter(|(n, r)| old.get(*n).map(|o| o.version) != Some(r.version))
            .for_each(|(n, _)| visitor(n));
    }
}

/// A message of 100 octets whose first field is the name, as in every resource type.
fn body(name: &str) -> Bytes {
    let mut body = vec![0x0a, u8::try_from(name.len()).unwrap()];
    body.extend(name.as_bytes());
    let filler = 100 - body.len() - 3;
    body.extend([0xa2, 0x06, u8::try_from(filler).unwrap()]);
    body.resize(100, 0);
    body.into()
}

struct Client {
    session: Session<Fake>,
    now: Instant,
}

impl Client {
    fn new(protocol: Protocol, target: Fake) -> Self {
        let session = Session::new(protocol, Limits::default(), true, target, "1".into());
        Client { session, now: Instant::now() }
    }

    fn delta(&mut self, type_url: TypeUrl, subscribe: &[&str]) -> &mut Self {
        let subscribe = subscribe.iter().map(ToString::to_string).collect();
        self.request(DeltaDiscoveryRequest {
            type_url: type_url.as_str().into(),
            resource_names_subscribe: subscribe,
            ..Default::default()
        });
        self
    }

    fn request(&mut self, request: DeltaDiscoveryRequest) -> Option<Event> {
        self.session.on_delta(&request).unwrap()
    }

    fn sotw(&mut self, type_url: TypeUrl, names: &[&str], nonce: &str) -> Option<Event> {
        let request = DiscoveryRequest {
            type_url: type_url.as_str().into(),
            resource_names: names.iter().map(ToString::to_string).collect(),
            response_nonce: nonce.into(),
            ..Default::default()
        };
        self.session.on_sotw(&request).unwrap()
    }

    fn next(&mut self) -> Option<Response> {
        match self.session.next(self.now) {
            Next::Send(response) => Some(response),
            Next::WaitUntil(_) | Next::Idle => None,
        }
    }

    fn ack(&mut self, response: &Response) {
        let event = self.request(DeltaDiscoveryRequest {
            type_url: response.type_url.as_str().into(),
            response_nonce: response.nonce.to_string(),
            ..Default::default()
        });
        assert_eq!(event, Some(Event::Ack(response.type_url)));
    }

    fn nack(&mut self, response: &Response, message: &str) -> Option<Event> {
        self.request(DeltaDiscoveryRequest {
            type_url: response.type_url.as_str().into(),
            response_nonce: response.nonce.to_string(),
            error_detail: Some(Status { code: 13, message: message.into(), details: Vec::new() }),
            ..Default::default()
        })
    }

    /// Sends and acknowledges everything that is due, and says what went: `CDS +a +b -c`.
    fn drain(&mut self) -> Vec<String> {
        let mut sent = Vec::new();
        while let Some(response) = self.next() {
            sent.push(words(&response));
            self.ack(&response);
        }
        sent
    }
}

fn words(response: &Response) -> String {
    let mut text = response.type_url.short().to_owned();
    response.resources.iter().for_each(|r| text.push_str(&format!(" +{}", r.name)));
    response.removed.iter().for_each(|name| text.push_str(&format!(" -{name}")));
    text
}

use TypeUrl::{Cluster, Endpoints, Listener, Route, VirtualHost};

#[test]
fn an_empty_first_request_means_every_cluster_but_no_endpoints() {
    let target = Fake::default().with(Cluster, &[("a", 1), ("b", 1)]).with(Endpoints, &[("a", 1)]);
    let mut client = Client::new(Protocol::Delta, target);
    client.delta(Cluster, &[]).delta(Endpoints, &[]);
    assert_eq!(client.drain(), ["CDS +a +b"]);
}

#[test]
fn an_empty_wildcard_is_answered_once() {
    let mut client = Client::new(Protocol::Delta, Fake::default());
    client.delta(Listener, &["*"]);
    assert_eq!(client.drain(), ["LDS"]);
    client.delta(Listener, &[]);
    assert!(client.drain().is_empty());
}

#[test]
fn only_what_changed_is_sent_and_removals_come_last() {
    let before = Fake::default()
        .with(Cluster, &[("a", 1), ("b", 1)])
        .with(Endpoints, &[("a", 1), ("b", 1)])
        .with(Route, &[("80", 1), ("90", 1)]);
    let mut client = Client::new(Protocol::Delta, before.clone());
    client.delta(Cluster, &[]).delta(Endpoints, &["a", "b"]).delta(Route, &["80", "90"]);
    client.drain();
    let after = before.with(Route, &[("80", 2)]).without(Cluster, "b").without(Endpoints, "b");
    assert_eq!(client.session.retarget(after, "2".into()), 3);
    let route = client.next().unwrap();
    assert_eq!(words(&route), "RDS +80");
    assert!(client.next().is_none(), "removals wait until the routes are taken");
    client.ack(&route);
    assert_eq!(client.drain(), ["CDS -b", "EDS -b"]);
    assert!(client.session.is_settled());
}

#[test]
fn removals_do_not_wait_for_ever() {
    let before = Fake::default().with(Cluster, &[("a", 1)]).with(Route, &[("80", 1)]);
    let mut client = Client::new(Protocol::Delta, before.clone());
    client.delta(Cluster, &[]).delta(Route, &["80"]);
    client.drain();
    client.session.retarget(before.with(Route, &[("80", 2)]).without(Cluster, "a"), "2".into());
    assert_eq!(words(&client.next().unwrap()), "RDS +80");
    assert!(client.next().is_none());
    client.now += Duration::from_secs(6);
    assert_eq!(words(&client.next().unwrap()), "CDS -a");
}

#[test]
fn a_resource_that_comes_back_before_its_removal_went_out_is_compared_with_what_the_client_holds() {
    let before = Fake::default().with(Cluster, &[("a", 1)]).with(Route, &[("80", 1)]);
    let mut client = Client::new(Protocol::Delta, before.clone());
    client.delta(Cluster, &[]).delta(Route, &["80"]);
    client.drain();
    client.session.retarget(before.clone().with(Route, &[("80", 2)]).without(Cluster, "a"), "2".into());
    let route = client.next().unwrap();
    assert!(client.next().is_none());
    client.session.retarget(before.with(Route, &[("80", 2)]), "3".into());
    client.ack(&route);
    assert!(client.drain().is_empty());
}

#[test]
fn routes_wait_until_new_clusters_have_endpoints() {
    let before =
        Fake::default().with(Cluster, &[("a", 1)]).with(Endpoints, &[("a", 1)]).with(Route, &[("80", 1)]);
    let mut client = Client::new(Protocol::Delta, before.clone());
    client.delta(Cluster, &[]).delta(Endpoints, &["a"]).delta(Route, &["80"]);
    client.drain();
    let after = before.with(Cluster, &[("b", 1)]).with(Endpoints, &[("b", 1)]).with(Route, &[("80", 2)]);
    client.session.retarget(after, "2".into());
    assert_eq!(client.drain(), ["CDS +b"]);
    client.delta(Endpoints, &["b"]);
    let endpoints = client.next().unwrap();
    assert_eq!(words(&endpoints), "EDS +b");
    assert!(client.next().is_none(), "the route waits for the acknowledgement");
    client.ack(&endpoints);
    assert_eq!(client.drain(), ["RDS +80"]);
}

#[test]
fn routes_go_when_the_client_refuses_the_cluster_or_takes_too_long() {
    for refuses in [true, false] {
        let before =
            Fake::default().with(Cluster, &[("a", 1)]).with(Endpoints, &[("a", 1)]).with(Route, &[("80", 1)]);
        let mut client = Client::new(Protocol::Delta, before.clone());
        client.delta(Cluster, &[]).delta(Endpoints, &["a"]).delta(Route, &["80"]);
        client.drain();
        let after = before.with(Cluster, &[("b", 1)]).with(Endpoints, &[("b", 1)]).with(Route, &[("80", 2)]);
        client.session.retarget(after, "2".into());
        let clusters = client.next().unwrap();
        if refuses {
            client.nack(&clusters, "no");
        } else {
            client.now += Duration::from_secs(6);
        }
        assert_eq!(words(&client.next().unwrap()), "RDS +80");
    }
}

#[test]
fn envoy_gets_the_endpoints_of_a_changed_cluster_again() {
    let before = Fake::default().with(Cluster, &[("a", 1)]).with(Endpoints, &[("a", 1)]);
    for (resends, expected) in [(true, &["CDS +a", "EDS +a"][..]), (false, &["CDS +a"][..])] {
        let mut client = Client::new(Protocol::Delta, before.clone());
        client.session.resends_endpoints = resends;
        client.delta(Cluster, &[]).delta(Endpoints, &["a"]);
        client.drain();
        client.session.retarget(before.clone().with(Cluster, &[("a", 2)]), "2".into());
        assert_eq!(client.drain(), expected);
    }
}

#[test]
fn after_a_reconnect_only_differences_are_sent() {
    let target = Fake::default().with(Cluster, &[("same", 1), ("changed", 2), ("new", 1)]);
    let mut client = Client::new(Protocol::Delta, target);
    let held = [("same", hex(1)), ("changed", hex(1)), ("vanished", hex(1))];
    client.request(DeltaDiscoveryRequest {
        type_url: Cluster.as_str().into(),
        initial_resource_versions: held.into_iter().map(|(n, v)| (n.to_owned(), v)).collect(),
        ..Default::default()
    });
    assert_eq!(client.drain(), ["CDS +changed +new", "CDS -vanished"]);
}

#[test]
fn after_a_reconnect_without_change_nothing_is_sent() {
    let mut client = Client::new(Protocol::Delta, Fake::default().with(Endpoints, &[("a", 7)]));
    client.request(DeltaDiscoveryRequest {
        type_url: Endpoints.as_str().into(),
        resource_names_subscribe: vec!["a".into()],
        initial_resource_versions: [("a".to_owned(), hex(7))].into(),
        ..Default::default()
    });
    assert!(client.drain().is_empty());
    assert!(client.session.is_settled());
}

#[test]
fn a_name_without_resource_is_answered_as_removed_and_sent_once_it_exists() {
    let mut client = Client::new(Protocol::Delta, Fake::default());
    client.delta(Route, &["80"]);
    assert_eq!(client.drain(), ["RDS -80"]);
    client.session.retarget(Fake::default().with(Route, &[("80", 1)]), "2".into());
    assert_eq!(client.drain(), ["RDS +80"]);
}

#[test]
fn a_name_that_is_asked_for_again_is_sent_again() {
    let mut client = Client::new(Protocol::Delta, Fake::default().with(Route, &[("80", 1)]));
    client.delta(Route, &["80"]);
    assert_eq!(client.drain(), ["RDS +80"]);
    client.delta(Route, &["80"]);
    assert_eq!(client.drain(), ["RDS +80"]);
}

#[test]
fn what_is_unsubscribed_is_not_sent() {
    let target = Fake::default().with(Endpoints, &[("a", 1), ("b", 1)]);
    let mut client = Client::new(Protocol::Delta, target.clone());
    client.delta(Endpoints, &["a", "b"]);
    client.drain();
    client.request(DeltaDiscoveryRequest {
        type_url: Endpoints.as_str().into(),
        resource_names_unsubscribe: vec!["a".into()],
        ..Default::default()
    });
    client.session.retarget(target.with(Endpoints, &[("a", 2), ("b", 2)]), "2".into());
    assert_eq!(client.drain(), ["EDS +b"]);
}

#[test]
fn a_collection_follows_the_virtual_hosts_of_its_route_configuration() {
    let target = Fake::default().with(VirtualHost, &[("80/a", 1), ("90/a", 1)]);
    let mut client = Client::new(Protocol::Delta, target.clone());
    client.delta(VirtualHost, &["80/*", "70/*"]);
    assert_eq!(client.drain(), ["VHDS +80/a -70/*"]);
    let after =
        target.with(VirtualHost, &[("80/b", 1), ("90/a", 2), ("70/x", 1)]).without(VirtualHost, "80/a");
    client.session.retarget(after, "2".into());
    assert_eq!(client.drain(), ["VHDS +70/x +80/b -80/a"]);
}

#[test]
fn a_refusal_is_remembered_until_what_was_refused_is_taken_or_gone() {
    let target = Fake::default().with(Route, &[("80", 1), ("9080", 1)]);
    let mut client = Client::new(Protocol::Delta, target.clone());
    client.delta(Route, &["80", "9080"]);
    client.drain();
    client.session.retarget(target.clone().with(Route, &[("80", 2)]), "2".into());
    let bad = client.next().unwrap();
    client.nack(&bad, "80: regex too large");
    client.session.retarget(target.clone().with(Route, &[("80", 2), ("9080", 2)]), "3".into());
    assert_eq!(client.drain(), ["RDS +9080"]);
    let status = client.session.status(Route);
    assert_eq!(status.state(), SyncState::Stale);
    assert_eq!(status.nack.as_ref().map(|n| n.message.as_str()), Some("80: regex too large"));
    client.session.retarget(target.with(Route, &[("80", 3), ("9080", 2)]), "4".into());
    assert_eq!(client.drain(), ["RDS +80"]);
    assert_eq!(client.session.status(Route).state(), SyncState::Synced);
}

#[test]
fn a_refused_response_is_not_repeated_until_something_changes() {
    let target = Fake::default().with(Route, &[("80", 1)]);
    let mut client = Client::new(Protocol::Delta, target.clone());
    client.delta(Route, &["80"]);
    client.drain();
    client.session.retarget(target.clone().with(Route, &[("80", 2)]), "2".into());
    let bad = client.next().unwrap();
    let Some(Event::Nack(nack)) = client.nack(&bad, "regex too large") else {
        panic!("not taken for a NACK")
    };
    assert_eq!((&*nack.version, &*nack.last_good, nack.message.as_str()), ("2", "1", "regex too large"));
    assert_eq!((nack.total, &*nack.resources[0]), (1, "80"));
    assert_eq!(client.session.status(Route).state(), SyncState::Stale);
    assert!(client.drain().is_empty());
    client.session.retarget(target.with(Route, &[("80", 3)]), "3".into());
    assert_eq!(client.drain(), ["RDS +80"]);
    assert_eq!(client.session.status(Route).state(), SyncState::Synced);
}

#[test]
fn changes_while_a_response_waits_are_merged_into_one() {
    let target = Fake::default().with(Route, &[("80", 1)]);
    let mut client = Client::new(Protocol::Delta, target.clone());
    client.session.limits.unacknowledged = 1;
    client.delta(Route, &["80"]);
    let first = client.next().unwrap();
    for version in 2..10 {
        client.session.retarget(target.clone().with(Route, &[("80", version)]), "n".into());
        assert!(client.next().is_none());
    }
    client.ack(&first);
    let second = client.next().unwrap();
    assert_eq!(second.resources[0].version, 9);
    client.ack(&second);
    assert!(client.session.is_settled());
}

#[test]
fn large_pushes_are_cut_and_nothing_is_lost() {
    let names: Vec<String> = (0..25).map(|n| format!("{n:02}")).collect();
    let resources: Vec<(&str, u64)> = names.iter().map(|n| (n.as_str(), 1)).collect();
    let mut client = Client::new(Protocol::Delta, Fake::default().with(Cluster, &resources));
    client.session.limits.message_bytes = 1_000;
    client.delta(Cluster, &[]);
    let mut sizes = Vec::new();
    while let Some(response) = client.next() {
        sizes.push(response.resources.len());
        client.ack(&response);
    }
    assert_eq!(sizes, [10, 10, 5]);
}

#[test]
fn too_many_names_end_the_stream() {
    let mut client = Client::new(Protocol::Delta, Fake::default());
    client.session.limits.names = 2;
    let request = DeltaDiscoveryRequest {
        type_url: Endpoints.as_str().into(),
        resource_names_subscribe: vec!["a".into(), "b".into(), "c".into()],
        ..Default::default()
    };
    assert_eq!(
        client.session.on_delta(&request),
        Err(RequestError::TooManyNames { type_url: Endpoints, limit: 2 })
    );
}

#[test]
fn types_that_are_not_served_are_ignored() {
    let mut client = Client::new(Protocol::Delta, Fake::default());
    let request = DeltaDiscoveryRequest { type_url: "type.googleapis.com/x.Y".into(), ..Default::default() };
    assert_eq!(client.request(request), None);
    assert!(client.next().is_none());
}

#[test]
fn state_of_the_world_sends_every_cluster_but_only_changed_endpoints() {
    let before = Fake::default().with(Cluster, &[("a", 1), ("b", 1)]).with(Endpoints, &[("a", 1), ("b", 1)]);
    let mut client = Client::new(Protocol::StateOfTheWorld, before.clone());
    client.sotw(Cluster, &[], "");
    let clusters = client.next().unwrap();
    assert_eq!(words(&clusters), "CDS +a +b");
    assert_eq!(client.sotw(Cluster, &[], &clusters.nonce), Some(Event::Ack(Cluster)));
    client.sotw(Endpoints, &["a", "b"], "");
    let endpoints = client.next().unwrap();
    assert_eq!(words(&endpoints), "EDS +a +b");
    client.sotw(Endpoints, &["a", "b"], &endpoints.nonce);
    assert!(client.next().is_none());
    client.session.retarget(before.clone().with(Endpoints, &[("b", 2)]), "2".into());
    let endpoints = client.next().unwrap();
    assert_eq!(words(&endpoints), "EDS +b");
    client.sotw(Endpoints, &["a", "b"], &endpoints.nonce);
    client.session.retarget(before.with(Cluster, &[("a", 2)]).with(Endpoints, &[("b", 2)]), "3".into());
    let clusters = client.next().unwrap();
    assert_eq!(words(&clusters), "CDS +a +b");
    let endpoints = client.next().unwrap();
    assert_eq!(words(&endpoints), "EDS +a", "Envoy warms the changed cluster anew");
}

#[test]
fn state_of_the_world_keeps_a_cluster_until_the_routes_are_taken() {
    let before = Fake::default().with(Cluster, &[("a", 1), ("b", 1)]).with(Route, &[("80", 1)]);
    let mut client = Client::new(Protocol::StateOfTheWorld, before.clone());
    client.sotw(Cluster, &[], "");
    client.sotw(Route, &["80"], "");
    let (clusters, routes) = (client.next().unwrap(), client.next().unwrap());
    client.sotw(Cluster, &[], &clusters.nonce);
    client.sotw(Route, &["80"], &routes.nonce);
    let after = before.without(Cluster, "b").with(Cluster, &[("c", 1)]).with(Route, &[("80", 2)]);
    client.session.retarget(after, "2".into());
    let (clusters, routes) = (client.next().unwrap(), client.next().unwrap());
    assert_eq!((words(&clusters), words(&routes)), ("CDS +a +c +b".into(), "RDS +80".into()));
    assert!(client.next().is_none());
    client.sotw(Cluster, &[], &clusters.nonce);
    client.sotw(Route, &["80"], &routes.nonce);
    assert_eq!(words(&client.next().unwrap()), "CDS +a +c");
}

#[test]
fn state_of_the_world_ignores_stale_nonces_and_answers_added_names() {
    let target = Fake::default().with(Route, &[("80", 1), ("90", 1)]);
    let mut client = Client::new(Protocol::StateOfTheWorld, target);
    client.sotw(Route, &["80"], "");
    let first = client.next().unwrap();
    assert_eq!(client.sotw(Route, &["80", "90"], ""), Some(Event::Stale(Route)));
    assert!(client.next().is_none());
    client.sotw(Route, &["80", "90"], &first.nonce);
    assert_eq!(words(&client.next().unwrap()), "RDS +90");
}

#[test]
fn state_of_the_world_without_names_asks_for_no_routes_and_unsubscribes_from_them() {
    let target = Fake::default().with(Route, &[("80", 1)]);
    let mut client = Client::new(Protocol::StateOfTheWorld, target.clone());
    client.sotw(Route, &["80"], "");
    let first = client.next().unwrap();
    client.sotw(Route, &[], &first.nonce);
    client.session.retarget(target.with(Route, &[("80", 2)]), "2".into());
    assert!(client.next().is_none());
}
