//! Host names of the mesh: exact (`reviews.default.svc.cluster.local`) or with a leading wildcard (`*.example.com`).
//!
//! Source of the rules: Istio, VirtualService `hosts` and DestinationRule `host`.

use std::cmp::Ordering;

/// Whether a name is `*` or starts with `*`.
pub fn is_wildcard(host: &str) -> bool {
    host.starts_with('*')
}

/// Whether two names, of which either may be a wildcard, have a host in common.
pub fn overlap(a: &str, b: &str) -> bool {
    match (a.strip_prefix('*'), b.strip_prefix('*')) {
        (Some(a), Some(b)) => a.ends_with(b) || b.ends_with(a),
        (Some(suffix), None) => b.ends_with(suffix),
        (None, Some(suffix)) => a.ends_with(suffix),
        (None, None) => a == b,
    }
}

/// Whether every host that `inner` stands for is also one of `outer`.
pub fn subset_of(inner: &str, outer: &str) -> bool {
    match (inner.strip_prefix('*'), outer.strip_prefix('*')) {
        (Some(inner), Some(outer)) => inner.ends_with(outer),
        (Some(_), None) => false,
        (None, Some(suffix)) => inner.ends_with(suffix),
        (None, None) => inner == outer,
    }
}

/// Orders names by how specific they are, the most specific first: exact names, then longer wildcards.
pub fn by_specificity(a: &str, b: &str) -> Ordering {
    is_wildcard(a).cmp(&is_wildcard(b)).then(b.len().cmp(&a.len())).then(a.cmp(b))
}

/// A short name (`reviews`) becomes the service of that name in the namespace; every other name stays.
///
/// Source: Istio, VirtualService `hosts`: "short names ... will be interpreted based on the namespace of the rule".
pub fn qualify(name: &str, namespace: &str, domain: &str) -> String {
    if name.is_empty() || name.contains('.') || name.contains(':') || is_wildcard(name) {
        return name.to_owned();
    }
    format!("{name}.{namespace}.svc.{domain}")
}

/// The fully qualified name of a Kubernetes service.
pub fn of_service(name: &str, namespace: &str, domain: &str) -> String {
    format!("{name}.{namespace}.svc.{domain}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_are_taken_from_the_namespace_of_the_rule() {
        assert_eq!(qualify("reviews", "bookinfo", "cluster.local"), "reviews.bookinfo.svc.cluster.local");
        assert_eq!(qualify("reviews.other", "bookinfo", "cluster.local"), "reviews.other");
        assert_eq!(qualify("*", "bookinfo", "cluster.local"), "*");
        assert_eq!(qualify("2001:db8::1", "bookinfo", "cluster.local"), "2001:db8::1");
    }

    #[test]
    fn wildcards_overlap_when_one_holds_the_other() {
        assert!(overlap("*.com", "*.example.com"));
        assert!(overlap("*.example.com", "www.example.com"));
        assert!(!overlap("*.example.com", "*.example.org"));
        assert!(!overlap("*.example.com", "example.com"));
        assert!(overlap("*", "anything"));
    }

    #[test]
    fn a_subset_is_never_wider_than_what_holds_it() {
        assert!(subset_of("www.example.com", "*.example.com"));
        assert!(subset_of("*.a.example.com", "*.example.com"));
        assert!(!subset_of("*.example.com", "*.a.example.com"));
        assert!(!subset_of("*", "www.example.com"));
    }

    #[test]
    fn exact_names_come_before_long_wildcards_before_short_ones() {
        let mut hosts = ["*", "*.com", "a.example.com", "*.example.com"];
        hosts.sort_by(|a, b| by_specificity(a, b));
        assert_eq!(hosts, ["a.example.com", "*.example.com", "*.com", "*"]);
    }
}
