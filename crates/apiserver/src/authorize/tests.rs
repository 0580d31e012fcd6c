use serde_json::json;

use super::Attributes;
use super::rules::{allows, each};
use crate::server::User;

fn wanted(verb: &str, group: &str, resource: &str, name: &str) -> Attributes {
    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
    Attributes::of_resource(verb, group, resource, "shop", name).with_subresource(subresource)
}

#[test]
fn rules_allow_what_they_name() {
    let rule =
        json!({"apiGroups": [""], "resources": ["pods", "pods/log", "*/scale"], "verbs": ["get", "list"]});
    assert!(allows(&rule, &wanted("get", "", "pods", "a")));
    assert!(allows(&rule, &wanted("get", "", "pods/log", "a")));
    assert!(allows(&rule, &wanted("get", "", "replicationcontrollers/scale", "a")));
    for other in [
        wanted("delete", "", "pods", "a"),
        wanted("get", "apps", "pods", "a"),
        wanted("get", "", "pods/exec", "a"),
        wanted("get", "", "secrets", "a"),
    ] {
        assert!(!allows(&rule, &other), "{other:?}");
    }
    let all = json!({"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]});
    assert!(allows(&all, &wanted("get", "", "pods/exec", "a")));
}

#[test]
fn names_of_a_rule_are_the_only_ones() {
    let rule = json!({"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["a"], "verbs": ["*"]});
    assert!(allows(&rule, &wanted("get", "", "secrets", "a")));
    assert!(!allows(&rule, &wanted("get", "", "secrets", "b")));
    assert!(!allows(&rule, &wanted("list", "", "secrets", "")));
}

#[test]
fn paths_are_matched_to_their_end_or_by_prefix() {
    let rule = json!({"nonResourceURLs": ["/healthz", "/api/*"], "verbs": ["get"]});
    let path = |path: &str| Attributes::of_path(&http::Method::GET, path);
    assert!(allows(&rule, &path("/healthz")) && allows(&rule, &path("/api/v1")));
    assert!(!allows(&rule, &path("/healthz/x")) && !allows(&rule, &wanted("get", "", "pods", "")));
}

#[test]
fn stars_are_only_held_by_stars() {
    let own = json!({"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]});
    let given = json!({"apiGroups": [""], "resources": ["*"], "verbs": ["get"]});
    assert!(each(&own).iter().all(|one| allows(&own, one)));
    assert!(!each(&given).iter().all(|one| allows(&own, one)));
}

#[test]
fn refusals_are_kubernetes_words() {
    let user = User { name: "jane".into(), uid: String::new(), groups: Vec::new() };
    let text = |attributes: &Attributes| attributes.forbidden(&user, "").message;
    assert_eq!(
        text(&wanted("list", "", "pods", "")),
        "pods is forbidden: User \"jane\" cannot list resource \"pods\" in API group \"\" in the namespace \"shop\""
    );
    assert_eq!(
        text(&Attributes { namespace: String::new(), ..wanted("get", "apps", "deployments/scale", "a") }),
        "deployments.apps \"a\" is forbidden: User \"jane\" cannot get resource \"deployments/scale\" in API group \
         \"apps\" at the cluster scope"
    );
    let path = Attributes::of_path(&http::Method::GET, "/metrics");
    assert_eq!(text(&path), "forbidden: User \"jane\" cannot get path \"/metrics\"");
}
