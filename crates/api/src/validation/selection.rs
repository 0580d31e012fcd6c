//! Rules of what a policy applies to: a selector or references to targets.

use super::common::selector_labels;
use crate::networking::destination_rule::LabelSelector;
use crate::security::PolicyTargetReference;
use crate::wire::report::Report;

/// Groups and kinds that may be targets.
const TARGETS: &[(&str, &str)] = &[
    ("", "Service"),
    ("core", "Service"),
    ("networking.istio.io", "ServiceEntry"),
    ("gateway.networking.k8s.io", "Gateway"),
    ("gateway.networking.k8s.io", "GatewayClass"),
];

/// Fields `selector`, `targetRef` and `targetRefs`, of which one may be set.
pub fn validate(
    report: &mut Report,
    selector: Option<&LabelSelector>,
    target: Option<&PolicyTargetReference>,
    targets: &[PolicyTargetReference],
) {
    let set = [selector.is_some(), target.is_some(), !targets.is_empty()];
    if set.iter().filter(|set| **set).count() > 1 {
        report.error("only one of targetRefs or selector can be set");
    }
    self::selector(report, selector);
    if let Some(target) = target {
        report.field("targetRef", |r| reference(r, target));
    }
    target_refs(report, targets);
}

/// Field `selector`.
pub fn selector(report: &mut Report, selector: Option<&LabelSelector>) {
    if let Some(selector) = selector {
        report.field("selector", |r| selector_labels(r, "matchLabels", &selector.match_labels));
    }
}

/// Field `targetRefs`.
pub fn target_refs(report: &mut Report, targets: &[PolicyTargetReference]) {
    report.each("targetRefs", targets, reference);
}

fn reference(report: &mut Report, target: &PolicyTargetReference) {
    if target.name.is_empty() {
        report.error_at("name", "name must be set");
    }
    if !target.namespace.is_empty() {
        report.error_at("namespace", "must not be set; cross namespace referencing is not supported");
    }
    if !TARGETS.contains(&(target.group.as_str(), target.kind.as_str())) {
        report.error_at(
            "kind",
            format!(
                "{}/{} cannot be a target; use Service, ServiceEntry or Gateway",
                target.group, target.kind
            ),
        );
    }
}
