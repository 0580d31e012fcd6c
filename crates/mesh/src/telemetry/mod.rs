//! Telemetry: what is logged and measured, worked out for each workload.

pub mod condition;
mod logging;
mod metrics;
pub mod tracing;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use lateen_api::telemetry::{SideSelector, TelemetrySpec, WorkloadMode};

pub use condition::Condition;
pub use logging::{AccessLog, LogFormat};
pub use metrics::{MetricChange, Metrics, TagChange, is_text};
pub use tracing::Tracing;

use crate::reach::{Level, Reach};
use crate::{Labels, Meta, Settings};

/// On which side of a request a proxy stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// Where requests are sent: outbound listeners, and gateways.
    Client,
    /// Where they are received.
    Server,
}

/// What is logged and measured on one side.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observed {
    /// The access logs.
    pub logs: Vec<AccessLog>,
    /// The metrics.
    pub metrics: Metrics,
    /// The traces; none: requests are not traced.
    pub tracing: Option<Tracing>,
}

impl Observed {
    /// What the mesh's configuration says where no Telemetry does: the same on both sides.
    pub fn of_mesh(settings: &Settings) -> Observed {
        Observed::new(&[], settings, Side::Client)
    }

    fn new(specs: &[&TelemetrySpec], settings: &Settings, side: Side) -> Observed {
        Observed {
            logs: logging::effective(specs, settings, side),
            metrics: metrics::effective(specs, settings, side),
            tracing: tracing::effective(specs, settings, side),
        }
    }
}

/// Whether an entry is for a side; one that does not say is for both.
fn is_for(selector: Option<&SideSelector>, side: Side) -> bool {
    match (selector.map(|s| s.mode).unwrap_or_default(), side) {
        (WorkloadMode::ClientAndServer, _) => true,
        (WorkloadMode::Client, side) => side == Side::Client,
        (WorkloadMode::Server, side) => side == Side::Server,
    }
}

/// A Telemetry.
#[derive(Clone, Debug, PartialEq)]
pub struct Telemetry {
    /// Name, namespace and age.
    pub meta: Meta,
    /// What it says.
    pub spec: TelemetrySpec,
    reach: Reach,
}

impl Telemetry {
    pub(crate) fn new(meta: Meta, spec: TelemetrySpec) -> Telemetry {
        let references = spec.target_ref.iter().chain(&spec.target_refs);
        let reach = Reach::new(spec.selector.as_ref().map(|s| &s.match_labels), references);
        Telemetry { meta, spec, reach }
    }
}

/// All Telemetries by namespace, oldest first.
#[derive(Debug, Default)]
pub struct Telemetries {
    by_namespace: HashMap<Arc<str>, Vec<Arc<Telemetry>>>,
    root_namespace: Arc<str>,
    /// Keys of workload labels that any Telemetry selects by.
    pub selector_labels: BTreeSet<String>,
}

impl Telemetries {
    pub(crate) fn index<'a>(
        all: impl Iterator<Item = &'a Arc<Telemetry>>,
        root_namespace: &Arc<str>,
    ) -> Self {
        let mut index = Self { root_namespace: root_namespace.clone(), ..Self::default() };
        let mut all: Vec<_> = all.cloned().collect();
        all.sort_by(|a, b| a.meta.by_age(&b.meta));
        for telemetry in all {
            index.selector_labels.extend(telemetry.reach.label_keys().map(str::to_owned));
            index.by_namespace.entry(telemetry.meta.namespace.clone()).or_default().push(telemetry);
        }
        index
    }

    /// Every Telemetry, in no order.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Telemetry>> {
        self.by_namespace.values().flatten()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.by_namespace.is_empty()
    }

    /// The Telemetries of a workload: the mesh's, the namespace's, then the workload's own; of each the oldest.
    ///
    /// Source: Istio, Telemetry: "mesh-level, namespace-level and workload-level", each overriding the one before.
    pub fn of_workload(&self, namespace: &str, labels: &Labels) -> Vec<Arc<Telemetry>> {
        let root = &*self.root_namespace;
        let of = |home: &str| self.by_namespace.get(home).into_iter().flatten();
        let mut found: Vec<(Level, &Arc<Telemetry>)> = Vec::new();
        for telemetry in of(namespace).chain(of(root).filter(|_| root != namespace)) {
            let level = telemetry.reach.level(&telemetry.meta.namespace, root, namespace, labels);
            if let Some(level) = level.filter(|level| !found.iter().any(|(known, _)| known == level)) {
                found.push((level, telemetry));
            }
        }
        found.sort_by_key(|(level, _)| *level);
        found.into_iter().map(|(_, telemetry)| telemetry.clone()).collect()
    }

    /// The settings with what these Telemetries change, for one side of the proxies that they apply to.
    pub fn apply(telemetries: &[Arc<Telemetry>], settings: &Settings, side: Side) -> Settings {
        let specs: Vec<&TelemetrySpec> = telemetries.iter().map(|t| &t.spec).collect();
        Settings { observed: Observed::new(&specs, settings, side), ..settings.clone() }
    }
}
