use std::collections::btree_map::Entry;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::held::Held;
use super::request::is_whole;
use super::session::{Next, Protocol, Sent, Session, TypeState};
use super::{Resources, Response};
use crate::{Encoded, TypeUrl};

/// How long removals wait for the acknowledgement of what made the removed resources superfluous.
const REMOVAL_PATIENCE: Duration = Duration::from_secs(5);

/// How many names of a response are kept to name it by when it is refused.
const NAMES_KEPT: usize = 3;

/// The order of removals: what refers to others goes first.
const REMOVAL_ORDER: [TypeUrl; TypeUrl::ALL.len()] = [
    TypeUrl::Listener,
    TypeUrl::ExtensionConfig,
    TypeUrl::Route,
    TypeUrl::VirtualHost,
    TypeUrl::Secret,
    TypeUrl::Cluster,
    TypeUrl::Endpoints,
    TypeUrl::NameTable,
];

/// Types that may refer to clusters.
fn refers_to_clusters(type_url: TypeUrl) -> bool {
    !matches!(type_url, TypeUrl::Cluster | TypeUrl::Endpoints | TypeUrl::Secret | TypeUrl::NameTable)
}

/// What one response is made of.
#[derive(Default)]
struct Content {
    resources: Vec<Arc<Encoded>>,
    removed: Vec<Arc<str>>,
    /// Clusters among them: name, and whether the client had one of that name.
    clusters: Vec<(Arc<str>, bool)>,
}

impl<R: Resources> Session<R> {
    /// What to send now: new and changed resources in make-before-break order, and once those are acknowledged,
    /// removals.
    pub fn next(&mut self, now: Instant) -> Next {
        for type_url in TypeUrl::ALL {
            if refers_to_clusters(type_url)
                && let Some(until) = self.warming_until(now)
            {
                return Next::WaitUntil(until);
            }
            let state = &mut self.types[type_url.index()];
            if !state.has_work() {
                continue;
            }
            let window = match self.protocol {
                Protocol::Delta => self.limits.unacknowledged,
                Protocol::StateOfTheWorld => 1,
            };
            if state.unacknowledged.len() >= window {
                return Next::Idle;
            }
            if let Some(content) = self.upserts(type_url) {
                self.note_clusters(&content.clusters, now);
                return Next::Send(self.response(type_url, content, now));
            }
        }
        self.removals(now)
    }

    fn warming_until(&mut self, now: Instant) -> Option<Instant> {
        let [clusters, endpoints] = [TypeUrl::Cluster, TypeUrl::Endpoints].map(|t| &self.types[t.index()]);
        let quiet = clusters.unacknowledged.is_empty()
            && endpoints.unacknowledged.is_empty()
            && !endpoints.has_work();
        self.warming.wait_until(quiet, now)
    }

    /// Takes due resources of a type. `None` when it turns out that the client has them all.
    fn upserts(&mut self, type_url: TypeUrl) -> Option<Content> {
        let owes = std::mem::take(&mut self.types[type_url.index()].owes);
        let mut content = Content::default();
        let answered = match self.protocol {
            Protocol::Delta => self.take_due(type_url, self.limits.message_bytes, &mut content),
            Protocol::StateOfTheWorld => self.take_due(type_url, usize::MAX, &mut content),
        };
        let state = &mut self.types[type_url.index()];
        if self.protocol == Protocol::Delta {
            content.removed.append(&mut state.empty_collections);
        } else {
            content.removed.clear();
        }
        if content.resources.is_empty() && content.removed.is_empty() && !owes && !answered {
            return None;
        }
        if self.protocol == Protocol::StateOfTheWorld && is_whole(type_url) {
            content.resources = self.whole(type_url);
        }
        Some(content)
    }

    /// Moves due resources into `content` up to `limit` octets. Returns whether the client waits for an answer.
    fn take_due(&mut self, type_url: TypeUrl, limit: usize, content: &mut Content) -> bool {
        let TypeState { due, gone, .. } = &mut self.types[type_url.index()];
        let mut asked = false;
        let mut size = 0;
        if type_url == TypeUrl::VirtualHost && self.protocol == Protocol::Delta {
            // A virtual host that goes may leave its domains to one that comes: both belong in one response.
            let gone = due.extract_if(.., |name, _| self.target.get(type_url, name).is_none());
            content.removed.extend(gone.filter(|(_, held)| held.something()).map(|(name, _)| name));
        }
        while let Some(entry) = due.first_entry() {
            match self.target.get(type_url, entry.key()) {
                Some(resource) => {
                    let has = entry.get().is(resource);
                    if !has && !content.resources.is_empty() && size + resource.body.len() > limit {
                        break;
                    }
                    let held = entry.remove();
                    if has {
                        continue;
                    }
                    size += resource.body.len();
                    if type_url == TypeUrl::Cluster {
                        content.clusters.push((Arc::clone(&resource.name), held.something()));
                    }
                    content.resources.push(Arc::clone(resource));
                }
                None => match entry.remove_entry() {
                    (_, Held::Nothing) => {}
                    (name, Held::Asked) => {
                        asked = true;
                        content.removed.push(name);
                    }
                    (name, held) => {
                        if type_url == TypeUrl::Cluster {
                            self.warming.settle(&name);
                        }
                        gone.insert(name, held);
                    }
                },
            }
        }
        asked
    }

    /// Every resource that the client wants, with those that it holds and that are to go later.
    fn whole(&self, type_url: TypeUrl) -> Vec<Arc<Encoded>> {
        let TypeState { subscription, gone, .. } = &self.types[type_url.index()];
        let mut resources = Vec::new();
        self.target.visit(type_url, "", &mut |r| {
            if subscription.wants(&r.name) {
                resources.push(Arc::clone(r));
            }
        });
        resources.extend(gone.values().filter_map(|held| match held {
            Held::Sent(resource) => Some(Arc::clone(resource)),
            _ => None,
        }));
        resources
    }

    /// New clusters hold back what may refer to them until they have endpoints; changed ones get them again.
    fn note_clusters(&mut self, clusters: &[(Arc<str>, bool)], now: Instant) {
        let endpoints = &mut self.types[TypeUrl::Endpoints.index()];
        if !endpoints.started {
            return;
        }
        for (name, had) in clusters {
            if self.target.get(TypeUrl::Endpoints, name).is_none() {
                continue;
            }
            if !endpoints.subscription.wants(name) {
                self.warming.start(Arc::clone(name), now);
            } else if *had && self.resends_endpoints {
                match endpoints.due.entry(Arc::clone(name)) {
                    Entry::Vacant(vacant) => {
                        vacant.insert(Held::Asked);
                    }
                    Entry::Occupied(mut occupied) => {
                        occupied.insert(Held::Asked);
                    }
                }
            }
        }
    }

    fn removals(&mut self, now: Instant) -> Next {
        if self.types.iter().all(|t| t.gone.is_empty()) {
            return Next::Idle;
        }
        let quiet = self.types.iter().all(|t| t.unacknowledged.is_empty());
        let until = self.last_sent.map_or(now, |sent| sent + REMOVAL_PATIENCE);
        if !quiet && now < until {
            return Next::WaitUntil(until);
        }
        for type_url in REMOVAL_ORDER {
            let gone = std::mem::take(&mut self.types[type_url.index()].gone);
            if gone.is_empty() {
                continue;
            }
            let mut content = Content::default();
            match self.protocol {
                Protocol::Delta => content.removed.extend(gone.into_keys()),
                Protocol::StateOfTheWorld if is_whole(type_url) => content.resources = self.whole(type_url),
                // State of the world cannot say that a resource of another type is gone.
                Protocol::StateOfTheWorld => continue,
            }
            return Next::Send(self.response(type_url, content, now));
        }
        Next::Idle
    }

    fn response(&mut self, type_url: TypeUrl, content: Content, now: Instant) -> Response {
        self.last_nonce += 1;
        self.last_sent = Some(now);
        let nonce: Box<str> = format!("{:x}", self.last_nonce).into();
        let state = &mut self.types[type_url.index()];
        let names = content.resources.iter().map(|r| &r.name).chain(&content.removed);
        let again = |name: &&Arc<str>| !state.rejected.is_empty() && state.rejected.contains(name);
        let sent = Sent {
            nonce: nonce.clone(),
            version: Arc::clone(&self.version),
            first_names: names.clone().take(NAMES_KEPT).cloned().collect(),
            last_name: content.resources.last().map(|r| Arc::clone(&r.name)),
            total: content.resources.len() + content.removed.len(),
            retried: names.filter(again).cloned().collect(),
        };
        if self.protocol == Protocol::StateOfTheWorld {
            state.unacknowledged.clear();
        }
        state.unacknowledged.push_back(sent);
        state.status.responses += 1;
        state.status.sent_nonce = nonce.clone();
        state.status.sent_version = Arc::clone(&self.version);
        Response {
            protocol: self.protocol,
            type_url,
            version: Arc::clone(&self.version),
            nonce,
            resources: content.resources,
            removed: content.removed,
        }
    }
}
