//! Rules of DestinationRule.

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::common::{Export, export_to, labels, selector_labels, subset_name};
use super::{host, traffic_policy};
use crate::networking::destination_rule::DestinationRuleSpec;
use crate::wire::report::Report;

/// Reports every error of the spec.
pub fn validate(spec: &DestinationRuleSpec, metadata: &ObjectMeta, report: &mut Report) {
    report.check_at("host", host::wildcard_domain(&spec.host));
    if let Some(policy) = &spec.traffic_policy {
        report.field("trafficPolicy", |r| traffic_policy::validate(policy, r));
    }
    let mut names = BTreeSet::new();
    report.each("subsets", &spec.subsets, |r, subset| {
        r.check_at("name", subset_name(&subset.name));
        if !names.insert(&subset.name) {
            r.error_at("name", format!("duplicate subset name: {}", subset.name));
        }
        labels(r, "labels", &subset.labels);
        if let Some(policy) = &subset.traffic_policy {
            r.field("trafficPolicy", |r| traffic_policy::validate(policy, r));
        }
    });
    let namespace = metadata.namespace.as_deref().unwrap_or_default();
    let export = if spec.workload_selector.is_some() { Export::Selecting } else { Export::Plain };
    export_to(report, namespace, &spec.export_to, export);
    if let Some(selector) = &spec.workload_selector {
        report.field("workloadSelector", |r| selector_labels(r, "matchLabels", &selector.match_labels));
    }
}
