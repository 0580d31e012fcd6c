//! Both ends together: whatever happens in whatever order, the client ends up with what the server has.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::service::discovery::v3::{DeltaDiscoveryResponse, DiscoveryResponse};
use prost::Message;

use super::tests::Fake;
use super::*;
use crate::TypeUrl::{Cluster, Endpoints, Listener, VirtualHost};
use crate::client::{Client, Flavour, Rejection, Request};

/// Numbers that look random and are the same in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// A target in which each of a few names of each type is absent or has one of three versions. Clusters have
/// endpoints.
fn target(dice: &mut Dice) -> Fake {
    let mut fake = Fake::default();
    for name in ["a", "b", "c", "d"] {
        if let version @ 1.. = dice.roll(4) {
            fake = fake.with(Cluster, &[(name, version)]).with(Endpoints, &[(name, 1 + dice.roll(3))]);
        }
        if let version @ 1.. = dice.roll(4) {
            fake =
                fake.with(Listener, &[(name, version)]).with(VirtualHost, &[(&format!("{name}/x"), version)]);
        }
    }
    fake
}

struct Pair {
    client: Client,
    session: Session<Fake>,
    now: Instant,
}

impl Pair {
    fn new(protocol: Protocol, target: Fake) -> Pair {
        let flavour = match protocol {
            Protocol::Delta => Flavour::Delta,
            Protocol::StateOfTheWorld => Flavour::StateOfTheWorld,
        };
        let mut client = Client::new(Node::default(), flavour);
        client.subscribe_all(Cluster);
        client.subscribe_all(Listener);
        if protocol == Protocol::Delta {
            client.subscribe(VirtualHost, ["a/*", "b/*", "c/*", "d/*"].map(String::from).into());
        }
        client.connected();
        let limits = Limits { message_bytes: 150, unacknowledged: 2, ..Limits::default() };
        Pair {
            client,
            session: Session::new(protocol, limits, true, target, "1".into()),
            now: Instant::now(),
        }
    }

    /// The client's requests reach the server.
    fn requests(&mut self) {
        for request in self.client.take_requests() {
            match request {
                Request::Delta(request) => self.session.on_delta(&request).unwrap(),
                Request::StateOfTheWorld(request) => self.session.on_sotw(&request).unwrap(),
            };
        }
    }

    /// One response reaches the client, which follows the clusters with its endpoints. Tells whether there was one.
    fn response(&mut self, refuse: bool) -> bool {
        let Next::Send(response) = self.session.next(self.now) else { return false };
        let bytes = response.encode_to_bytes();
        let update = match response.protocol {
            Protocol::Delta => self.client.receive_delta(DeltaDiscoveryResponse::decode(bytes).unwrap()),
            Protocol::StateOfTheWorld => self.client.receive(DiscoveryResponse::decode(bytes).unwrap()),
        };
        let update = update.unwrap();
        let rejection = |name: &String| Rejection { name: name.clone(), reason: "dice".into() };
        let names = update.resources.iter().map(|r| &r.name);
        let rejected: Vec<Rejection> = if refuse { names.map(rejection).collect() } else { Vec::new() };
        self.client.settle(&update, &rejected);
        let clusters: BTreeSet<String> = self.client.held(Cluster).map(|(name, _)| name.to_owned()).collect();
        self.client.subscribe(Endpoints, clusters);
        true
    }

    fn drain(&mut self) {
        for _ in 0..1_000 {
            self.requests();
            if !self.response(false) {
                self.requests();
                if self.session.is_settled() {
                    return;
                }
                self.now += Duration::from_secs(10);
            }
        }
        panic!("client and server never agree");
    }

    fn names(&self, type_url: TypeUrl) -> BTreeSet<String> {
        self.client.held(type_url).map(|(name, _)| name.to_owned()).collect()
    }

    fn versions(&self, type_url: TypeUrl) -> BTreeMap<String, String> {
        self.client.held(type_url).map(|(name, version)| (name.to_owned(), version.to_owned())).collect()
    }
}

fn expected(target: &Fake, type_url: TypeUrl) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    target.visit(type_url, "", &mut |r| drop(all.insert(r.name.to_string(), response::hex(r.version))));
    all
}

#[test]
fn a_delta_client_ends_up_with_the_last_target() {
    for seed in 0..300 {
        let mut dice = Dice(seed);
        let mut pair = Pair::new(Protocol::Delta, target(&mut dice));
        for _ in 0..dice.roll(30) {
            match dice.roll(4) {
                0 => drop(pair.session.retarget(target(&mut dice), "n".into())),
                1 => pair.requests(),
                _ => drop(pair.response(false)),
            }
        }
        pair.drain();
        for type_url in [Cluster, Listener, VirtualHost, Endpoints] {
            let expected = expected(pair.session.target(), type_url);
            assert_eq!(pair.versions(type_url), expected, "seed {seed}, {type_url}");
        }
    }
}

#[test]
fn a_delta_client_that_reconnects_ends_up_with_the_last_target() {
    for seed in 0..200 {
        let mut dice = Dice(1_000 + seed);
        let mut pair = Pair::new(Protocol::Delta, target(&mut dice));
        for _ in 0..dice.roll(20) {
            pair.requests();
            pair.response(false);
        }
        let next = target(&mut dice);
        pair.session = Session::new(Protocol::Delta, Limits::default(), true, next, "2".into());
        pair.client.connected();
        pair.drain();
        for type_url in [Cluster, Listener, VirtualHost, Endpoints] {
            let expected = expected(pair.session.target(), type_url);
            assert_eq!(pair.versions(type_url), expected, "seed {seed}, {type_url}");
        }
    }
}

#[test]
fn a_client_of_the_state_of_the_world_ends_up_with_the_last_targets_names() {
    for seed in 0..300 {
        let mut dice = Dice(2_000 + seed);
        let mut pair = Pair::new(Protocol::StateOfTheWorld, target(&mut dice));
        for _ in 0..dice.roll(30) {
            match dice.roll(4) {
                0 => drop(pair.session.retarget(target(&mut dice), "n".into())),
                1 => pair.requests(),
                _ => drop(pair.response(false)),
            }
        }
        pair.drain();
        for type_url in [Cluster, Listener] {
            let expected: BTreeSet<String> = expected(pair.session.target(), type_url).into_keys().collect();
            assert_eq!(pair.names(type_url), expected, "seed {seed}, {type_url}");
        }
    }
}

#[test]
fn refusals_never_keep_later_content_from_the_client() {
    for seed in 0..300 {
        let mut dice = Dice(3_000 + seed);
        let mut pair = Pair::new(Protocol::Delta, target(&mut dice));
        for _ in 0..dice.roll(30) {
            pair.requests();
            let refuse = dice.roll(3) == 0;
            pair.response(refuse);
        }
        // Everything changes, so that everything is sent once more.
        let mut last = Fake::default();
        for name in ["a", "b", "c", "d"] {
            last = last.with(Cluster, &[(name, 9)]).with(Endpoints, &[(name, 9)]);
            last = last.with(Listener, &[(name, 9)]).with(VirtualHost, &[(&format!("{name}/x"), 9)]);
        }
        pair.session.retarget(last, "n".into());
        pair.drain();
        for type_url in [Cluster, Listener, VirtualHost, Endpoints] {
            let expected = expected(pair.session.target(), type_url);
            assert_eq!(pair.versions(type_url), expected, "seed {seed}, {type_url}");
        }
    }
}
