//! Revisions: the numbers that `kubectl rollout history` and `kubectl rollout undo` go by.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use kube::Resource;

pub(super) const ANNOTATION: &str = "deployment.kubernetes.io/revision";
const HISTORY: &str = "deployment.kubernetes.io/revision-history";
const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
const MAX: &str = "deployment.kubernetes.io/max-replicas";
/// Annotations of a Deployment that say nothing about its ReplicaSets.
const OWN: [&str; 5] =
    ["kubectl.kubernetes.io/last-applied-configuration", ANNOTATION, HISTORY, DESIRED, MAX];

/// An object's revision.
pub(super) fn of<K: Resource>(object: &K) -> Option<i64> {
    object.meta().annotations.as_ref()?.get(ANNOTATION)?.parse().ok()
}

/// How many replicas the Deployment wanted when this ReplicaSet was last scaled for it.
pub(super) fn desired(set: &ReplicaSet) -> Option<i32> {
    set.metadata.annotations.as_ref()?.get(DESIRED)?.parse().ok()
}

/// How many pods the Deployment might have had then.
pub(super) fn most(set: &ReplicaSet) -> Option<i32> {
    set.metadata.annotations.as_ref()?.get(MAX)?.parse().ok()
}

/// Writes down for how many replicas a ReplicaSet is scaled.
pub(super) fn note_scale(annotations: &mut BTreeMap<String, String>, desired: i32, most: i32) {
    annotations.insert(DESIRED.to_owned(), desired.to_string());
    annotations.insert(MAX.to_owned(), most.to_string());
}

/// Gives the current ReplicaSet its revision (one above all others) and the Deployment's annotations.
pub(super) fn mark(annotations: &mut BTreeMap<String, String>, deployment: &Deployment, others: i64) {
    for (name, value) in deployment.metadata.annotations.iter().flatten() {
        if !OWN.contains(&name.as_str()) {
            annotations.insert(name.clone(), value.clone());
        }
    }
    let old = annotations.get(ANNOTATION).and_then(|text| text.parse::<i64>().ok());
    let new = others + 1;
    if old.is_none_or(|old| old < new) {
        if let Some(old) = old {
            // A template that came back keeps the numbers under which it was known.
            let history = annotations.entry(HISTORY.to_owned()).or_default();
            let separator = if history.is_empty() { "" } else { "," };
            *history = format!("{history}{separator}{old}");
        }
        annotations.insert(ANNOTATION.to_owned(), new.to_string());
    }
}
