use std::collections::BTreeMap;

use lateen_api::mesh_config::providers::Provider;
use lateen_api::telemetry::{
    IstioMetric, MetricMatch, MetricSelector, MetricsOverrides, TagOperation, TelemetrySpec, WorkloadMode,
};

use super::Side;
use crate::Settings;

/// What is done to Istio's metrics on one side.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metrics {
    /// Whether they are not made at all.
    pub disabled: bool,
    /// Changes to single metrics, by Istio's names without `istio_`; the empty name is for all.
    pub changes: BTreeMap<String, MetricChange>,
}

/// What is done to a metric.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MetricChange {
    /// Whether it is left out; `None` says nothing about it.
    pub drop: Option<bool>,
    /// What is done to its labels.
    pub tags: BTreeMap<String, TagChange>,
}

/// What is done to a label.
#[derive(Clone, Debug, PartialEq)]
pub enum TagChange {
    /// It is left out.
    Remove,
    /// It has the value of this CEL expression.
    Set(String),
}

/// The metrics of one side. Only Prometheus is a provider that a proxy serves by itself.
///
/// Source: Istio, Telemetry `metrics`: later overrides win over earlier ones; an override without `metric` is for all.
pub(super) fn effective(specs: &[&TelemetrySpec], settings: &Settings, side: Side) -> Metrics {
    let is_prometheus = |name: &str| {
        let known = settings.extension_providers.iter().find(|p| p.name == name);
        known.map_or(name == "prometheus", |p| matches!(p.provider, Some(Provider::Prometheus(_))))
    };
    let mut metrics = Metrics::default();
    let named = settings.default_metrics.iter().map(|name| &**name);
    metrics.disabled = !settings.default_metrics.is_empty() && !{ named }.any(is_prometheus);
    for entry in specs.iter().flat_map(|spec| &spec.metrics) {
        if !entry.providers.is_empty() {
            if !entry.providers.iter().any(|p| is_prometheus(&p.name)) {
                continue;
            }
            metrics.disabled = false;
        }
        for change in entry.overrides.iter().filter(|o| is_for(o.r#match.as_ref(), side)) {
            apply(&mut metrics, change);
        }
    }
    let everything = metrics.changes.get("").is_some_and(|all| all.drop == Some(true));
    metrics.disabled |= everything && metrics.changes.values().all(|c| c.drop != Some(false));
    metrics
}

fn is_for(selector: Option<&MetricSelector>, side: Side) -> bool {
    match selector.map(|s| s.mode).unwrap_or_default() {
        WorkloadMode::ClientAndServer => true,
        WorkloadMode::Client => side == Side::Client,
        WorkloadMode::Server => side == Side::Server,
    }
}

fn apply(metrics: &mut Metrics, change: &MetricsOverrides) {
    let name = match change.r#match.as_ref().and_then(|m| m.metric_match.as_ref()) {
        None => String::new(),
        Some(MetricMatch::Metric(metric)) => metric_name(*metric).to_owned(),
        Some(MetricMatch::CustomMetric(name)) => name.strip_prefix("istio_").unwrap_or(name).to_owned(),
    };
    let tags: Vec<(String, TagChange)> = change
        .tag_overrides
        .iter()
        .map(|(tag, change)| match change.operation {
            TagOperation::Remove => (tag.clone(), TagChange::Remove),
            TagOperation::Upsert => (tag.clone(), TagChange::Set(change.value.clone())),
        })
        .collect();
    if name.is_empty() {
        // What is said of all metrics counts for those that were named before, too.
        for known in metrics.changes.values_mut() {
            known.drop = change.disabled.or(known.drop);
            known.tags.extend(tags.iter().cloned());
        }
    }
    let general = metrics.changes.get("").cloned().unwrap_or_default();
    let entry = metrics.changes.entry(name).or_insert(general);
    entry.drop = change.disabled.or(entry.drop);
    entry.tags.extend(tags);
}

/// The name of a standard metric, as the filter that makes it knows it.
fn metric_name(metric: IstioMetric) -> &'static str {
    match metric {
        IstioMetric::AllMetrics => "",
        IstioMetric::RequestCount => "requests_total",
        IstioMetric::RequestDuration => "request_duration_milliseconds",
        IstioMetric::RequestSize => "request_bytes",
        IstioMetric::ResponseSize => "response_bytes",
        IstioMetric::TcpOpenedConnections => "tcp_connections_opened_total",
        IstioMetric::TcpClosedConnections => "tcp_connections_closed_total",
        IstioMetric::TcpSentBytes => "tcp_sent_bytes_total",
        IstioMetric::TcpReceivedBytes => "tcp_received_bytes_total",
        IstioMetric::GrpcRequestMessages => "request_messages_total",
        IstioMetric::GrpcResponseMessages => "response_messages_total",
    }
}

/// Whether a CEL expression is nothing but a text without escapes, which needs no evaluation.
pub fn is_text(expression: &str) -> bool {
    let text = expression.trim();
    let Some(mark) = text.chars().next().filter(|c| matches!(c, '"' | '\'')) else { return false };
    let inner = text.strip_prefix(mark).and_then(|rest| rest.strip_suffix(mark));
    inner.is_some_and(|inner| !inner.contains([mark, '\\']))
}
