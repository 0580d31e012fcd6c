//! The resources that are served now, by group and version; CRDs come and go.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::RwLock;

use super::{Resource, Version, builtin};

/// A resource in one of its versions.
#[derive(Clone)]
pub struct Served {
    /// The resource.
    pub resource: Arc<Resource>,
    /// Index of the version.
    pub index: usize,
}

impl Served {
    /// The version.
    pub fn version(&self) -> &Version {
        &self.resource.versions[self.index]
    }
}

/// The resources of one group and version.
pub type ByPlural = BTreeMap<Box<str>, Served>;

/// What is served at one time.
#[derive(Default)]
pub struct Snapshot {
    resources: Vec<Arc<Resource>>,
    by_version: BTreeMap<(Box<str>, Box<str>), ByPlural>,
    by_shard: HashMap<Box<str>, Arc<Resource>>,
}

impl Snapshot {
    fn of(resources: Vec<Arc<Resource>>) -> Self {
        let mut snapshot = Self::default();
        for resource in &resources {
            for (index, version) in resource.versions.iter().enumerate().filter(|(_, v)| v.served) {
                let served = Served { resource: resource.clone(), index };
                let key = (version.group.clone(), version.name.clone());
                snapshot.by_version.entry(key).or_default().insert(resource.plural.clone(), served);
            }
            snapshot.by_shard.insert((&*resource.shard).into(), resource.clone());
        }
        snapshot.resources = resources;
        snapshot
    }

    /// A resource by what stands in a path.
    pub fn find(&self, group: &str, version: &str, plural: &str) -> Option<Served> {
        self.by_version.get(&(group.into(), version.into()))?.get(plural).cloned()
    }

    /// A resource by its name in the store.
    pub fn by_shard(&self, shard: &str) -> Option<Arc<Resource>> {
        self.by_shard.get(shard).cloned()
    }

    /// Every resource.
    pub fn resources(&self) -> &[Arc<Resource>] {
        &self.resources
    }

    /// Groups with their versions, the preferred one first.
    pub fn groups(&self) -> BTreeMap<&str, Vec<&str>> {
        let mut groups: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (group, version) in self.by_version.keys() {
            groups.entry(group).or_default().push(version);
        }
        for versions in groups.values_mut() {
            versions.sort_by_key(|v| std::cmp::Reverse(priority(v)));
        }
        groups
    }

    /// The resources of a group and version.
    pub fn version(&self, group: &str, version: &str) -> Option<&ByPlural> {
        self.by_version.get(&(group.into(), version.into()))
    }
}

/// Kubernetes' order of versions: stable before beta before alpha, then by number.
pub fn priority(version: &str) -> (u8, u32, u32) {
    let parse = |rest: &str| -> Option<(u8, u32, u32)> {
        for (stage, word) in [(2, "beta"), (1, "alpha")] {
            if let Some((major, minor)) = rest.split_once(word) {
                return Some((stage, major.parse().ok()?, minor.parse().ok()?));
            }
        }
        Some((3, rest.parse().ok()?, 0))
    };
    version.strip_prefix('v').and_then(parse).unwrap_or_default()
}

/// The changing set of resources.
pub struct Catalog {
    current: RwLock<Arc<Snapshot>>,
}

impl Default for Catalog {
    fn default() -> Self {
        Self { current: RwLock::new(Arc::new(Snapshot::of(builtin::resources()))) }
    }
}

impl Catalog {
    /// What is served now.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.current.read().clone()
    }

    /// Adds or replaces a custom resource.
    pub fn insert(&self, resource: Arc<Resource>) {
        let mut current = self.current.write();
        let mut resources: Vec<_> =
            current.resources.iter().filter(|r| r.shard != resource.shard).cloned().collect();
        resources.push(resource);
        *current = Arc::new(Snapshot::of(resources));
    }

    /// Removes a custom resource.
    pub fn remove(&self, shard: &str) {
        let mut current = self.current.write();
        let resources =
            current.resources.iter().filter(|r| !r.custom || &*r.shard != shard).cloned().collect();
        *current = Arc::new(Snapshot::of(resources));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_groups_lead_to_the_stored_resource() {
        let snapshot = Catalog::default().snapshot();
        let old = snapshot.find("extensions", "v1beta1", "deployments").expect("served");
        assert_eq!(&*old.resource.shard, "apps/deployments");
        assert_eq!(&*old.version().api_version, "extensions/v1beta1");
        assert_eq!(snapshot.groups()["apps"], ["v1", "v1beta2", "v1beta1"]);
        assert_eq!(snapshot.groups()["autoscaling"][0], "v2");
    }
}
