//! One value with its name in both notations.

use std::borrow::Cow;

/// Whether a value only grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It only grows.
    Counter,
    /// It goes up and down.
    Gauge,
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
    /// Whether it only grows.
    pub kind: Kind,
    /// The value.
    pub value: u64,
}

impl Metric {
    /// A value of the process without variable parts.
    pub fn plain(name: &str, kind: Kind, value: u64) -> Metric {
        Metric { name: name.to_owned(), base: name.to_owned(), labels: Vec::new(), kind, value }
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
        Metric { name: format!("{scope}.{of}.{counter}"), base: base.into_owned(), labels, kind, value }
    }
}

/// `upstream_rq_2xx` as `upstream_rq_` and `2`.
fn response_class(counter: &str) -> Option<(&str, &str)> {
    let rest = counter.strip_suffix("xx")?;
    let at = rest.len().checked_sub(1)?;
    rest.as_bytes()[at].is_ascii_digit().then(|| rest.split_at(at))
}
