use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use lateen_api::networking::envoy_filter::{ApplyTo, EnvoyFilterSpec};

use crate::reach::Reach;
use crate::{Labels, Meta};

/// An EnvoyFilter.
#[derive(Clone, Debug, PartialEq)]
pub struct EnvoyFilter {
    /// Name, namespace and age.
    pub meta: Meta,
    /// What it says.
    pub spec: EnvoyFilterSpec,
    reach: Reach,
}

impl EnvoyFilter {
    pub(crate) fn new(meta: Meta, spec: EnvoyFilterSpec) -> EnvoyFilter {
        let selector = spec.workload_selector.as_ref().map(|s| &s.labels);
        let reach = Reach::new(selector, spec.target_refs.iter());
        EnvoyFilter { meta, spec, reach }
    }

    /// The full name of the message that patches of a kind have as value.
    pub const fn message_name(apply_to: ApplyTo) -> Option<&'static str> {
        Some(match apply_to {
            ApplyTo::Invalid => return None,
            ApplyTo::Listener => "envoy.config.listener.v3.Listener",
            ApplyTo::FilterChain => "envoy.config.listener.v3.FilterChain",
            ApplyTo::ListenerFilter => "envoy.config.listener.v3.ListenerFilter",
            ApplyTo::NetworkFilter => "envoy.config.listener.v3.Filter",
            ApplyTo::HttpFilter => "envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter",
            ApplyTo::RouteConfiguration => "envoy.config.route.v3.RouteConfiguration",
            ApplyTo::VirtualHost => "envoy.config.route.v3.VirtualHost",
            ApplyTo::HttpRoute => "envoy.config.route.v3.Route",
            ApplyTo::Cluster => "envoy.config.cluster.v3.Cluster",
            ApplyTo::ExtensionConfig => "envoy.config.core.v3.TypedExtensionConfig",
            ApplyTo::Bootstrap => "envoy.config.bootstrap.v3.Bootstrap",
        })
    }
}

/// All EnvoyFilters by namespace.
#[derive(Debug, Default)]
pub struct EnvoyFilters {
    by_namespace: HashMap<Arc<str>, Vec<Arc<EnvoyFilter>>>,
    root_namespace: Arc<str>,
    /// Keys of workload labels that any EnvoyFilter selects by.
    pub selector_labels: BTreeSet<String>,
}

impl EnvoyFilters {
    pub(crate) fn index<'a>(all: impl Iterator<Item = &'a Arc<EnvoyFilter>>, root: &Arc<str>) -> Self {
        let mut index = Self { root_namespace: root.clone(), ..Self::default() };
        for filter in all {
            index.selector_labels.extend(filter.reach.label_keys().map(str::to_owned));
            index.by_namespace.entry(filter.meta.namespace.clone()).or_default().push(filter.clone());
        }
        index
    }

    /// Every EnvoyFilter, in no order.
    pub fn all(&self) -> impl Iterator<Item = &Arc<EnvoyFilter>> {
        self.by_namespace.values().flatten()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.by_namespace.is_empty()
    }

    /// The EnvoyFilters of a workload in the order in which they are applied.
    ///
    /// Source: Istio, EnvoyFilter `priority` and "patches in the root namespace are applied first": by priority, then
    /// the root namespace's before the workload's, then oldest first.
    pub fn of_workload(&self, namespace: &str, labels: &Labels) -> Vec<Arc<EnvoyFilter>> {
        let root = &*self.root_namespace;
        let of = |home: &str| self.by_namespace.get(home).into_iter().flatten();
        let all = of(namespace).chain(of(root).filter(|_| root != namespace));
        let applies =
            |f: &&Arc<EnvoyFilter>| f.reach.level(&f.meta.namespace, root, namespace, labels).is_some();
        let mut found: Vec<Arc<EnvoyFilter>> = all.filter(applies).cloned().collect();
        let rank = |f: &EnvoyFilter| (f.spec.priority, &*f.meta.namespace != root);
        found.sort_by(|a, b| rank(a).cmp(&rank(b)).then_with(|| a.meta.by_age(&b.meta)));
        found
    }
}
