//! Key sets that are fetched from servers, and shared by everything that names the same server in the same way.

use super::cluster::ClusterSlot;
use crate::jose::KeySet;
use arc_swap::ArcSwapOption;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::{Notify, mpsc, watch};

/// From where and how often keys are fetched.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KeySpec {
    /// Name of the cluster.
    pub cluster: Box<str>,
    /// `:authority` of the request.
    pub authority: Box<str>,
    /// `:path` of the request.
    pub path: Box<str>,
    /// Whether the address is one of `https`.
    pub https: bool,
    /// Limit of one fetch.
    pub timeout: Duration,
    /// Keys are fetched anew after this.
    pub cache: Duration,
    /// After a failed fetch the next one comes after this.
    pub retry: Duration,
}

/// Keys of a server. The last good ones stay until newer ones come.
#[derive(Debug)]
pub struct RemoteKeys {
    /// From where.
    pub spec: KeySpec,
    /// The cluster.
    pub cluster: Arc<ClusterSlot>,
    current: ArcSwapOption<KeySet>,
    attempts: watch::Sender<u64>,
    wanted: Arc<Notify>,
    succeeded: AtomicU64,
    failed: AtomicU64,
}

impl RemoteKeys {
    /// Keys that were not fetched yet.
    pub fn new(spec: KeySpec, cluster: Arc<ClusterSlot>) -> Self {
        RemoteKeys {
            spec,
            cluster,
            current: ArcSwapOption::empty(),
            attempts: watch::channel(0).0,
            wanted: Arc::default(),
            succeeded: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        }
    }

    /// The last good keys.
    pub fn load(&self) -> Option<Arc<KeySet>> {
        self.current.load_full()
    }

    /// A fetch has ended; without keys it failed.
    pub fn fetched(&self, keys: Option<KeySet>) {
        let counter = if keys.is_some() { &self.succeeded } else { &self.failed };
        counter.fetch_add(1, Ordering::Relaxed);
        if let Some(keys) = keys {
            self.current.store(Some(Arc::new(keys)));
        }
        self.attempts.send_modify(|attempts| *attempts += 1);
    }

    /// Asks for a fetch now, and waits for its end; the keys that are there then.
    pub async fn fetch(&self) -> Option<Arc<KeySet>> {
        let mut attempts = self.attempts.subscribe();
        self.wanted.notify_one();
        // The sender lives as long as `self`.
        let _ = attempts.changed().await;
        self.load()
    }

    /// Tells that somebody asks for a fetch.
    pub fn wanted(&self) -> Arc<Notify> {
        self.wanted.clone()
    }

    /// Fetches that succeeded, and that failed.
    pub fn counts(&self) -> (u64, u64) {
        (self.succeeded.load(Ordering::Relaxed), self.failed.load(Ordering::Relaxed))
    }
}

/// All sources of keys in use, and the queue of those that nobody fetches yet.
#[derive(Debug)]
pub(super) struct KeySources {
    known: Mutex<HashMap<KeySpec, Weak<RemoteKeys>>>,
    new: mpsc::UnboundedSender<Weak<RemoteKeys>>,
    queue: Mutex<Option<NewKeys>>,
}

/// Sources of keys that nobody fetches yet.
pub(crate) type NewKeys = mpsc::UnboundedReceiver<Weak<RemoteKeys>>;

impl Default for KeySources {
    fn default() -> Self {
        let (new, queue) = mpsc::unbounded_channel();
        KeySources { known: Default::default(), new, queue: Mutex::new(Some(queue)) }
    }
}

impl KeySources {
    /// The source of that description; made where there is none.
    pub(super) fn find(
        &self,
        spec: KeySpec,
        cluster: impl FnOnce(&str) -> Arc<ClusterSlot>,
    ) -> Arc<RemoteKeys> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(keys) = known.get(&spec).and_then(Weak::upgrade) {
            return keys;
        }
        known.retain(|_, keys| keys.strong_count() > 0);
        let keys = Arc::new(RemoteKeys::new(spec.clone(), cluster(&spec.cluster)));
        known.insert(spec, Arc::downgrade(&keys));
        // Without workers (a configuration that is only checked) nobody listens.
        let _ = self.new.send(Arc::downgrade(&keys));
        keys
    }

    /// The queue, for the one who fetches.
    pub(super) fn queue(&self) -> Option<NewKeys> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
