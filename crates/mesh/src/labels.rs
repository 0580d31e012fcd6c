//! Labels, selectors, and the canonical service that labels name.

use std::collections::BTreeMap;

/// Labels of a workload or a service, or the pairs of an equality selector.
pub type Labels = BTreeMap<String, String>;

/// Whether the labels hold every pair of the selector. An empty selector selects everything.
pub fn selects(selector: &Labels, labels: &Labels) -> bool {
    selector.iter().all(|(key, value)| labels.get(key) == Some(value))
}

/// `service.istio.io/canonical-name`, or what Istio takes in its place.
pub fn canonical_name<'a>(labels: &'a Labels, workload: &'a str) -> &'a str {
    first(labels, ["service.istio.io/canonical-name", "app.kubernetes.io/name", "app"]).unwrap_or(workload)
}

/// `service.istio.io/canonical-revision`, or what Istio takes in its place.
pub fn canonical_revision(labels: &Labels) -> &str {
    first(labels, ["service.istio.io/canonical-revision", "app.kubernetes.io/version", "version"])
        .unwrap_or("latest")
}

fn first<'a>(labels: &'a Labels, keys: [&str; 3]) -> Option<&'a str> {
    keys.into_iter().find_map(|key| labels.get(key)).map(String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn a_selector_selects_when_all_its_pairs_are_there() {
        let pod = labels(&[("app", "reviews"), ("version", "v1")]);
        assert!(selects(&labels(&[("app", "reviews")]), &pod));
        assert!(selects(&Labels::new(), &pod));
        assert!(!selects(&labels(&[("app", "reviews"), ("version", "v2")]), &pod));
    }

    #[test]
    fn canonical_service_comes_from_istios_label_then_kubernetes_then_app() {
        assert_eq!(canonical_name(&labels(&[("app", "a"), ("app.kubernetes.io/name", "b")]), "w"), "b");
        assert_eq!(canonical_name(&Labels::new(), "w"), "w");
        assert_eq!(canonical_revision(&labels(&[("version", "v1")])), "v1");
        assert_eq!(canonical_revision(&Labels::new()), "latest");
    }
}
