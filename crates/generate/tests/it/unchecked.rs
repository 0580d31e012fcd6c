//! Policies that came past validation (the webhook was away): never open where they should be closed.

use lateen_xds::pb::envoy::config::rbac::v3::rbac::Action;
use lateen_xds::pb::envoy::extensions::filters::http::rbac::v3::Rbac;

use crate::kit::Cluster0;
use crate::security::{http_filters, http_rbac, web};
use crate::transport::SERVICES;

/// Parts of rules that cannot be used.
const BROKEN: [&str; 10] = [
    "{when: [{key: nope, values: [a]}]}",
    "{when: [{key: request.headers, values: [a]}]}",
    "{when: [{key: source.namespace}]}",
    "{when: [{key: source.ip, values: [nonsense]}]}",
    "{from: [{source: {}}]}",
    "{from: [{}]}",
    "{from: [{source: {ipBlocks: ['10.0.0.0/99']}}]}",
    "{to: [{operation: {}}]}",
    "{to: [{operation: {ports: ['many']}}]}",
    "{to: [{operation: {paths: ['/{**}/{*}']}}]}",
];

fn rules(action: &str, rule: &str) -> Rbac {
    let mut cluster = Cluster0::new();
    cluster.apply(SERVICES);
    cluster.apply(&format!(
        "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {{name: a}}\n\
         spec: {{action: {action}, rules: [{rule}]}}\n"
    ));
    http_rbac(&http_filters(&web(&mut cluster))).pop().expect("a filter")
}

#[test]
fn allow_rules_that_cannot_be_used_allow_nothing() {
    for rule in BROKEN {
        let found = rules("ALLOW", rule).rules.expect("enforced");
        assert_eq!((found.action, found.policies.len()), (Action::Allow as i32, 0), "{rule}: {found:?}");
    }
}

#[test]
fn deny_rules_go_without_what_cannot_be_used() {
    for rule in BROKEN {
        let found = rules("DENY", rule).rules.expect("enforced");
        let text = format!("{:?}", found.policies);
        assert_eq!((found.action, found.policies.len()), (Action::Deny as i32, 1), "{rule}: {found:?}");
        assert!(!text.contains("NotRule") && !text.contains("NotId"), "{rule}: {text}");
    }
}
