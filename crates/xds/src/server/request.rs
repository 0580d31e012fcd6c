use std::collections::HashSet;
use std::sync::Arc;

use envoy_types::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};
use envoy_types::pb::google::rpc::Status;

use super::held::Held;
use super::response::parse_hex;
use super::session::{Nack, Protocol, Session, TypeState};
use super::subscription::{Pattern, WILDCARD};
use super::{Resources, Sent};
use crate::TypeUrl;

/// What a request told us about an earlier response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The client took a response.
    Ack(TypeUrl),
    /// The client refused a response and keeps what it had.
    Nack(Nack),
    /// The request answers a response that is not the last one (state of the world) and was ignored.
    Stale(TypeUrl),
}

/// Why a stream must be ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// More names than a client may ask for.
    #[error("{type_url}: more than {limit} names subscribed on one stream")]
    TooManyNames {
        /// The type.
        type_url: TypeUrl,
        /// The bound.
        limit: usize,
    },
}

/// Types whose first request without names asks for everything, and whose state of the world is sent whole.
///
/// Source: Envoy, "xDS REST and gRPC protocol", "How the client specifies what resources to return". Istio's agents ask
/// for their one table of names without naming it.
pub(super) fn is_whole(type_url: TypeUrl) -> bool {
    matches!(type_url, TypeUrl::Listener | TypeUrl::Cluster | TypeUrl::NameTable)
}

impl<R: Resources> Session<R> {
    /// Takes a delta request. A type that we do not serve is ignored, as Envoy's protocol asks.
    ///
    /// # Errors
    /// When the client asks for more names than it may; the stream must then be ended.
    pub fn on_delta(&mut self, request: &DeltaDiscoveryRequest) -> Result<Option<Event>, RequestError> {
        debug_assert_eq!(self.protocol, Protocol::Delta);
        let Some(type_url) = TypeUrl::parse(&request.type_url) else { return Ok(None) };
        let event = self.settle(type_url, &request.response_nonce, request.error_detail.as_ref());
        let state = &mut self.types[type_url.index()];
        let first = !std::mem::replace(&mut state.started, true);
        let subscribe = &request.resource_names_subscribe;
        for name in &request.resource_names_unsubscribe {
            self.unsubscribe(type_url, name);
        }
        for name in subscribe {
            self.subscribe(type_url, name)?;
        }
        if first {
            if subscribe.is_empty() && is_whole(type_url) {
                self.subscribe(type_url, WILDCARD)?;
            }
            let state = &mut self.types[type_url.index()];
            state.owes &= request.initial_resource_versions.is_empty();
            for (name, version) in &request.initial_resource_versions {
                if state.subscription.wants(name) {
                    state.due.insert(name.as_str().into(), Held::Version(parse_hex(version)));
                }
            }
        }
        Ok(event)
    }

    /// Takes a state-of-the-world request.
    ///
    /// # Errors
    /// As [`Session::on_delta`].
    pub fn on_sotw(&mut self, request: &DiscoveryRequest) -> Result<Option<Event>, RequestError> {
        debug_assert_eq!(self.protocol, Protocol::StateOfTheWorld);
        let Some(type_url) = TypeUrl::parse(&request.type_url) else { return Ok(None) };
        let state = &mut self.types[type_url.index()];
        // A new stream's first request may carry the nonce of the stream before.
        if state.started && *state.status.sent_nonce != *request.response_nonce {
            return Ok(Some(Event::Stale(type_url)));
        }
        let event = self.settle(type_url, &request.response_nonce, request.error_detail.as_ref());
        let state = &mut self.types[type_url.index()];
        let first = !std::mem::replace(&mut state.started, true);
        let names = &request.resource_names;
        let listed: HashSet<&str> = names.iter().map(String::as_str).collect();
        let legacy = names.is_empty() && is_whole(type_url) && (first || state.subscription.wildcard);
        let wildcard = legacy || listed.contains(WILDCARD);
        if state.subscription.wildcard && !wildcard {
            state.subscription.wildcard = false;
        }
        state.subscription.retain(&listed);
        let TypeState { subscription, due, .. } = state;
        due.retain(|name, _| wildcard || subscription.wants(name));
        if wildcard {
            self.subscribe(type_url, WILDCARD)?;
        }
        for name in names.iter().filter(|name| *name != WILDCARD) {
            if !self.types[type_url.index()].subscription.wants(name) {
                self.subscribe(type_url, name)?;
            }
        }
        Ok(event)
    }

    /// Notes what a request says about an earlier response.
    fn settle(&mut self, type_url: TypeUrl, nonce: &str, error: Option<&Status>) -> Option<Event> {
        let everything = self.protocol == Protocol::StateOfTheWorld && is_whole(type_url);
        let state = &mut self.types[type_url.index()];
        let at = state.unacknowledged.iter().position(|sent| *sent.nonce == *nonce)?;
        let sent = state.unacknowledged.remove(at)?;
        let Some(error) = error else {
            let last = state.status.sent_nonce == sent.nonce;
            (state.status.acked_nonce, state.status.acked_version) = (sent.nonce, sent.version);
            sent.retried.iter().for_each(|name| state.rejected.remove(name));
            if everything {
                state.rejected.clear();
            }
            if last && state.rejected.is_empty() {
                state.status.nack = None;
            }
            return Some(Event::Ack(type_url));
        };
        self.note_rejected(type_url, &sent, &error.message);
        let state = &mut self.types[type_url.index()];
        let nack = Nack {
            type_url,
            version: sent.version,
            last_good: Arc::clone(&state.status.acked_version),
            resources: sent.first_names,
            total: sent.total,
            message: error.message.clone(),
        };
        state.status.nack = Some(nack.clone());
        if type_url == TypeUrl::Cluster {
            self.warming.give_up();
        }
        Some(Event::Nack(nack))
    }

    /// Notes which resources of a response were refused.
    fn note_rejected(&mut self, type_url: TypeUrl, sent: &Sent, message: &str) {
        let complete = sent.total == sent.first_names.len();
        let mut names = sent.first_names.clone();
        if let (false, Some(first), Some(last)) = (complete, sent.first_names.first(), &sent.last_name) {
            // A large response is not kept: what it held lies between its first and its last name.
            self.target.visit(type_url, "", &mut |r| {
                if (first..=last).contains(&&r.name) {
                    names.push(Arc::clone(&r.name));
                }
            });
        }
        self.types[type_url.index()].rejected.note(names.iter(), complete, message);
    }

    fn subscribe(&mut self, type_url: TypeUrl, name: &str) -> Result<(), RequestError> {
        let limit = self.limits.names;
        let state = &mut self.types[type_url.index()];
        let TypeState { subscription, due, gone, owes, empty_collections, .. } = state;
        if subscription.len() >= limit {
            return Err(RequestError::TooManyNames { type_url, limit });
        }
        match Pattern::parse(name) {
            Pattern::Everything => {
                if std::mem::replace(&mut subscription.wildcard, true) {
                    return Ok(());
                }
                *owes = true;
                self.target.visit(type_url, "", &mut |r| {
                    due.entry(Arc::clone(&r.name)).or_insert(Held::Nothing);
                });
            }
            Pattern::Collection(prefix) => {
                subscription.insert_collection(prefix);
                let mut any = false;
                self.target.visit(type_url, prefix, &mut |r| {
                    any = true;
                    due.insert(Arc::clone(&r.name), Held::Nothing);
                });
                if !any {
                    empty_collections.push(name.into());
                }
            }
            Pattern::Name(name) => {
                let name =
                    self.target.get(type_url, name).map_or_else(|| name.into(), |r| Arc::clone(&r.name));
                gone.remove(&name);
                due.insert(Arc::clone(&name), Held::Asked);
                if type_url == TypeUrl::Endpoints {
                    self.warming.settle(&name);
                }
                subscription.insert(name);
            }
        }
        Ok(())
    }

    fn unsubscribe(&mut self, type_url: TypeUrl, name: &str) {
        let TypeState { subscription, due, gone, rejected, .. } = &mut self.types[type_url.index()];
        rejected.remove(name);
        match Pattern::parse(name) {
            Pattern::Everything => subscription.wildcard = false,
            Pattern::Collection(prefix) => subscription.remove_collection(prefix),
            Pattern::Name(name) => {
                subscription.remove(name);
                if subscription.wildcard {
                    // A client that wants everything waits to hear whether the resource is still there.
                    due.insert(name.into(), Held::Asked);
                } else if !subscription.wants(name) {
                    due.remove(name);
                    gone.remove(name);
                }
                return;
            }
        }
        due.retain(|name, _| subscription.wants(name));
        gone.retain(|name, _| subscription.wants(name));
    }
}
