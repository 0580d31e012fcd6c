//! The places of secrets.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::SystemTime;

use arc_swap::ArcSwapOption;
use tokio::sync::watch;

use super::secret::Secret;

/// Where a secret comes from.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Source {
    /// The bootstrap.
    Static,
    /// The control plane's stream.
    Ads,
    /// A stream of its own to a cluster.
    Cluster {
        /// The cluster.
        name: Box<str>,
        /// It speaks the delta protocol.
        delta: bool,
    },
    /// A file that holds a `DiscoveryResponse`; looked at now and then.
    Path(Box<str>),
}

/// Put together from secrets.
pub(super) trait Dependent: Send + Sync + std::fmt::Debug {
    /// One of the secrets has changed.
    fn rebuild(&self);
}

/// What administration tells of a secret.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// The version of the one in force, as its server gave it.
    pub version: String,
    /// When it came.
    pub updated: Option<SystemTime>,
    /// Why the last one was rejected, its version, and when that was.
    pub error: Option<(String, String, SystemTime)>,
}

/// The place of one secret.
#[derive(Debug)]
pub struct SecretSlot {
    /// Where it comes from.
    pub source: Source,
    /// Its name.
    pub name: Box<str>,
    current: ArcSwapOption<Secret>,
    history: Mutex<History>,
    missing: AtomicBool,
    arrived: Arc<watch::Sender<u64>>,
    dependents: Mutex<Vec<Weak<dyn Dependent>>>,
}

impl SecretSlot {
    /// The current secret.
    pub fn load(&self) -> Option<Arc<Secret>> {
        self.current.load_full()
    }

    /// Whether it has come, or is known not to exist: there is nothing to wait for.
    pub fn is_settled(&self) -> bool {
        self.missing.load(Ordering::Acquire) || self.current.load().is_some()
    }

    /// What happened to it.
    pub fn history(&self) -> History {
        self.history.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Its server says that it does not exist. One that was there stays in use.
    pub fn set_missing(&self) {
        self.missing.store(true, Ordering::Release);
        self.arrived.send_modify(|generation| *generation += 1);
    }

    /// What came cannot be used; what was there stays in use.
    pub fn set_rejected(&self, version: &str, reason: &str) {
        let mut history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        history.error = Some((reason.to_owned(), version.to_owned(), SystemTime::now()));
    }

    /// Puts a secret in force; contexts that depend on it are put together anew.
    pub fn set(&self, secret: Secret, version: &str) {
        self.current.store(Some(Arc::new(secret)));
        self.missing.store(false, Ordering::Release);
        *self.history.lock().unwrap_or_else(PoisonError::into_inner) =
            History { version: version.to_owned(), updated: Some(SystemTime::now()), error: None };
        let dependents: Vec<_> = {
            let mut dependents = self.dependents.lock().unwrap_or_else(PoisonError::into_inner);
            dependents.retain(|dependent| dependent.strong_count() > 0);
            dependents.iter().filter_map(Weak::upgrade).collect()
        };
        for dependent in dependents {
            dependent.rebuild();
        }
        self.arrived.send_modify(|generation| *generation += 1);
    }

    pub(super) fn depend(&self, dependent: Weak<dyn Dependent>) {
        let mut dependents = self.dependents.lock().unwrap_or_else(PoisonError::into_inner);
        if dependents.len() == dependents.capacity() {
            dependents.retain(|dependent| dependent.strong_count() > 0);
        }
        dependents.push(dependent);
    }
}

type Slots = HashMap<(Source, Box<str>), Weak<SecretSlot>>;

/// All secrets that are in use.
#[derive(Debug)]
pub struct SecretStore {
    slots: Mutex<Slots>,
    /// The bootstrap's own: they stay, used or not.
    fixed: Mutex<Vec<Arc<SecretSlot>>>,
    changed: watch::Sender<u64>,
    arrived: Arc<watch::Sender<u64>>,
}

impl Default for SecretStore {
    fn default() -> Self {
        let channel = || watch::channel(0).0;
        SecretStore {
            slots: Mutex::default(),
            fixed: Mutex::default(),
            changed: channel(),
            arrived: Arc::new(channel()),
        }
    }
}

impl SecretStore {
    fn lock(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The place of a secret; made where there is none.
    pub fn slot(&self, source: Source, name: &str) -> Arc<SecretSlot> {
        let mut slots = self.lock();
        let key = (source, Box::from(name));
        if let Some(slot) = slots.get(&key).and_then(Weak::upgrade) {
            return slot;
        }
        let slot = Arc::new(SecretSlot {
            source: key.0.clone(),
            name: key.1.clone(),
            current: ArcSwapOption::empty(),
            history: Mutex::default(),
            missing: AtomicBool::new(false),
            dependents: Mutex::default(),
            arrived: self.arrived.clone(),
        });
        slots.retain(|_, slot| slot.strong_count() > 0);
        slots.insert(key, Arc::downgrade(&slot));
        drop(slots);
        self.changed.send_modify(|generation| *generation += 1);
        slot
    }

    /// The place of a secret that something uses.
    pub fn find(&self, source: &Source, name: &str) -> Option<Arc<SecretSlot>> {
        self.lock().get(&(source.clone(), Box::from(name))).and_then(Weak::upgrade)
    }

    /// Puts a secret of the bootstrap in force.
    pub fn put_static(&self, name: &str, secret: Secret) {
        let slot = self.slot(Source::Static, name);
        slot.set(secret, "");
        self.fixed.lock().unwrap_or_else(PoisonError::into_inner).push(slot);
    }

    /// Secrets in use, by source and name.
    pub fn all(&self) -> Vec<Arc<SecretSlot>> {
        let mut all: Vec<_> = self.lock().values().filter_map(Weak::upgrade).collect();
        all.sort_by(|a, b| (&a.source, &a.name).cmp(&(&b.source, &b.name)));
        all
    }

    /// Tells of secrets that came, or turned out not to exist.
    pub fn arrivals(&self) -> watch::Receiver<u64> {
        self.arrived.subscribe()
    }

    /// Tells of secrets that are used for the first time.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }
}

/// The secrets of one source that a stream has asked for: as long as it has, their places are kept, so that none is
/// made anew whose secret was sent already.
#[derive(Debug, Default)]
pub(crate) struct Held(BTreeMap<Box<str>, Arc<SecretSlot>>);

impl Held {
    /// Takes up what is used now and gives up what is used no longer; the names.
    pub(crate) fn refresh(&mut self, store: &SecretStore, source: &Source) -> BTreeSet<String> {
        self.0.retain(|_, slot| Arc::strong_count(slot) > 1);
        for slot in store.all().into_iter().filter(|slot| slot.source == *source) {
            self.0.insert(slot.name.clone(), slot);
        }
        self.0.keys().map(|name| name.to_string()).collect()
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The place of a name.
    pub(crate) fn get(&self, name: &str) -> Option<&Arc<SecretSlot>> {
        self.0.get(name)
    }
}
