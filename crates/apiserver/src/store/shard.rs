//! One resource in the store: its objects in order, and the log from which its watches read.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use tokio::sync::watch;

use super::entry::{Entry, Key};

/// The log of a resource holds at most this many changes ...
const LOG_EVENTS: usize = 1024;
/// ... and at most this many bytes of objects that are not otherwise kept (always the last one, though).
const LOG_BYTES: usize = 1 << 20;

/// What happened to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// It is new.
    Added,
    /// It changed.
    Modified,
    /// It is gone.
    Deleted,
}

/// A change of an object.
#[derive(Debug)]
pub struct Event {
    /// What happened.
    pub kind: EventKind,
    /// To which object.
    pub key: Key,
    /// The object afterwards; of a deleted one the last state.
    pub entry: Arc<Entry>,
    /// The object before.
    pub previous: Option<Arc<Entry>>,
}

/// The log no longer reaches back to the revision that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gone {
    /// The oldest revision from which a watch may start.
    pub oldest: u64,
}

/// A resource's objects and log.
#[derive(Debug)]
pub struct Shard {
    objects: BTreeMap<Key, Arc<Entry>>,
    log: VecDeque<Arc<Event>>,
    log_bytes: usize,
    /// Changes up to and with this revision may be missing from the log.
    compacted: u64,
    latest: watch::Sender<u64>,
}

impl Shard {
    /// An empty resource, whose log begins at the revision `base`.
    pub fn new(latest: u64, base: u64) -> Self {
        let latest = watch::Sender::new(latest);
        Self { objects: BTreeMap::new(), log: VecDeque::new(), log_bytes: 0, compacted: base, latest }
    }

    /// Takes an object from disk.
    pub fn load(&mut self, key: Key, entry: Entry) {
        self.objects.insert(key, Arc::new(entry));
    }

    /// One object.
    pub fn get(&self, key: &Key) -> Option<Arc<Entry>> {
        self.objects.get(key).cloned()
    }

    /// Whether there is no object.
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }

    /// Whether any object is in the namespace.
    pub fn has_namespace(&self, namespace: &str) -> bool {
        let first = Key::new(namespace, "");
        self.objects.range(first..).next().is_some_and(|(key, _)| &*key.namespace == namespace)
    }

    /// Objects in order of key, after `from`.
    pub fn list(&self, namespace: Option<&str>, from: Option<&Key>) -> Vec<(Key, Arc<Entry>)> {
        let start = match (from, namespace) {
            (Some(key), _) => Bound::Excluded(key.clone()),
            (None, Some(namespace)) => Bound::Included(Key::new(namespace, "")),
            (None, None) => Bound::Unbounded,
        };
        let range = self.objects.range((start, Bound::Unbounded));
        let inside = range.take_while(|(key, _)| namespace.is_none_or(|n| n == &*key.namespace));
        inside.map(|(key, entry)| (key.clone(), entry.clone())).collect()
    }

    /// Records a new state of an object.
    pub fn put(&mut self, key: Key, event: Arc<Event>) {
        self.objects.insert(key, event.entry.clone());
        self.append(event);
    }

    /// Records that an object is gone.
    pub fn delete(&mut self, event: Arc<Event>) {
        self.objects.remove(&event.key);
        self.append(event);
    }

    fn append(&mut self, event: Arc<Event>) {
        let revision = event.entry.revision;
        self.log_bytes += event.entry.body().len();
        self.log.push_back(event);
        while self.log.len() > LOG_EVENTS || (self.log_bytes > LOG_BYTES && self.log.len() > 1) {
            if let Some(oldest) = self.log.pop_front() {
                self.log_bytes -= oldest.entry.body().len();
                self.compacted = oldest.entry.revision;
            }
        }
        self.latest.send_replace(revision);
    }

    /// Changes after a revision.
    ///
    /// # Errors
    /// When the log does not reach back so far.
    pub fn since(&self, revision: u64) -> Result<Vec<Arc<Event>>, Gone> {
        if revision < self.compacted {
            return Err(Gone { oldest: self.compacted });
        }
        let start = self.log.partition_point(|event| event.entry.revision <= revision);
        Ok(self.log.range(start..).cloned().collect())
    }

    /// Tells when there are new changes.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.latest.subscribe()
    }
}
