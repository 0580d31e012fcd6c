//! Prometheus' text format, as Envoy writes it: `envoy_` before names, dots as underscores.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::{Kind, Metric};

/// Writes values, grouped by name.
pub fn write(metrics: &[Metric], out: &mut String) {
    let mut groups: BTreeMap<String, Vec<&Metric>> = BTreeMap::new();
    for metric in metrics {
        groups.entry(name(&metric.base)).or_default().push(metric);
    }
    for (name, metrics) in groups {
        let kind = match metrics[0].kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        // Writing to a string cannot fail.
        let _ = writeln!(out, "# TYPE {name} {kind}");
        for metric in metrics {
            let mut labels = String::new();
            for (index, (label, value)) in metric.labels.iter().enumerate() {
                if index > 0 {
                    labels.push(',');
                }
                let _ = write!(labels, "{label}=\"");
                escape(value, &mut labels);
                labels.push('"');
            }
            match &metric.histogram {
                Some(total) => total.write(&name, &labels, out),
                None => drop(writeln!(out, "{name}{{{labels}}} {}", metric.value)),
            }
        }
    }
}

fn name(base: &str) -> String {
    let mut name = String::with_capacity(base.len() + 6);
    name.push_str("envoy_");
    name.extend(base.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }));
    name
}

/// Escapes a label's value.
pub(super) fn escape(value: &str, out: &mut String) {
    for c in value.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            c => out.push(c),
        }
    }
}
