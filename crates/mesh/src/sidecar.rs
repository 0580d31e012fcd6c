use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use lateen_api::networking::sidecar::SidecarSpec;

use crate::{Labels, Meta, labels};

/// A Sidecar.
#[derive(Clone, Debug, PartialEq)]
pub struct Sidecar {
    /// Name, namespace and age.
    pub meta: Meta,
    /// What it says.
    pub spec: SidecarSpec,
}

impl Sidecar {
    fn selector(&self) -> Option<&Labels> {
        self.spec.workload_selector.as_ref().map(|s| &s.labels).filter(|labels| !labels.is_empty())
    }
}

/// All Sidecars by namespace, oldest first.
#[derive(Debug, Default)]
pub struct Sidecars {
    by_namespace: HashMap<Arc<str>, Vec<Arc<Sidecar>>>,
    root_namespace: Arc<str>,
    /// Keys of workload labels that any Sidecar selects by.
    pub selector_labels: BTreeSet<String>,
}

impl Sidecars {
    pub(crate) fn index<'a>(all: impl Iterator<Item = &'a Arc<Sidecar>>, root_namespace: &Arc<str>) -> Self {
        let mut index = Self { root_namespace: root_namespace.clone(), ..Self::default() };
        let mut all: Vec<_> = all.cloned().collect();
        all.sort_by(|a, b| a.meta.by_age(&b.meta));
        for sidecar in all {
            index.selector_labels.extend(sidecar.selector().into_iter().flat_map(|s| s.keys().cloned()));
            index.by_namespace.entry(sidecar.meta.namespace.clone()).or_default().push(sidecar);
        }
        index
    }

    /// A Sidecar by its namespace and name.
    pub fn get(&self, namespace: &str, name: &str) -> Option<&Arc<Sidecar>> {
        self.by_namespace.get(namespace)?.iter().find(|s| &*s.meta.name == name)
    }

    /// The Sidecars of each namespace that are for all its workloads, oldest first.
    pub fn without_selector(&self) -> impl Iterator<Item = (&Arc<str>, Vec<&Arc<Sidecar>>)> {
        let general = self.by_namespace.iter();
        general.map(|(namespace, list)| {
            (namespace, list.iter().filter(|sidecar| sidecar.selector().is_none()).collect())
        })
    }

    /// The Sidecar for a workload: one of its namespace that selects it, else its namespace's without a selector,
    /// else the root namespace's without a selector. Of several the oldest.
    pub fn of_workload(&self, namespace: &str, labels: &Labels) -> Option<&Arc<Sidecar>> {
        let local = self.by_namespace.get(namespace).map_or(&[][..], Vec::as_slice);
        let root = self.by_namespace.get(&self.root_namespace).map_or(&[][..], Vec::as_slice);
        local
            .iter()
            .find(|s| s.selector().is_some_and(|selector| labels::selects(selector, labels)))
            .or_else(|| local.iter().find(|s| s.selector().is_none()))
            .or_else(|| root.iter().find(|s| s.selector().is_none()))
    }
}
