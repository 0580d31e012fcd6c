//! Which resources others refer to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::apply::names;

/// References from clusters to endpoints and from listeners to routes.
#[derive(Debug, Default)]
pub(super) struct Interest {
    clusters: BTreeMap<String, Arc<str>>,
    listeners: BTreeMap<String, Vec<Arc<str>>>,
}

impl Interest {
    /// A cluster takes its endpoints from a service, or no longer does.
    pub(super) fn cluster(&mut self, name: &str, service: Option<Arc<str>>) {
        match service {
            Some(service) => drop(self.clusters.insert(name.to_owned(), service)),
            None => drop(self.clusters.remove(name)),
        }
    }

    /// A listener takes route configurations, or no longer does.
    pub(super) fn listener(&mut self, name: &str, routes: Vec<Arc<str>>) {
        if routes.is_empty() {
            self.listeners.remove(name);
        } else {
            self.listeners.insert(name.to_owned(), routes);
        }
    }

    /// EDS names.
    pub(super) fn endpoints(&self) -> BTreeSet<String> {
        names(self.clusters.values())
    }

    /// RDS names.
    pub(super) fn routes(&self) -> BTreeSet<String> {
        names(self.listeners.values().flatten())
    }
}
