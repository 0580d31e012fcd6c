use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use lateen_api::networking::destination_rule::DestinationRuleSpec;

use crate::{Labels, Meta, ServiceId, Visibility, hostname, labels, service};

/// A DestinationRule whose host is resolved.
#[derive(Clone, Debug, PartialEq)]
pub struct DestinationRule {
    /// Name, namespace and age of the object; of the oldest, where several were merged.
    pub meta: Meta,
    /// The host, short names resolved.
    pub host: Arc<str>,
    /// To which namespaces it is visible; `None` is the mesh's default.
    pub export_to: Option<Visibility>,
    /// The clients it applies to; `None` is all.
    pub workload_selector: Option<Labels>,
    /// Policy and subsets.
    pub spec: DestinationRuleSpec,
}

impl DestinationRule {
    pub(crate) fn resolve(meta: Meta, spec: DestinationRuleSpec, domain: &str) -> DestinationRule {
        DestinationRule {
            host: hostname::qualify(&spec.host, &meta.namespace, domain).into(),
            export_to: Visibility::parse(&spec.export_to, &meta.namespace),
            workload_selector: spec.workload_selector.as_ref().map(|s| s.match_labels.clone()),
            meta,
            spec,
        }
    }

    /// Whether clients of a namespace see the rule (`exportTo`, or what holds without it).
    pub fn visible_to(&self, client_namespace: &str, default: &Visibility) -> bool {
        service::visible(self.export_to.as_ref(), &self.meta.namespace, client_namespace, default)
    }

    /// Takes in a younger rule for the same host: its subsets are added, its policy counts where there is none. How many
    /// of its subsets are there already.
    fn absorb(&mut self, younger: &DestinationRule) -> usize {
        let mut duplicates = 0;
        for subset in &younger.spec.subsets {
            if self.spec.subsets.iter().any(|known| known.name == subset.name) {
                duplicates += 1;
            } else {
                self.spec.subsets.push(subset.clone());
            }
        }
        if self.spec.traffic_policy.is_none() {
            self.spec.traffic_policy = younger.spec.traffic_policy.clone();
        }
        duplicates
    }
}

/// Rules of one namespace: by exact host, and wildcards from the most specific to the least.
#[derive(Debug, Default)]
struct OfNamespace {
    exact: HashMap<Arc<str>, Vec<Arc<DestinationRule>>>,
    wildcard: Vec<(Arc<str>, Vec<Arc<DestinationRule>>)>,
}

/// All DestinationRules, by namespace and host.
#[derive(Debug, Default)]
pub struct DestinationRules {
    by_namespace: HashMap<Arc<str>, OfNamespace>,
    root_namespace: Arc<str>,
    /// Keys of workload labels that any rule selects its clients by.
    pub selector_labels: BTreeSet<String>,
    /// Whether any rule may treat clients by where they are: it has outlier detection or locality settings.
    pub by_locality: bool,
    /// Keys of the labels that any rule's `failoverPriority` compares.
    pub failover_labels: BTreeSet<String>,
    /// Subsets that several rules for one host define.
    pub duplicate_subsets: usize,
    default: Visibility,
}

impl DestinationRules {
    /// Indexes resolved rules. Rules of one namespace for the same host and the same clients become one, as Istio
    /// does: subsets are added up, and the oldest policy counts.
    pub(crate) fn index<'a>(
        all: impl Iterator<Item = &'a Arc<DestinationRule>>,
        root_namespace: &Arc<str>,
        default: &Visibility,
    ) -> Self {
        let mut sorted: Vec<&Arc<DestinationRule>> = all.collect();
        sorted.sort_by(|a, b| a.meta.by_age(&b.meta));
        let mut index =
            Self { root_namespace: root_namespace.clone(), default: default.clone(), ..Self::default() };
        for rule in sorted {
            index.selector_labels.extend(rule.workload_selector.iter().flat_map(|s| s.keys().cloned()));
            index.note_localities(&rule.spec);
            let of = index.by_namespace.entry(rule.meta.namespace.clone()).or_default();
            let list = if !hostname::is_wildcard(&rule.host) {
                of.exact.entry(rule.host.clone()).or_default()
            } else {
                let known = of.wildcard.iter().position(|(host, _)| *host == rule.host);
                let at = known.unwrap_or_else(|| {
                    of.wildcard.push((rule.host.clone(), Vec::new()));
                    of.wildcard.len() - 1
                });
                &mut of.wildcard[at].1
            };
            let same = |r: &&mut Arc<DestinationRule>| {
                r.workload_selector == rule.workload_selector && r.export_to == rule.export_to
            };
            match list.iter_mut().find(same) {
                Some(older) => index.duplicate_subsets += Arc::make_mut(older).absorb(rule),
                None => list.push(rule.clone()),
            }
        }
        for of in index.by_namespace.values_mut() {
            of.wildcard.sort_by(|(a, _), (b, _)| hostname::by_specificity(a, b));
        }
        index
    }

    fn note_localities(&mut self, spec: &DestinationRuleSpec) {
        let subsets = spec.subsets.iter().filter_map(|s| s.traffic_policy.as_ref());
        for policy in spec.traffic_policy.iter().chain(subsets) {
            let ports = &policy.port_level_settings;
            let balancers =
                policy.load_balancer.iter().chain(ports.iter().filter_map(|p| p.load_balancer.as_ref()));
            let outliers =
                policy.outlier_detection.is_some() || ports.iter().any(|p| p.outlier_detection.is_some());
            self.by_locality |= outliers;
            for setting in balancers.filter_map(|b| b.locality_lb_setting.as_ref()) {
                self.by_locality = true;
                // `key` compares the two ends' own values, `key=value` names one.
                let keys =
                    setting.failover_priority.iter().map(|p| p.split_once('=').map_or(&**p, |(k, _)| k));
                self.failover_labels.extend(keys.map(str::to_owned));
            }
        }
    }

    /// Every rule, in no order.
    pub fn all(&self) -> impl Iterator<Item = &Arc<DestinationRule>> {
        self.by_namespace
            .values()
            .flat_map(|of| of.exact.values().flatten().chain(of.wildcard.iter().flat_map(|(_, list)| list)))
    }

    /// The rule that applies when a client calls a service: that of the client's namespace, else that of the
    /// service's, else that of the root namespace.
    ///
    /// Source: Istio, "Destination rule lookup path".
    pub fn lookup(
        &self,
        namespace: &str,
        labels: &Labels,
        service: &ServiceId,
    ) -> Option<&Arc<DestinationRule>> {
        self.in_namespace(namespace, namespace, labels, &service.host)
            .or_else(|| self.in_namespace(&service.namespace, namespace, labels, &service.host))
            .or_else(|| self.in_namespace(&self.root_namespace, namespace, labels, &service.host))
    }

    fn in_namespace(
        &self,
        home: &str,
        client: &str,
        labels: &Labels,
        host: &str,
    ) -> Option<&Arc<DestinationRule>> {
        let of = self.by_namespace.get(home)?;
        let usable = |rule: &&Arc<DestinationRule>| {
            let selected = match &rule.workload_selector {
                // A selector works within its own namespace only.
                Some(selector) => home == client && labels::selects(selector, labels),
                None => true,
            };
            selected && (home == client || rule.visible_to(client, &self.default))
        };
        let best = |list: &'_ [Arc<DestinationRule>]| -> Option<usize> {
            let at = |selective: bool| {
                list.iter().position(|r| r.workload_selector.is_some() == selective && usable(&r))
            };
            at(true).or_else(|| at(false))
        };
        if let Some(list) = of.exact.get(host)
            && let Some(at) = best(list)
        {
            return list.get(at);
        }
        let wide = of.wildcard.iter().filter(|(pattern, _)| hostname::subset_of(host, pattern));
        wide.into_iter().find_map(|(_, list)| list.get(best(list)?))
    }
}
