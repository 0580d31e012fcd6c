use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use lateen_api::status::IstioStatus;
use lateen_api::{FieldError, Kind as ApiKind, Object};
use lateen_mesh::{ConfigKey, Kind, Resource};

/// What the API delivered of one of Istio's resources, besides what the mesh is made of.
#[derive(Clone, Debug)]
pub struct Note {
    /// Which resource.
    pub key: ConfigKey,
    /// The generation of its spec.
    pub generation: i64,
    /// The status that it has.
    pub status: Option<IstioStatus>,
    /// What is wrong with the spec by itself.
    pub problems: Vec<FieldError>,
    /// Whether it cannot be read at all, so that the last good one counts.
    pub refused: bool,
}

impl Note {
    /// The note of an object that the mesh takes.
    pub fn taken(resource: &Resource) -> Option<Note> {
        match resource {
            Resource::VirtualService(o) => Some(Self::of(Kind::VirtualService, o)),
            Resource::DestinationRule(o) => Some(Self::of(Kind::DestinationRule, o)),
            Resource::Gateway(o) => Some(Self::of(Kind::Gateway, o)),
            Resource::ServiceEntry(o) => Some(Self::of(Kind::ServiceEntry, o)),
            Resource::WorkloadEntry(o) => Some(Self::of(Kind::WorkloadEntry, o)),
            Resource::Sidecar(o) => Some(Self::of(Kind::Sidecar, o)),
            Resource::Telemetry(o) => Some(Self::of(Kind::Telemetry, o)),
            Resource::EnvoyFilter(o) => Some(Self::of(Kind::EnvoyFilter, o)),
            Resource::ProxyConfig(o) => Some(Self::of(Kind::ProxyConfig, o)),
            Resource::PeerAuthentication(o) => Some(Self::of(Kind::PeerAuthentication, o)),
            Resource::RequestAuthentication(o) => Some(Self::of(Kind::RequestAuthentication, o)),
            Resource::AuthorizationPolicy(o) => Some(Self::of(Kind::AuthorizationPolicy, o)),
            Resource::Policy(o) => Some(Self::of(Kind::Policy, o)),
            Resource::MeshPolicy(o) => Some(Self::of(Kind::MeshPolicy, o)),
            Resource::Service(_)
            | Resource::EndpointSlice(_)
            | Resource::Pod(_)
            | Resource::Node(_)
            | Resource::Credential(_)
            | Resource::Issuer(_)
            | Resource::Settings(_) => None,
        }
    }

    fn of<S: ApiKind>(kind: Kind, object: &Object<S>) -> Note {
        // Whoever got past the webhook is told here.
        let problems = object.validate().errors;
        Self::new(kind, &object.metadata, object.status.clone(), problems, false)
    }

    /// The note of an object that cannot be read.
    pub fn refused(kind: Kind, metadata: &ObjectMeta, problems: Vec<FieldError>) -> Note {
        Self::new(kind, metadata, None, problems, true)
    }

    fn new(
        kind: Kind,
        metadata: &ObjectMeta,
        status: Option<IstioStatus>,
        problems: Vec<FieldError>,
        refused: bool,
    ) -> Note {
        let text = |part: &Option<String>| part.clone().unwrap_or_default();
        let key = ConfigKey::new(kind, text(&metadata.namespace), text(&metadata.name));
        Note { key, generation: metadata.generation.unwrap_or_default(), status, problems, refused }
    }
}

/// A resource as it stands in the snapshots.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub note: Arc<Note>,
    /// The first publication that this generation is part of; none before it was published.
    pub published: Option<u64>,
}

/// Which generation of each resource the snapshots hold since when.
#[derive(Debug, Default)]
pub struct Ledger {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    entries: HashMap<ConfigKey, Entry>,
    /// What was noted since the last publication.
    waiting: Vec<ConfigKey>,
}

impl Ledger {
    /// Takes down what the API delivered. The same generation once more (with another status, say) keeps its
    /// publication.
    pub fn note(&self, note: Note) {
        let mut state = self.lock();
        let before = state.entries.get(&note.key);
        let published = before.filter(|e| e.note.generation == note.generation).and_then(|e| e.published);
        if published.is_none() {
            state.waiting.push(note.key.clone());
        }
        state.entries.insert(note.key.clone(), Entry { note: Arc::new(note), published });
    }

    /// A status was written; unless the resource has changed meanwhile, that is the one that it has now.
    pub(super) fn wrote(&self, note: &Note, status: IstioStatus) {
        let mut state = self.lock();
        let same = |e: &&mut Entry| e.note.generation == note.generation;
        if let Some(entry) = state.entries.get_mut(&note.key).filter(same) {
            entry.note = Arc::new(Note { status: Some(status), ..(*entry.note).clone() });
        }
    }

    /// Forgets a resource.
    pub fn remove(&self, key: &ConfigKey) {
        self.lock().entries.remove(key);
    }

    /// Everything that was noted is part of this publication, at the latest.
    pub fn published(&self, number: u64) {
        let State { entries, waiting } = &mut *self.lock();
        for key in waiting.drain(..) {
            if let Some(entry) = entries.get_mut(&key) {
                entry.published.get_or_insert(number);
            }
        }
    }

    /// Since which publication a generation of a resource, or a later one, is part of the mesh.
    pub(super) fn since(&self, key: &ConfigKey, generation: i64) -> Option<u64> {
        let state = self.lock();
        let entry = state.entries.get(key).filter(|e| e.note.generation >= generation)?;
        entry.published
    }

    /// All resources that are part of one of the publications up to this.
    pub(super) fn until(&self, number: u64) -> Vec<Entry> {
        let state = self.lock();
        state.entries.values().filter(|e| e.published.is_some_and(|p| p <= number)).cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noted(generation: i64) -> Note {
        let key = ConfigKey::new(Kind::Gateway, "default", "edge");
        Note { key, generation, status: None, problems: Vec::new(), refused: false }
    }

    #[test]
    fn a_generation_counts_from_the_publication_that_first_held_it() {
        let ledger = Ledger::default();
        ledger.note(noted(1));
        assert!(ledger.until(9).is_empty(), "nothing is published yet");
        ledger.published(3);
        ledger.note(noted(1));
        ledger.published(4);
        assert_eq!(ledger.until(3)[0].published, Some(3));
        ledger.note(noted(2));
        ledger.published(5);
        assert!(ledger.until(4).is_empty());
        assert_eq!(ledger.until(5)[0].published, Some(5));
        ledger.remove(&noted(2).key);
        assert!(ledger.until(9).is_empty());
    }
}
