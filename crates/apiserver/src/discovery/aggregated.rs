//! Aggregated discovery: every group, version and resource in one document.

use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use super::{REVIEWS, groups, own_group, subresources, verbs};
use crate::registry::{Served, Snapshot};
use crate::server::{Reply, reply};

/// Answers in the newest aggregated form that the client accepts; None where it accepts none.
pub fn answer(snapshot: &Snapshot, headers: &HeaderMap, core: bool) -> Option<Reply> {
    let accept = headers.get(http::header::ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let version = accept.split(',').find_map(|media| {
        let has = |parameter: &str| media.split(';').any(|p| p.trim() == parameter);
        let ours = has("g=apidiscovery.k8s.io") && has("as=APIGroupDiscoveryList");
        ["v2", "v2beta1"].into_iter().find(|v| ours && has(&format!("v={v}")))
    })?;
    let groups = groups(snapshot).into_iter().filter(|(group, _)| group.is_empty() == core);
    let items: Vec<Value> = groups.map(|(name, versions)| group(snapshot, &name, &versions)).collect();
    let list = json!({
        "kind": "APIGroupDiscoveryList", "apiVersion": format!("apidiscovery.k8s.io/{version}"), "metadata": {},
        "items": items,
    });
    let media = format!("application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList");
    let mut reply = reply::bytes(StatusCode::OK, &media, list.to_string());
    reply.headers_mut().insert(http::header::VARY, http::HeaderValue::from_static("Accept"));
    Some(reply)
}

fn group(snapshot: &Snapshot, name: &str, versions: &[String]) -> Value {
    let versions: Vec<Value> = versions
        .iter()
        .map(|version| {
            let resources: Vec<Value> = match REVIEWS.iter().find(|(group, _)| *group == name) {
                Some((group, reviews)) => reviews.iter().map(|review| self::review(group, review)).collect(),
                None => snapshot
                    .version(name, version)
                    .into_iter()
                    .flat_map(|r| r.values())
                    .map(resource)
                    .collect(),
            };
            json!({"version": version, "resources": resources, "freshness": "Current"})
        })
        .collect();
    json!({"metadata": {"name": name, "creationTimestamp": null}, "versions": versions})
}

fn scope(namespaced: bool) -> &'static str {
    if namespaced { "Namespaced" } else { "Cluster" }
}

fn review(group: &str, (plural, kind, namespaced): &(&str, &str, bool)) -> Value {
    json!({
        "resource": plural, "responseKind": {"group": group, "version": "v1", "kind": kind},
        "scope": scope(*namespaced), "singularResource": kind.to_lowercase(), "verbs": ["create"],
    })
}

fn resource(served: &Served) -> Value {
    let (resource, version) = (&served.resource, served.version());
    let kind =
        |group: &str, version: &str, kind: &str| json!({"group": group, "version": version, "kind": kind});
    let subresources: Vec<Value> = subresources(served)
        .iter()
        .map(|sub| {
            let (group, version) = sub.group_version.unwrap_or((&version.group, &version.name));
            let name = if sub.kind.is_empty() { &*resource.kind } else { sub.kind };
            json!({"subresource": sub.name, "responseKind": kind(group, version, name), "verbs": sub.verbs})
        })
        .collect();
    let mut value = json!({
        "resource": &*resource.plural,
        "responseKind": kind(&version.group, &version.name, &resource.kind),
        "scope": scope(resource.namespaced), "singularResource": &*resource.singular, "verbs": verbs(resource),
    });
    let own = own_group(served);
    if own && !resource.short_names.is_empty() {
        value["shortNames"] = json!(resource.short_names);
    }
    if own && !resource.categories.is_empty() {
        value["categories"] = json!(resource.categories);
    }
    if !subresources.is_empty() {
        value["subresources"] = subresources.into();
    }
    value
}
