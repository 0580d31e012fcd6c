//! One value with its name in both notations.

use std::borrow::Cow;

use super::histogram::Total;

/// Whether a value only grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It only grows.
    Counter,
    /// It goes up and down.
    Gauge,
    /// Values by their size.
    Histogram,
}

/// A value.
#[derive(Clone, Debug)]
pub struct Metric {
    /// Envoy's name with its variable parts, such as `cluster.a.upstream_rq_2xx`.
    pub name: String,
    /// The name without variable parts, such as `cluster.upstream_rq_xx`.
    pub base: String,
    /// The variable parts as labels, such as `envoy_cluster_name`.
    pub labels: Vec<(&'static str, String)>,
    /// What it is.
    pub kind: Kind,
    /// The value; of a histogram the number of values.
    pub value: u64,
    /// The values of a histogram.
    pub histogram: Option<Box<Total>>,
}

impl Metric {
    /// A value of the process without variable parts.
    pub fn plain(name: &str, kind: Kind, value: u64) -> Metric {
        let (name, base) = (name.to_owned(), name.to_owned());
        Metric { name, base, labels: Vec::new(), kind, value, histogram: None }
    }

    /// A histogram of one thing of a kind.
    pub fn histogram(scope: &str, label: &'static str, of: &str, name: &str, total: Total) -> Metric {
        Metric {
            name: format!("{scope}.{of}.{name}"),
            base: format!("{scope}.{name}"),
            labels: vec![(label, of.to_owned())],
            kind: Kind::Histogram,
            value: total.count(),
            histogram: Some(Box::new(total)),
        }
    }

    /// A value of one thing of a kind: `scope.of.counter`, with the thing as a label.
    pub fn scoped(scope: &str, label: &'static str, of: &str, counter: &str, value: u64) -> Metric {
        let kind = if counter.ends_with("_active") || counter == "lb_healthy_panic_active" {
            Kind::Gauge
        } else {
            Kind::Counter
        };
        let mut labels = vec![(label, of.to_owned())];
        let base: Cow<'_, str> = match response_class(counter) {
            Some((prefix, class)) => {
                labels.insert(0, ("envoy_response_code_class", class.to_owned()));
                format!("{scope}.{prefix}xx").into()
            }
            None => format!("{scope}.{counter}").into(),
        };
        Metric {
            name: format!("{scope}.{of}.{counter}"),
            base: base.into_owned(),
            labels,
            kind,
            value,
            histogram: None,
        }
    }
}

/// `upstream_rq_2xx` as `upstream_rq_` and `2`.
fn response_class(counter: &str) -> Option<(&str, &str)> {
    let rest = counter.strip_suffix("xx")?;
    let at = rest.len().checked_sub(1)?;
    rest.as_bytes()[at].is_ascii_digit().then(|| rest.split_at(at))
}
