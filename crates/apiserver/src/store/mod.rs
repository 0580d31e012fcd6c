//! The store: every object as serialised JSON by key, one revision counter, and a bounded log of changes per
//! resource from which watches read. Memory is the truth; `disk` makes each write survive the process.

mod disk;
mod entry;
mod shard;

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::watch;

pub use entry::{Entry, Key};
pub use shard::{Event, EventKind, Gone, Shard};

/// Names a resource in the store: `group/plural`.
pub type ShardName = Arc<str>;

/// What must stand in the store for a write to happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// No object of this key.
    Absent,
    /// The object in this revision.
    Revision(u64),
}

/// Why a write did not happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// There is an object already.
    Exists,
    /// There is no such object.
    Missing,
    /// It stands in another revision.
    Stale,
    /// The change could not be written to disk.
    Disk,
}

/// A change that background tasks may have to follow up.
#[derive(Debug, Clone)]
pub struct Notice {
    /// The resource.
    pub shard: ShardName,
    /// What happened, and to what.
    pub event: Arc<Event>,
}

struct State {
    revision: u64,
    /// The revision at which this process began: no log reaches further back.
    base: u64,
    shards: HashMap<ShardName, Shard>,
    /// Objects by uid.
    uids: HashMap<Box<str>, (ShardName, Key)>,
    /// Dependents by their owner's uid.
    dependents: HashMap<Box<str>, HashSet<(ShardName, Key)>>,
    notices: Option<tokio::sync::mpsc::UnboundedSender<Notice>>,
}

/// The store of one API server.
pub struct Store {
    state: Mutex<State>,
    disk: Option<disk::Disk>,
}

impl Store {
    /// An empty store that lives as long as the process.
    pub fn in_memory() -> Self {
        Self::with(1, None)
    }

    fn with(revision: u64, disk: Option<disk::Disk>) -> Self {
        let state = State {
            revision,
            base: revision,
            shards: HashMap::new(),
            uids: HashMap::new(),
            dependents: HashMap::new(),
            notices: None,
        };
        Self { state: Mutex::new(state), disk }
    }

    /// Opens or makes the store in a file.
    ///
    /// # Errors
    /// When the file cannot be opened or is no store.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let (disk, loaded) = disk::Disk::open(path)?;
        // A watcher may have seen a change that a killed process did not get to disk: start beyond it, so that
        // its revision is answered by 410 and it lists again.
        let revision = loaded.revision + 1000;
        let store = Self::with(revision, Some(disk));
        {
            let mut state = store.state.lock();
            for (shard, key, entry) in loaded.entries {
                state.index(&shard, &key, &entry);
                state.shard(&shard).load(key, entry);
            }
        }
        Ok(store)
    }

    /// Has every change reported to `notices`, in order.
    pub fn report_to(&self, notices: tokio::sync::mpsc::UnboundedSender<Notice>) {
        self.state.lock().notices = Some(notices);
    }

    /// The revision of the last write.
    pub fn revision(&self) -> u64 {
        self.state.lock().revision
    }

    /// One object.
    pub fn get(&self, shard: &str, key: &Key) -> Option<Arc<Entry>> {
        self.state.lock().shards.get(shard)?.get(key)
    }

    /// The objects of a resource, of one namespace or of all, after `from`, in order of key; and the revision at
    /// which this was so.
    pub fn list(
        &self,
        shard: &str,
        namespace: Option<&str>,
        from: Option<&Key>,
    ) -> (Vec<(Key, Arc<Entry>)>, u64) {
        let state = self.state.lock();
        let entries = state.shards.get(shard).map(|s| s.list(namespace, from)).unwrap_or_default();
        (entries, state.revision)
    }

    /// Changes of a resource after a revision, and the revision up to which they reach.
    ///
    /// # Errors
    /// When the log no longer holds them.
    pub fn since(&self, shard: &ShardName, revision: u64) -> Result<(Vec<Arc<Event>>, u64), Gone> {
        let mut state = self.state.lock();
        let latest = state.revision;
        Ok((state.shard(shard).since(revision)?, latest))
    }

    /// Tells whenever a resource changes.
    pub fn subscribe(&self, shard: &ShardName) -> watch::Receiver<u64> {
        self.state.lock().shard(shard).subscribe()
    }

    /// The object with a uid.
    pub fn by_uid(&self, uid: &str) -> Option<(ShardName, Key)> {
        self.state.lock().uids.get(uid).cloned()
    }

    /// The objects that name a uid as their owner.
    pub fn dependents(&self, uid: &str) -> Vec<(ShardName, Key)> {
        let state = self.state.lock();
        state.dependents.get(uid).map(|set| set.iter().cloned().collect()).unwrap_or_default()
    }

    /// Resources that hold at least one object, of one namespace if given.
    pub fn populated(&self, namespace: &str) -> Vec<ShardName> {
        let state = self.state.lock();
        state
            .shards
            .iter()
            .filter(|(_, s)| s.has_namespace(namespace))
            .map(|(name, _)| name.clone())
            .collect()
    }

    /// Writes an object; it gets its `resourceVersion` here. Returns when it is on disk.
    ///
    /// # Errors
    /// When the store does not hold what was expected, or the disk refuses.
    pub async fn put(
        &self,
        shard: &ShardName,
        key: Key,
        expect: Expect,
        value: Value,
        fields: entry::FieldReader,
    ) -> Result<Arc<Entry>, Refused> {
        let (entry, ticket) = {
            let mut state = self.state.lock();
            let previous = state.check(shard, &key, expect)?;
            state.revision += 1;
            let entry = Arc::new(Entry::new(value, state.revision, fields));
            if let Some(previous) = &previous {
                state.unindex(shard, &key, previous);
            }
            state.index(shard, &key, &entry);
            let ticket = self.disk.as_ref().map(|d| d.put(shard, &key, &entry));
            let kind = if previous.is_some() { EventKind::Modified } else { EventKind::Added };
            let event = Arc::new(Event { kind, key: key.clone(), entry: entry.clone(), previous });
            state.shard(shard).put(key, event.clone());
            state.notify(shard, event);
            (entry, ticket)
        };
        wait(ticket).await?;
        Ok(entry)
    }

    /// Removes an object; `value` is what watchers see of it last. Returns when that is on disk.
    ///
    /// # Errors
    /// When the store does not hold what was expected, or the disk refuses.
    pub async fn delete(
        &self,
        shard: &ShardName,
        key: Key,
        revision: u64,
        value: Value,
        fields: entry::FieldReader,
    ) -> Result<Arc<Entry>, Refused> {
        let (entry, ticket) = {
            let mut state = self.state.lock();
            let previous = state.check(shard, &key, Expect::Revision(revision))?;
            state.revision += 1;
            let entry = Arc::new(Entry::new(value, state.revision, fields));
            if let Some(previous) = &previous {
                state.unindex(shard, &key, previous);
            }
            let ticket = self.disk.as_ref().map(|d| d.delete(shard, &key, entry.revision));
            let event = Arc::new(Event { kind: EventKind::Deleted, key, entry: entry.clone(), previous });
            state.shard(shard).delete(event.clone());
            state.notify(shard, event);
            (entry, ticket)
        };
        wait(ticket).await?;
        Ok(entry)
    }

    /// Forgets a resource altogether, log included (its type is gone).
    pub fn forget(&self, shard: &str) {
        let mut state = self.state.lock();
        if state.shards.get(shard).is_some_and(Shard::is_empty) {
            state.shards.remove(shard);
        }
    }
}

async fn wait(ticket: Option<disk::Ticket>) -> Result<(), Refused> {
    match ticket {
        None => Ok(()),
        Some(ticket) => ticket.await.unwrap_or(false).then_some(()).ok_or(Refused::Disk),
    }
}

impl State {
    fn shard(&mut self, name: &ShardName) -> &mut Shard {
        let (latest, base) = (self.revision, self.base);
        self.shards.entry(name.clone()).or_insert_with(|| Shard::new(latest, base))
    }

    fn check(&mut self, shard: &ShardName, key: &Key, expect: Expect) -> Result<Option<Arc<Entry>>, Refused> {
        let current = self.shards.get(shard).and_then(|s| s.get(key));
        match (expect, current) {
            (Expect::Absent, None) => Ok(None),
            (Expect::Absent, Some(_)) => Err(Refused::Exists),
            (Expect::Revision(_), None) => Err(Refused::Missing),
            (Expect::Revision(revision), Some(entry)) if entry.revision == revision => Ok(Some(entry)),
            (Expect::Revision(_), Some(_)) => Err(Refused::Stale),
        }
    }

    fn index(&mut self, shard: &ShardName, key: &Key, entry: &Entry) {
        self.uids.insert(entry.uid.clone(), (shard.clone(), key.clone()));
        for owner in &entry.owners {
            self.dependents.entry(owner.clone()).or_default().insert((shard.clone(), key.clone()));
        }
    }

    fn unindex(&mut self, shard: &ShardName, key: &Key, entry: &Entry) {
        self.uids.remove(&entry.uid);
        for owner in &entry.owners {
            if let Some(set) = self.dependents.get_mut(owner) {
                set.remove(&(shard.clone(), key.clone()));
                if set.is_empty() {
                    self.dependents.remove(owner);
                }
            }
        }
    }

    fn notify(&mut self, shard: &ShardName, event: Arc<Event>) {
        if let Some(notices) = &self.notices {
            // Nobody listens any more only while the server shuts down.
            let _ = notices.send(Notice { shard: shard.clone(), event });
        }
    }
}

/// Why the store's file could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file itself.
    #[error("cannot open the state file {path}: {source}")]
    Io {
        /// Where it is.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// Its content.
    #[error("the state file {path} cannot be read: {message} (move it away to start afresh)")]
    Content {
        /// Where it is.
        path: String,
        /// What the database said.
        message: String,
    },
}

#[cfg(test)]
mod tests;
