use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use super::held::{Due, Held};
use super::rejected::Rejected;
use super::subscription::Subscription;
use super::warming::Warming;
use super::{Resources, Response};
use crate::{Encoded, TypeUrl};

/// The variant of ADS that a stream speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// `DeltaAggregatedResources`: what changed, and names that are gone.
    Delta,
    /// `StreamAggregatedResources`: every listener and cluster at each change; of other types what changed.
    StateOfTheWorld,
}

/// Bounds on what one stream may cost.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Size in octets at which a delta response is cut and continued in the next.
    pub message_bytes: usize,
    /// Responses of a type that may wait for their acknowledgement (state of the world: always one).
    pub unacknowledged: usize,
    /// Names that a client may subscribe to in one type.
    pub names: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { message_bytes: 1 << 20, unacknowledged: 8, names: 200_000 }
    }
}

/// A client's refusal of a response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nack {
    /// The type that was refused.
    pub type_url: TypeUrl,
    /// Version of the refused response.
    pub version: Arc<str>,
    /// Version of the last response that the client took; empty when it never took one.
    pub last_good: Arc<str>,
    /// The first names of the refused response.
    pub resources: Vec<Arc<str>>,
    /// How many resources the response had.
    pub total: usize,
    /// The client's words.
    pub message: String,
}

/// How far a client is with a type, in the words of `istioctl proxy-status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncState {
    /// It never asked, or nothing was there to send.
    NotSent,
    /// It acknowledged all that was sent.
    Synced,
    /// It was sent something that it did not acknowledge (yet).
    Stale,
}

/// Counters and versions of one type on one stream.
#[derive(Clone, Debug, Default)]
pub struct TypeStatus {
    /// Responses sent.
    pub responses: u64,
    /// Nonce of the last response.
    pub sent_nonce: Box<str>,
    /// Version of the last response.
    pub sent_version: Arc<str>,
    /// Nonce of the last acknowledged response.
    pub acked_nonce: Box<str>,
    /// Version of the last acknowledged response.
    pub acked_version: Arc<str>,
    /// The last refusal, until everything that was refused has been taken in a later form or is gone.
    pub nack: Option<Nack>,
}

impl TypeStatus {
    /// The state in words.
    pub fn state(&self) -> SyncState {
        if self.responses == 0 {
            SyncState::NotSent
        } else if self.sent_nonce == self.acked_nonce && self.nack.is_none() {
            SyncState::Synced
        } else {
            SyncState::Stale
        }
    }
}

/// What to do next on a stream.
#[derive(Debug)]
pub enum Next {
    /// Send this, then ask again.
    Send(Response),
    /// Ask again at that time, or after the next request or retarget.
    WaitUntil(Instant),
    /// Nothing to do before the next request or retarget.
    Idle,
}

/// A response that waits for its acknowledgement.
#[derive(Debug)]
pub(super) struct Sent {
    pub nonce: Box<str>,
    pub version: Arc<str>,
    pub first_names: Vec<Arc<str>>,
    /// The last name: those between lie in order.
    pub last_name: Option<Arc<str>>,
    pub total: usize,
    /// Names among them that the client had refused before.
    pub retried: Vec<Arc<str>>,
}

/// One type on one stream.
#[derive(Debug, Default)]
pub(super) struct TypeState {
    /// Whether a request of the type came.
    pub started: bool,
    pub subscription: Subscription,
    /// Whether an answer is owed even when there is nothing to say.
    pub owes: bool,
    /// Collections (`9080/*`) that were asked for and hold nothing.
    pub empty_collections: Vec<Arc<str>>,
    pub due: Due,
    /// Names that the client holds and that are to be removed once nothing refers to them any more.
    pub gone: Due,
    pub unacknowledged: VecDeque<Sent>,
    pub rejected: Rejected,
    pub status: TypeStatus,
}

impl TypeState {
    pub(super) fn has_work(&self) -> bool {
        self.started && (self.owes || !self.due.is_empty() || !self.empty_collections.is_empty())
    }
}

/// One ADS stream of one client.
#[derive(Debug)]
pub struct Session<R> {
    pub(super) protocol: Protocol,
    pub(super) limits: Limits,
    /// Whether a changed cluster makes its endpoints due again: Envoy warms it anew and waits for them.
    pub(super) resends_endpoints: bool,
    pub(super) target: R,
    pub(super) version: Arc<str>,
    pub(super) types: [TypeState; TypeUrl::ALL.len()],
    pub(super) warming: Warming,
    pub(super) last_nonce: u64,
    pub(super) last_sent: Option<Instant>,
}

impl<R: Resources> Session<R> {
    /// A stream that has not asked for anything yet. `resends_endpoints` is for Envoy, which warms a changed
    /// cluster anew and then waits for endpoints that it has already.
    pub fn new(
        protocol: Protocol,
        limits: Limits,
        resends_endpoints: bool,
        target: R,
        version: Arc<str>,
    ) -> Self {
        Session {
            protocol,
            limits,
            resends_endpoints,
            target,
            version,
            types: Default::default(),
            warming: Warming::default(),
            last_nonce: 0,
            last_sent: None,
        }
    }

    /// What the client is being led to.
    pub fn target(&self) -> &R {
        &self.target
    }

    /// The version of the target.
    pub fn version(&self) -> &Arc<str> {
        &self.version
    }

    /// Leads the client to another target from now on. Returns how many subscribed resources are due.
    pub fn retarget(&mut self, target: R, version: Arc<str>) -> usize {
        let mut count = 0;
        for type_url in TypeUrl::ALL {
            let TypeState { started, subscription, due, gone, .. } = &mut self.types[type_url.index()];
            if !*started {
                continue;
            }
            let old = &self.target;
            target.visit_changed(old, type_url, &mut |name| {
                if !subscription.wants(name) || due.contains_key(name) {
                    return;
                }
                let held = gone.remove(name).unwrap_or_else(|| {
                    old.get(type_url, name).map_or(Held::Nothing, |r| Held::Sent(Arc::clone(r)))
                });
                due.insert(Arc::clone(name), held);
                count += 1;
            });
        }
        self.target = target;
        self.version = version;
        count
    }

    /// Counters and versions of a type.
    pub fn status(&self, type_url: TypeUrl) -> &TypeStatus {
        &self.types[type_url.index()].status
    }

    /// Whether the client asked for a type at all.
    pub fn is_started(&self, type_url: TypeUrl) -> bool {
        self.types[type_url.index()].started
    }

    /// Whether the client has acknowledged or refused everything that it subscribed to.
    pub fn is_settled(&self) -> bool {
        self.types.iter().all(|t| !t.has_work() && t.gone.is_empty() && t.unacknowledged.is_empty())
    }

    /// Whether the client has everything that it subscribed to, and refused nothing of it.
    pub fn is_applied(&self) -> bool {
        let served = self.types.iter().any(|t| t.status.responses > 0);
        served && self.is_settled() && self.types.iter().all(|t| t.status.nack.is_none())
    }

    /// Visits what the client subscribed to and has been, or is about to be, sent.
    pub fn visit_subscribed(&self, type_url: TypeUrl, visitor: &mut dyn FnMut(&Arc<Encoded>)) {
        let subscription = &self.types[type_url.index()].subscription;
        self.target.visit(type_url, "", &mut |r| {
            if subscription.wants(&r.name) {
                visitor(r);
            }
        });
    }
}
