//! What the controllers know of one kind: fed by a watch, and by their own writes.
//!
//! A controller that has just created a pod must see it at its next look, before the watch tells of it, or it would
//! create another. So every answer to a write is put into the store too, and the older of two versions is dropped.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use kube::{Resource, ResourceExt};
use tokio::sync::watch;

/// Namespace and name; the namespace is empty for kinds without one.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) struct Key {
    pub(crate) namespace: String,
    pub(crate) name: String,
}

impl Key {
    pub(crate) fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }

    pub(crate) fn of<K: Resource>(object: &K) -> Self {
        Self::new(object.namespace().unwrap_or_default(), object.name_any())
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            f.write_str(&self.name)
        } else {
            write!(f, "{}/{}", self.namespace, self.name)
        }
    }
}

/// An indexed copy of all objects of a kind.
pub(crate) struct Store<K> {
    objects: RwLock<BTreeMap<Key, Arc<K>>>,
    synced: watch::Sender<bool>,
}

impl<K> Default for Store<K> {
    fn default() -> Self {
        Self { objects: RwLock::default(), synced: watch::Sender::new(false) }
    }
}

/// What an object was before and is now.
pub(crate) struct Change<K> {
    pub(crate) old: Option<Arc<K>>,
    pub(crate) new: Option<Arc<K>>,
}

impl<K: Resource> Store<K> {
    /// Takes an object in, unless a later version is known.
    pub(crate) fn apply(&self, object: K) -> Option<Change<K>> {
        let key = Key::of(&object);
        let object = Arc::new(object);
        let mut objects = self.objects.write().unwrap_or_else(PoisonError::into_inner);
        let old = objects.get(&key).cloned();
        if old.as_ref().is_some_and(|old| version(&**old) > version(&*object)) {
            return None;
        }
        objects.insert(key, Arc::clone(&object));
        Some(Change { old, new: Some(object) })
    }

    /// Notes that an object is ending, if it is still known.
    pub(crate) fn ending(&self, object: K) {
        let key = Key::of(&object);
        let mut objects = self.objects.write().unwrap_or_else(PoisonError::into_inner);
        let known = objects.get(&key).is_some_and(|known| {
            known.meta().uid == object.meta().uid && version(&**known) <= version(&object)
        });
        if known {
            objects.insert(key, Arc::new(object));
        }
    }

    /// Drops an object that was deleted, unless it has been created anew since.
    pub(crate) fn remove(&self, object: &K) -> Option<Change<K>> {
        let key = Key::of(object);
        let mut objects = self.objects.write().unwrap_or_else(PoisonError::into_inner);
        let old = objects.get(&key)?;
        if old.meta().uid != object.meta().uid {
            return None;
        }
        Some(Change { old: objects.remove(&key), new: None })
    }

    /// Drops what a complete list did not contain.
    pub(crate) fn retain(&self, listed: &BTreeSet<Key>) -> Vec<Change<K>> {
        let mut objects = self.objects.write().unwrap_or_else(PoisonError::into_inner);
        let gone: Vec<Key> = objects.keys().filter(|key| !listed.contains(*key)).cloned().collect();
        gone.into_iter().map(|key| Change { old: objects.remove(&key), new: None }).collect()
    }

    pub(crate) fn get(&self, key: &Key) -> Option<Arc<K>> {
        self.read().get(key).cloned()
    }

    /// All objects of a namespace, by name.
    pub(crate) fn in_namespace(&self, namespace: &str) -> Vec<Arc<K>> {
        let from = Key::new(namespace, "");
        self.read()
            .range(from..)
            .take_while(|(key, _)| key.namespace == namespace)
            .map(|(_, o)| o.clone())
            .collect()
    }

    pub(crate) fn all(&self) -> Vec<Arc<K>> {
        self.read().values().cloned().collect()
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, BTreeMap<Key, Arc<K>>> {
        self.objects.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says that the first complete list is in.
    pub(crate) fn set_synced(&self) {
        self.synced.send_replace(true);
    }

    /// Waits for the first complete list.
    pub(crate) async fn synced(&self) {
        // The sender lives in this store, so the channel cannot be closed while it is borrowed.
        let _ = self.synced.subscribe().wait_for(|synced| *synced).await;
    }
}

/// Kubernetes promises since 1.35 that versions of one kind can be compared as whole numbers.
fn version<K: Resource>(object: &K) -> u64 {
    object.meta().resource_version.as_deref().and_then(|text| text.parse().ok()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::Pod;

    fn pod(name: &str, uid: &str, version: &str) -> Pod {
        serde_json::from_value(serde_json::json!({
            "metadata": { "namespace": "a", "name": name, "uid": uid, "resourceVersion": version },
        }))
        .unwrap()
    }

    #[test]
    fn an_older_version_never_replaces_a_newer_one() {
        let store = Store::default();
        assert!(store.apply(pod("p", "1", "10")).is_some());
        assert!(store.apply(pod("p", "1", "9")).is_none());
        assert_eq!(store.get(&Key::new("a", "p")).unwrap().resource_version().as_deref(), Some("10"));
    }

    #[test]
    fn a_late_deletion_does_not_remove_the_successor() {
        let store = Store::default();
        store.apply(pod("p", "2", "12"));
        assert!(store.remove(&pod("p", "1", "11")).is_none());
        assert_eq!(store.all().len(), 1);
    }

    #[test]
    fn what_is_gone_does_not_come_back_as_ending() {
        let store = Store::default();
        store.apply(pod("p", "1", "10"));
        store.ending(pod("p", "1", "11"));
        assert_eq!(store.all()[0].resource_version().as_deref(), Some("11"));
        assert!(store.remove(&pod("p", "1", "11")).is_some(), "the watch still tells of the end");
        store.ending(pod("p", "1", "11"));
        assert!(store.all().is_empty());
    }

    #[test]
    fn a_namespace_is_listed_without_its_neighbours() {
        let store = Store::default();
        store.apply(pod("p", "1", "1"));
        store.apply(pod("q", "2", "2"));
        let mut other = pod("r", "3", "3");
        other.metadata.namespace = Some("ab".into());
        store.apply(other);
        assert_eq!(store.in_namespace("a").len(), 2);
        assert_eq!(store.retain(&BTreeSet::from([Key::new("a", "q")])).len(), 2);
    }
}
