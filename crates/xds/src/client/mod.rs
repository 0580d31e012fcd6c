//! The proxy's end of ADS as a pure state machine, for the delta protocol and for the state of the world.
//!
//! The owner feeds it what it wants ([`Client::subscribe_all`], [`Client::subscribe`]), every response, and its
//! verdict on each response; the client says what to send ([`Client::take_requests`]). It remembers the versions of
//! what was accepted, so that a new stream resumes where the last one ended.
//!
//! Source: Envoy, "xDS REST and gRPC protocol".

mod delta;
mod sotw;
mod subscription;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use prost::Message;

use crate::TypeUrl;
use crate::pb::envoy::config::core::v3::Node;
use crate::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use crate::pb::google::protobuf::Any;
use crate::pb::google::rpc::Status;
use subscription::Subscription;

/// Which of the two protocols a stream speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavour {
    /// `DeltaAggregatedResources`: changes only.
    Delta,
    /// `StreamAggregatedResources`: every response is complete for its type.
    StateOfTheWorld,
}

/// A message to send.
#[derive(Clone, Debug, PartialEq)]
pub enum Request {
    /// On a delta stream.
    Delta(Box<DeltaDiscoveryRequest>),
    /// On a state-of-the-world stream.
    StateOfTheWorld(Box<DiscoveryRequest>),
}

/// One resource of a response.
#[derive(Clone, Debug, PartialEq)]
pub struct Received {
    /// Its name.
    pub name: String,
    /// Its version, as the server gave it.
    pub version: String,
    /// The message; none where a delta server only says that it exists under an alias.
    pub resource: Option<Any>,
}

/// What one response changes. Hand it back to [`Client::settle`] with the verdict.
#[derive(Clone, Debug, PartialEq)]
pub struct Update {
    /// The type of its resources.
    pub type_url: TypeUrl,
    /// New and changed resources.
    pub resources: Vec<Received>,
    /// Names of resources that are gone.
    pub removed: Vec<String>,
    nonce: String,
    version: String,
}

/// A resource that could not be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// The resource's name.
    pub name: String,
    /// Why, with the path of the field.
    pub reason: String,
}

/// The state of all subscriptions of one proxy.
#[derive(Debug)]
pub struct Client {
    flavour: Flavour,
    node: Node,
    node_sent: bool,
    subscriptions: BTreeMap<TypeUrl, Subscription>,
}

impl Client {
    /// A client that wants nothing yet.
    pub fn new(node: Node, flavour: Flavour) -> Client {
        Client { flavour, node, node_sent: false, subscriptions: BTreeMap::new() }
    }

    /// The protocol that it speaks.
    pub fn flavour(&self) -> Flavour {
        self.flavour
    }

    /// Wants every resource of a type (LDS, CDS).
    pub fn subscribe_all(&mut self, type_url: TypeUrl) {
        self.subscriptions.entry(type_url).or_default().want_all();
    }

    /// Wants exactly these resources of a type from now on. Names that end in `/*` ask for all below them (VHDS).
    pub fn subscribe(&mut self, type_url: TypeUrl, names: BTreeSet<String>) {
        self.subscriptions.entry(type_url).or_default().want(names);
    }

    /// A new stream is open: everything must be asked for again, with the versions that we hold.
    pub fn connected(&mut self) {
        self.node_sent = false;
        for subscription in self.subscriptions.values_mut() {
            subscription.restart();
        }
    }

    /// Takes what must be sent now: in make-before-break order, answers to responses first.
    pub fn take_requests(&mut self) -> Vec<Request> {
        let mut requests = Vec::new();
        for type_url in TypeUrl::ALL {
            let Some(subscription) = self.subscriptions.get_mut(&type_url) else { continue };
            match self.flavour {
                Flavour::Delta => delta::requests(type_url, subscription, &mut requests),
                Flavour::StateOfTheWorld => sotw::requests(type_url, subscription, &mut requests),
            }
        }
        if let Some(first) = requests.first_mut()
            && !self.node_sent
        {
            self.node_sent = true;
            let node = Some(self.node.clone());
            match first {
                Request::Delta(request) => request.node = node,
                Request::StateOfTheWorld(request) => request.node = node,
            }
        }
        requests
    }

    /// Reads a delta response; `None` for a type that was never asked for.
    pub fn receive_delta(&mut self, response: DeltaDiscoveryResponse) -> Option<Update> {
        let type_url = self.known(&response.type_url)?;
        Some(delta::update(type_url, response))
    }

    /// Reads a state-of-the-world response; `None` for a type that was never asked for.
    pub fn receive(&mut self, response: DiscoveryResponse) -> Option<Update> {
        let type_url = self.known(&response.type_url)?;
        let subscription = self.subscriptions.get(&type_url)?;
        Some(sotw::update(type_url, subscription, response))
    }

    fn known(&self, url: &str) -> Option<TypeUrl> {
        TypeUrl::parse(url).filter(|type_url| self.subscriptions.contains_key(type_url))
    }

    /// Gives the verdict on an update: an ACK when nothing was rejected, else a NACK that names each bad resource.
    ///
    /// What was not rejected counts as held, in both cases.
    pub fn settle(&mut self, update: &Update, rejected: &[Rejection]) {
        let Some(subscription) = self.subscriptions.get_mut(&update.type_url) else { return };
        for name in &update.removed {
            subscription.versions.remove(name);
        }
        for resource in &update.resources {
            if !rejected.iter().any(|rejection| rejection.name == resource.name) {
                subscription.versions.insert(resource.name.clone(), resource.version.clone());
            }
        }
        if rejected.is_empty() {
            subscription.accepted_version = update.version.clone();
        }
        subscription.answers.push((update.nonce.clone(), error_detail(rejected)));
    }

    /// Names of the resources of a type that were accepted and not removed since.
    pub fn held(&self, type_url: TypeUrl) -> impl Iterator<Item = (&str, &str)> {
        let versions = self.subscriptions.get(&type_url).map(|subscription| &subscription.versions);
        versions.into_iter().flatten().map(|(name, version)| (name.as_str(), version.as_str()))
    }
}

/// `INVALID_ARGUMENT` with one line a resource.
fn error_detail(rejected: &[Rejection]) -> Option<Status> {
    const INVALID_ARGUMENT: i32 = 3;
    if rejected.is_empty() {
        return None;
    }
    let lines: Vec<_> =
        rejected.iter().map(|rejection| format!("{}: {}", rejection.name, rejection.reason)).collect();
    Some(Status { code: INVALID_ARGUMENT, message: lines.join("\n"), details: Vec::new() })
}

/// The one field that all resource types share: their name is the string with tag 1.
#[derive(Clone, PartialEq, Message)]
struct Named {
    #[prost(string, tag = "1")]
    name: String,
}

/// The name of an encoded resource; empty when its bytes are not a message.
fn resource_name(resource: &Any) -> String {
    Named::decode(resource.value.as_slice()).map(|named| named.name).unwrap_or_default()
}
