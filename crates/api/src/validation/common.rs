//! Rules that several kinds share: ports, durations, labels, selectors, visibility.

use std::collections::{BTreeMap, BTreeSet};

use crate::networking::service_entry::WorkloadSelector;
use crate::wire::duration::Duration;
use crate::wire::report::Report;

/// A port: 1 to 65535.
pub fn port(number: u32) -> Result<(), String> {
    if (1..=65535).contains(&number) {
        return Ok(());
    }
    Err(format!("port number {number} must be in the range 1..65535"))
}

/// A duration of at least 1 ms in whole milliseconds.
pub fn duration(duration: Duration) -> Result<(), String> {
    if duration < Duration::from_millis(1) {
        return Err(format!("duration must be at least 1ms, not {duration}"));
    }
    if duration.nanos() % 1_000_000 != 0 {
        return Err(format!("only durations in whole milliseconds are supported, not {duration}"));
    }
    Ok(())
}

/// As [`duration`], and 0 is allowed: it switches the limit off.
pub fn duration_or_zero(value: Duration) -> Result<(), String> {
    if value == Duration::ZERO { Ok(()) } else { duration(value) }
}

/// Checks the duration in field `name`, where there is one.
pub fn duration_at(report: &mut Report, name: &str, value: Option<Duration>) {
    if let Some(value) = value {
        report.check_at(name, duration(value));
    }
}

/// Checks that the number in field `name` is not negative.
pub fn not_negative(report: &mut Report, name: &str, value: i32) {
    if value < 0 {
        report.error_at(name, format!("must not be negative, not {value}"));
    }
}

/// Whole percents: 0 to 100.
pub fn percent(value: i32) -> Result<(), String> {
    if (0..=100).contains(&value) {
        return Ok(());
    }
    Err(format!("percentage {value} is not in range 0..100"))
}

/// Percents with a fraction: 0, or 0.0001 to 100.
pub fn percentage(value: f64) -> Result<(), String> {
    if value == 0.0 || (0.0001..=100.0).contains(&value) {
        return Ok(());
    }
    Err(format!("percentage {value} is neither 0.0, nor in range [0.0001, 100.0]"))
}

/// Whether `text` is a DNS label (RFC 1123): letters, digits and inner hyphens, at most 63. Upper case is let pass,
/// as Istio does.
pub fn is_dns_label(text: &str) -> bool {
    let bytes = text.as_bytes();
    !bytes.is_empty()
        && bytes.len() <= 63
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'-')
        && bytes[0] != b'-'
        && bytes[bytes.len() - 1] != b'-'
}

/// The name of a port: a DNS label.
pub fn port_name(name: &str) -> Result<(), String> {
    if is_dns_label(name) { Ok(()) } else { Err(format!("invalid port name: {name:?}")) }
}

/// The name of a subset: a DNS label.
pub fn subset_name(name: &str) -> Result<(), String> {
    match name {
        "" => Err("subset name cannot be empty".to_owned()),
        name if is_dns_label(name) => Ok(()),
        name => Err(format!("subset name is invalid: {name:?}")),
    }
}

/// How a protocol that a port names is treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProtocolClass {
    /// HTTP of any version, gRPC.
    Http,
    /// TLS, HTTPS.
    Tls,
    /// TCP and what is known to run over it.
    Tcp,
    /// UDP.
    Udp,
}

/// The class of a protocol that a port names; `None` for unknown ones.
pub fn protocol(name: &str) -> Option<ProtocolClass> {
    match name.to_ascii_lowercase().as_str() {
        "http" | "http2" | "http_proxy" | "grpc" | "grpc-web" | "hbone" => Some(ProtocolClass::Http),
        "https" | "tls" => Some(ProtocolClass::Tls),
        "tcp" | "mongo" | "redis" | "mysql" => Some(ProtocolClass::Tcp),
        "udp" => Some(ProtocolClass::Udp),
        _ => None,
    }
}

/// A protocol that may be left out, so that the traffic tells it.
pub fn optional_protocol(name: &str) -> Result<(), String> {
    if name.is_empty() || protocol(name).is_some() {
        return Ok(());
    }
    Err(format!(
        "unsupported protocol: {name:?}; use HTTP, HTTPS, GRPC, GRPC-WEB, HTTP2, MONGO, REDIS, MYSQL, TCP or TLS"
    ))
}

/// The path of a unix socket: absolute and no directory, or an abstract name (`@...`).
pub fn unix_address(path: &str) -> Result<(), String> {
    match path {
        "" => Err("unix address must not be empty".to_owned()),
        path if path.starts_with('@') => Ok(()),
        path if path.starts_with('/') && !path.ends_with('/') => Ok(()),
        path => Err(format!("{path} is not an absolute path to a file")),
    }
}

/// Kubernetes labels: keys are qualified names, values at most 63 letters, digits, `-`, `_` and `.`.
pub fn labels(report: &mut Report, name: &str, labels: &BTreeMap<String, String>) {
    report.field(name, |r| {
        for (key, value) in labels {
            r.key(key, |r| {
                if !is_label_key(key) {
                    r.error(format!("invalid label key: {key:?}"));
                }
                if !value.is_empty() && !is_label_name(value) {
                    r.error(format!("invalid label value: {value:?}"));
                }
            });
        }
    });
}

fn is_label_key(key: &str) -> bool {
    match key.split_once('/') {
        Some((prefix, name)) => {
            prefix.len() <= 253 && prefix.split('.').all(is_dns_label) && is_label_name(name)
        }
        None => is_label_name(key),
    }
}

fn is_label_name(text: &str) -> bool {
    let bytes = text.as_bytes();
    !bytes.is_empty()
        && bytes.len() <= 63
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        && bytes[0].is_ascii_alphanumeric()
        && bytes[bytes.len() - 1].is_ascii_alphanumeric()
}

/// The labels of a selector: no empty keys, no wildcards; none at all is suspicious.
pub fn selector_labels(report: &mut Report, name: &str, labels: &BTreeMap<String, String>) {
    if labels.is_empty() {
        report.warn("workload selector specified without labels: it selects all workloads");
    }
    report.field(name, |r| {
        for (key, value) in labels {
            if key.is_empty() {
                r.error(format!("empty key is not supported in selector: {:?}", format!("={value}")));
            }
            if key.contains('*') || value.contains('*') {
                r.error(format!("wildcard is not supported in selector: {:?}", format!("{key}={value}")));
            }
        }
    });
}

/// A selector of the networking group in field `workloadSelector`.
pub fn workload_selector(report: &mut Report, selector: Option<&WorkloadSelector>) {
    if let Some(selector) = selector {
        report.field("workloadSelector", |r| selector_labels(r, "labels", &selector.labels));
    }
}

/// What `exportTo` may hold besides `*`, `.` and namespaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Export {
    /// Nothing.
    Plain,
    /// `~`: visible to nobody.
    ServiceEntry,
    /// The rule has a workload selector and must stay in its namespace.
    Selecting,
}

/// Field `exportTo`: no duplicates, `*` alone, `~` alone.
pub fn export_to(report: &mut Report, namespace: &str, export_to: &[String], export: Export) {
    let mut seen = BTreeSet::new();
    report.each("exportTo", export_to, |r, entry| {
        let key = if entry == "." { namespace } else { entry };
        let known = matches!(entry.as_str(), "*" | ".") || (entry == "~" && export == Export::ServiceEntry);
        if !seen.insert(key.to_owned()) {
            match entry.as_str() {
                "." => r.error(format!("duplicate entries in exportTo: . and current namespace {namespace}")),
                _ => r.error(format!("duplicate entries in exportTo for entry {entry}")),
            }
        } else if !known && !is_dns_label(entry) {
            r.error(format!(
                "{entry:?} is no namespace; only \".\", \"*\" and names of namespaces are allowed"
            ));
        }
    });
    report.field("exportTo", |r| {
        if seen.contains("*") && export_to.len() > 1 {
            r.error("cannot have both public (*) and non-public exportTo values for a resource");
        }
        if seen.contains("~") && export_to.len() > 1 {
            r.error("cannot export service entry to no one (~) and someone");
        }
        if export == Export::Selecting && (seen.len() > 1 || seen.iter().any(|key| key != namespace)) {
            r.error(
                "a destination rule with a workload selector cannot be exported beyond its own namespace",
            );
        }
    });
}
