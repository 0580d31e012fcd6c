use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use lateen_xds::{Encoded, TypeUrl};

use crate::delta::{self, Delta, Deltas, slot};

/// Sorted resources of one type, shared by every set in which they are the same.
pub type ResourceList = Arc<[Arc<Encoded>]>;

/// Encoded resources of every type, sorted by name. Immutable; shared by all proxies of a scope.
#[derive(Debug)]
pub struct ResourceSet {
    id: u64,
    lists: [ResourceList; TypeUrl::ALL.len()],
    /// Differences from earlier sets, worked out once for all proxies that make the same step.
    deltas: Mutex<Vec<(u64, Arc<Deltas>)>>,
}

/// How many differences a set remembers: proxies that lag behind come from few distinct sets.
const REMEMBERED_DELTAS: usize = 4;

impl ResourceSet {
    /// A set from lists in the order of [`TypeUrl::ALL`], each sorted by name without duplicates.
    pub(crate) fn new(lists: [ResourceList; TypeUrl::ALL.len()]) -> Arc<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        Arc::new(ResourceSet { id, lists, deltas: Mutex::new(Vec::new()) })
    }

    /// All resources of a type, sorted by name.
    pub fn list(&self, type_url: TypeUrl) -> &ResourceList {
        &self.lists[slot(type_url)]
    }

    /// One resource by its name.
    pub fn get(&self, type_url: TypeUrl, name: &str) -> Option<&Arc<Encoded>> {
        let list = self.list(type_url);
        let at = list.binary_search_by(|r| (*r.name).cmp(name)).ok()?;
        list.get(at)
    }

    /// The resources whose name starts with a prefix, such as `9080/` for the virtual hosts of a route configuration.
    pub fn with_prefix(&self, type_url: TypeUrl, prefix: &str) -> &[Arc<Encoded>] {
        let list = self.list(type_url);
        let start = list.partition_point(|r| &*r.name < prefix);
        let len = list[start..].partition_point(|r| r.name.starts_with(prefix));
        &list[start..start + len]
    }

    /// What leads from `old` to `self`. Worked out once for each pair of sets; equal lists cost one comparison.
    pub fn diff(&self, old: &ResourceSet) -> Arc<Deltas> {
        if let Some(known) = self.remembered(old.id) {
            return known;
        }
        let mut deltas = Deltas::default();
        for (at, delta) in deltas.by_type.iter_mut().enumerate() {
            if !Arc::ptr_eq(&old.lists[at], &self.lists[at]) {
                *delta = delta::between(&old.lists[at], &self.lists[at]);
            }
        }
        let deltas = Arc::new(deltas);
        let mut memory = self.deltas.lock().unwrap_or_else(PoisonError::into_inner);
        if memory.len() == REMEMBERED_DELTAS {
            memory.remove(0);
        }
        memory.push((old.id, deltas.clone()));
        deltas
    }

    fn remembered(&self, old: u64) -> Option<Arc<Deltas>> {
        let memory = self.deltas.lock().unwrap_or_else(PoisonError::into_inner);
        memory.iter().find(|(id, _)| *id == old).map(|(_, deltas)| deltas.clone())
    }
}

/// Everything that one proxy may see: what it shares with its scope, and what is its own (inbound listener and
/// clusters). A name never stands in both.
#[derive(Clone, Debug)]
pub struct ProxyResources {
    /// Shared with every proxy of the same scope.
    pub shared: Arc<ResourceSet>,
    /// For this proxy alone.
    pub own: Arc<ResourceSet>,
}

impl ProxyResources {
    /// One resource by its name.
    pub fn get(&self, type_url: TypeUrl, name: &str) -> Option<&Arc<Encoded>> {
        self.own.get(type_url, name).or_else(|| self.shared.get(type_url, name))
    }

    /// All resources of a type: the proxy's own, then the shared ones.
    pub fn iter(&self, type_url: TypeUrl) -> impl Iterator<Item = &Arc<Encoded>> {
        self.own.list(type_url).iter().chain(self.shared.list(type_url).iter())
    }

    /// The resources whose name starts with a prefix, such as `9080/`.
    pub fn with_prefix(&self, type_url: TypeUrl, prefix: &str) -> impl Iterator<Item = &Arc<Encoded>> {
        self.own.with_prefix(type_url, prefix).iter().chain(self.shared.with_prefix(type_url, prefix))
    }

    /// What leads from `old` to `self`, as the proxy's own part and the shared part.
    pub fn diff(&self, old: &ProxyResources) -> ProxyDelta {
        let shared = (!Arc::ptr_eq(&self.shared, &old.shared)).then(|| self.shared.diff(&old.shared));
        let own = (!Arc::ptr_eq(&self.own, &old.own)).then(|| self.own.diff(&old.own));
        ProxyDelta { own, shared }
    }
}

/// The difference between two [`ProxyResources`]: at most two parts, either absent when its set is the same.
#[derive(Clone, Debug, Default)]
pub struct ProxyDelta {
    own: Option<Arc<Deltas>>,
    shared: Option<Arc<Deltas>>,
}

impl ProxyDelta {
    /// Whether nothing is to be told.
    pub fn is_empty(&self) -> bool {
        self.parts().all(|d| d.is_empty())
    }

    /// The differences of one type, of which there are at most two.
    pub fn of(&self, type_url: TypeUrl) -> impl Iterator<Item = &Delta> {
        self.parts().map(move |d| d.of(type_url)).filter(|d| !d.is_empty())
    }

    fn parts(&self) -> impl Iterator<Item = &Deltas> {
        self.own.iter().chain(&self.shared).map(|d| &**d)
    }
}
