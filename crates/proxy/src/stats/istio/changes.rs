//! What a Telemetry changes about the standard metrics: applied where series are written, so that requests pay nothing.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use lateen_xds::istio::StatsConfig;

use crate::stats::prometheus::escape;

/// Changes to the metrics of one direction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes(BTreeMap<String, Change>);

/// Changes to a metric.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Change {
    drop: bool,
    remove: BTreeSet<String>,
    set: BTreeMap<String, String>,
}

impl Changes {
    /// Reads the configuration of `istio.stats`.
    ///
    /// # Errors
    /// The label (`metrics[0].dimensions["x"]`) whose value is a CEL expression other than a quoted text.
    pub fn read(config: &StatsConfig) -> Result<Changes, String> {
        let mut changes: BTreeMap<String, Change> = BTreeMap::new();
        for (at, metric) in config.metrics.iter().enumerate() {
            let change = changes.entry(metric.name.clone()).or_default();
            change.drop = metric.drop;
            change.remove.extend(metric.tags_to_remove.iter().cloned());
            for (label, expression) in &metric.dimensions {
                let text =
                    literal(expression).ok_or_else(|| format!("metrics[{at}].dimensions[{label:?}]"))?;
                change.remove.remove(label);
                change.set.insert(label.clone(), text.to_owned());
            }
        }
        Ok(Changes(changes))
    }

    /// Whether nothing is changed.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The labels of a series of a metric; `None` when the metric is left out. What is said of a metric by name counts
    /// more than what is said of all.
    pub(super) fn labels<'a>(&self, metric: &str, labels: &'a str) -> Option<Cow<'a, str>> {
        let general = self.0.get("");
        let own = self.0.get(metric.strip_prefix("istio_").unwrap_or(metric));
        if own.or(general).is_some_and(|change| change.drop) {
            return None;
        }
        if own.is_none() && general.is_none() {
            return Some(Cow::Borrowed(labels));
        }
        let change = |label: &str| {
            own.into_iter().chain(general).find_map(|change| match change.set.get(label) {
                Some(text) => Some(Some(text.as_str())),
                None => change.remove.contains(label).then_some(None),
            })
        };
        let mut out = String::with_capacity(labels.len());
        let mut push = |label: &str, escaped: &str| {
            let comma = if out.is_empty() { "" } else { "," };
            let _ = write!(out, "{comma}{label}=\"{escaped}\"");
        };
        let mut known = BTreeSet::new();
        for (label, escaped) in pairs(labels) {
            known.insert(label);
            match change(label) {
                None => push(label, escaped),
                Some(None) => {}
                Some(Some(text)) => push(label, &escaped_text(text)),
            }
        }
        for (label, text) in own.into_iter().chain(general).flat_map(|change| &change.set) {
            if known.insert(label) {
                push(label, &escaped_text(text));
            }
        }
        Some(Cow::Owned(out))
    }
}

fn escaped_text(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    escape(text, &mut out);
    out
}

/// The text of a CEL expression that is nothing but a text without escapes.
fn literal(expression: &str) -> Option<&str> {
    let text = expression.trim();
    let mark = text.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    let inner = text.strip_prefix(mark)?.strip_suffix(mark)?;
    (!inner.contains([mark, '\\'])).then_some(inner)
}

/// Labels with their values, still escaped, of `a="b",c="d"`.
fn pairs(labels: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut rest = labels;
    std::iter::from_fn(move || {
        let (label, behind) = rest.split_once("=\"")?;
        let mut escaped = false;
        let end = behind.find(|c| {
            let ends = c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            ends
        })?;
        rest = behind[end + 1..].trim_start_matches(',');
        Some((label, &behind[..end]))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use lateen_xds::istio::MetricConfig;

    fn changes(metrics: Vec<MetricConfig>) -> Changes {
        Changes::read(&StatsConfig { metrics }).unwrap()
    }

    fn metric(name: &str) -> MetricConfig {
        MetricConfig { name: name.into(), ..MetricConfig::default() }
    }

    const LABELS: &str = "reporter=\"source\",app=\"a \\\"b\\\", c\",code=\"200\"";

    #[test]
    fn labels_are_removed_changed_and_added() {
        let change = MetricConfig {
            tags_to_remove: vec!["code".into()],
            dimensions: [("app".into(), "'x\"y'".into()), ("team".into(), "\"core\"".into())].into(),
            ..metric("requests_total")
        };
        let changes = changes(vec![change]);
        assert_eq!(
            changes.labels("istio_requests_total", LABELS).unwrap(),
            "reporter=\"source\",app=\"x\\\"y\",team=\"core\""
        );
        assert_eq!(changes.labels("istio_request_bytes", LABELS).unwrap(), LABELS);
    }

    #[test]
    fn a_metric_by_name_counts_more_than_all() {
        let dropped = MetricConfig { drop: true, ..metric("") };
        let changes = changes(vec![dropped, metric("requests_total")]);
        assert_eq!(changes.labels("istio_request_bytes", LABELS), None);
        assert_eq!(changes.labels("istio_requests_total", LABELS).unwrap(), LABELS);
    }

    #[test]
    fn expressions_are_refused_by_their_place() {
        let dimensions = [("host".to_owned(), "request.host".to_owned())].into();
        let config = StatsConfig { metrics: vec![MetricConfig { dimensions, ..metric("") }] };
        assert_eq!(Changes::read(&config), Err("metrics[0].dimensions[\"host\"]".to_owned()));
    }
}
