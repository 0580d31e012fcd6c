//! What is served: the old and the aggregated discovery documents, the version, OpenAPI.

mod aggregated;
mod openapi;

use http::{Method, StatusCode};
use serde_json::{Value, json};

pub use openapi::openapi;

use crate::context::Context;
use crate::registry::{Resource, Served, Snapshot, Subresource};
use crate::server::{Reply, Request, reply};
use crate::status::{ApiError, Result};

const VERBS: &[&str] = &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
const CUSTOM_VERBS: &[&str] =
    &["delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"];
const STATUS_VERBS: &[&str] = &["get", "patch", "update"];

/// A kind of question: plural, kind, and whether it stands in a namespace.
type ReviewKind = (&'static str, &'static str, bool);

/// Groups that hold only questions, no objects.
const REVIEWS: &[(&str, &[ReviewKind])] = &[
    (
        "authentication.k8s.io",
        &[("selfsubjectreviews", "SelfSubjectReview", false), ("tokenreviews", "TokenReview", false)],
    ),
    (
        "authorization.k8s.io",
        &[
            ("localsubjectaccessreviews", "LocalSubjectAccessReview", true),
            ("selfsubjectaccessreviews", "SelfSubjectAccessReview", false),
            ("selfsubjectrulesreviews", "SelfSubjectRulesReview", false),
            ("subjectaccessreviews", "SubjectAccessReview", false),
        ],
    ),
];

/// The version as `kubectl version` shows it: the Kubernetes API that is spoken, and this program.
pub fn version() -> Value {
    json!({
        "major": "1", "minor": "34", "gitVersion": concat!("v1.34.0+lateen-", env!("CARGO_PKG_VERSION")),
        "gitCommit": "", "gitTreeState": "clean", "buildDate": "1970-01-01T00:00:00Z", "goVersion": "none",
        "compiler": "rustc", "platform": format!("{}/{}", std::env::consts::OS, arch()),
    })
}

fn arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// The paths that the root names.
pub fn paths(context: &Context) -> Vec<String> {
    let snapshot = context.catalog.snapshot();
    let mut paths = vec!["/api".to_owned(), "/api/v1".to_owned(), "/apis".to_owned()];
    for (group, versions) in groups(&snapshot).into_iter().filter(|(group, _)| !group.is_empty()) {
        paths.push(format!("/apis/{group}"));
        paths.extend(versions.iter().map(|v| format!("/apis/{group}/{v}")));
    }
    let others =
        ["/healthz", "/livez", "/openapi/v2", "/openapi/v3", "/openid/v1/jwks", "/readyz", "/version"];
    paths.extend(others.map(str::to_owned));
    paths
}

fn groups(snapshot: &Snapshot) -> Vec<(String, Vec<String>)> {
    let owned = |(group, versions): (&str, Vec<&str>)| {
        (group.to_owned(), versions.into_iter().map(str::to_owned).collect::<Vec<_>>())
    };
    let mut groups: Vec<_> = snapshot.groups().into_iter().map(owned).collect();
    groups.extend(REVIEWS.iter().map(|(group, _)| ((*group).to_owned(), vec!["v1".to_owned()])));
    // Where two groups have a resource of one name, clients take the first: old groups come last.
    groups.sort_by_key(|(group, _)| (rank(group), group.clone()));
    groups
}

fn rank(group: &str) -> u8 {
    match group {
        "" => 0,
        "apps" => 1,
        "events.k8s.io" => 2,
        "extensions" => 9,
        group if group.ends_with(".k8s.io") || !group.contains('.') => 3,
        _ => 5,
    }
}

/// Answers a request for a discovery document.
pub fn answer(context: &Context, request: &Request, parts: &[&str]) -> Result<Reply> {
    if request.head.method != Method::GET {
        return Err(ApiError::method_not_allowed());
    }
    let snapshot = context.catalog.snapshot();
    let old = |value: Value| Ok(reply::json(StatusCode::OK, &value));
    match parts {
        ["api"] | ["apis"] => {
            if let Some(reply) = aggregated::answer(&snapshot, &request.head.headers, parts[0] == "api") {
                return Ok(reply);
            }
            if parts[0] == "api" {
                let addresses = json!([{"clientCIDR": "0.0.0.0/0", "serverAddress": ""}]);
                return old(json!({
                    "kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": addresses,
                }));
            }
            let groups: Vec<Value> =
                groups(&snapshot).iter().filter(|(g, _)| !g.is_empty()).map(group).collect();
            old(json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}))
        }
        ["apis", name] => {
            let groups = groups(&snapshot);
            let found = groups.iter().find(|(g, _)| g == name).ok_or_else(ApiError::no_such_resource)?;
            let mut value = group(found);
            value["kind"] = "APIGroup".into();
            value["apiVersion"] = "v1".into();
            old(value)
        }
        ["api", version] => old(resources(&snapshot, "", version)?),
        ["apis", group, version] => old(resources(&snapshot, group, version)?),
        _ => Err(ApiError::no_such_resource()),
    }
}

fn group((name, versions): &(String, Vec<String>)) -> Value {
    let version = |v: &String| json!({"groupVersion": format!("{name}/{v}"), "version": v});
    let versions: Vec<Value> = versions.iter().map(version).collect();
    json!({"name": name, "versions": versions, "preferredVersion": versions.first()})
}

fn resources(snapshot: &Snapshot, group: &str, version: &str) -> Result<Value> {
    let mut list = Vec::new();
    if let Some((_, reviews)) = REVIEWS.iter().find(|(g, _)| *g == group && version == "v1") {
        for (plural, kind, namespaced) in *reviews {
            list.push(json!({
                "name": plural, "singularName": kind.to_lowercase(), "namespaced": namespaced, "kind": kind,
                "verbs": ["create"],
            }));
        }
    } else {
        let found = snapshot.version(group, version).ok_or_else(ApiError::no_such_resource)?;
        for served in found.values() {
            list.push(resource(served));
            list.extend(subresources(served).iter().map(|sub| subresource(served, sub)));
        }
    }
    let group_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    Ok(
        json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": list}),
    )
}

/// What can be done to a resource; of custom ones Kubernetes says it in another order.
fn verbs(resource: &Resource) -> &'static [&'static str] {
    if resource.custom { CUSTOM_VERBS } else { VERBS }
}

fn resource(served: &Served) -> Value {
    let resource = &served.resource;
    let mut value = json!({
        "name": &*resource.plural, "singularName": &*resource.singular, "namespaced": resource.namespaced,
        "kind": &*resource.kind, "verbs": verbs(resource),
    });
    let own = own_group(served);
    if own && !resource.short_names.is_empty() {
        value["shortNames"] = json!(resource.short_names);
    }
    if own && !resource.categories.is_empty() {
        value["categories"] = json!(resource.categories);
    }
    value["storageVersionHash"] = "".into();
    value
}

/// Whether short names and categories stand for the resource in this group: in an old one they would be ambiguous.
fn own_group(served: &Served) -> bool {
    served.version().group == served.resource.group
}

/// The subresources of a resource.
pub fn subresources(served: &Served) -> Vec<Subresource> {
    let version = served.version();
    let mut list = version.subresources.to_vec();
    if version.scale.is_some() {
        let group_version = Some(("autoscaling", "v1"));
        list.push(Subresource { name: "scale", group_version, kind: "Scale", verbs: STATUS_VERBS });
    }
    if version.status {
        list.push(Subresource { name: "status", group_version: None, kind: "", verbs: STATUS_VERBS });
    }
    list
}

fn subresource(served: &Served, sub: &Subresource) -> Value {
    let kind = if sub.kind.is_empty() { &*served.resource.kind } else { sub.kind };
    let mut value = json!({
        "name": format!("{}/{}", served.resource.plural, sub.name), "singularName": "",
        "namespaced": served.resource.namespaced, "kind": kind, "verbs": sub.verbs,
    });
    if let Some((group, version)) = sub.group_version {
        value["group"] = group.into();
        value["version"] = version.into();
    }
    value
}
