//! Volumes that the sidecar needs, and those that the user gives it.

use k8s_openapi::api::core::v1::Volume;
use serde_json::{Map, Value, json};

use crate::InjectError;
use crate::annotations::{self, BOOTSTRAP_OVERRIDE, USER_VOLUME, USER_VOLUME_MOUNT};
use crate::settings::Settings;

/// An object and its name.
type Named = (String, Map<String, Value>);

/// Life of the projected token, in seconds (Istio's 12 hours).
const TOKEN_SECONDS: i64 = 43_200;

/// The volumes to add to the pod.
pub(crate) fn volumes(settings: &Settings<'_>) -> Result<Vec<Volume>, InjectError> {
    let mut list = vec![
        json!({ "name": "workload-socket", "emptyDir": {} }),
        json!({ "name": "credential-socket", "emptyDir": {} }),
        json!({ "name": "workload-certs", "emptyDir": {} }),
        json!({ "name": "istio-envoy", "emptyDir": { "medium": "Memory" } }),
        json!({ "name": "istio-data", "emptyDir": {} }),
        json!({ "name": "istio-podinfo", "downwardAPI": { "items": [
            { "path": "labels", "fieldRef": { "fieldPath": "metadata.labels" } },
            { "path": "annotations", "fieldRef": { "fieldPath": "metadata.annotations" } },
        ] } }),
        json!({ "name": "istio-token", "projected": { "sources": [
            { "serviceAccountToken": {
                "audience": "istio-ca", "expirationSeconds": TOKEN_SECONDS, "path": "istio-token",
            } },
        ] } }),
        // Not optional: the pod waits for it, where an empty volume would only be filled a minute later.
        json!({ "name": "istiod-ca-cert", "configMap": { "name": "istio-ca-root-cert" } }),
    ];
    if let Some(bootstrap) = annotations::get(settings.pod, BOOTSTRAP_OVERRIDE) {
        list.push(json!({ "name": "custom-bootstrap-volume", "configMap": { "name": bootstrap } }));
    }
    let mut volumes = list.into_iter().map(serde_json::from_value).collect::<Result<Vec<Volume>, _>>()?;
    for (name, mut source) in user_map(settings, USER_VOLUME)? {
        source.insert("name".to_owned(), json!(name));
        let volume = serde_json::from_value(Value::Object(source));
        volumes.push(
            volume.map_err(|error| invalid(settings, USER_VOLUME, &format!("volume {name}: {error}")))?,
        );
    }
    Ok(volumes)
}

/// The sidecar's mounts of those volumes.
pub(crate) fn mounts(settings: &Settings<'_>) -> Result<Vec<Value>, InjectError> {
    let mut list = vec![
        json!({ "name": "workload-socket", "mountPath": "/var/run/secrets/workload-spiffe-uds" }),
        json!({ "name": "credential-socket", "mountPath": "/var/run/secrets/credential-uds" }),
        json!({ "name": "workload-certs", "mountPath": "/var/run/secrets/workload-spiffe-credentials" }),
        json!({ "name": "istiod-ca-cert", "mountPath": "/var/run/secrets/istio" }),
        json!({ "name": "istio-data", "mountPath": "/var/lib/istio/data" }),
        json!({ "name": "istio-envoy", "mountPath": "/etc/istio/proxy" }),
        json!({ "name": "istio-token", "mountPath": "/var/run/secrets/tokens" }),
        json!({ "name": "istio-podinfo", "mountPath": "/etc/istio/pod" }),
    ];
    if annotations::get(settings.pod, BOOTSTRAP_OVERRIDE).is_some() {
        list.push(json!({ "name": "custom-bootstrap-volume", "mountPath": "/etc/istio/custom-bootstrap" }));
    }
    for (name, mut mount) in user_map(settings, USER_VOLUME_MOUNT)? {
        if !mount.get("mountPath").is_some_and(Value::is_string) {
            return Err(invalid(settings, USER_VOLUME_MOUNT, &format!("mount {name} lacks mountPath")));
        }
        mount.insert("name".to_owned(), json!(name));
        list.push(Value::Object(mount));
    }
    Ok(list)
}

/// The user's annotations are a JSON list of objects with names, or (older) a map from name to object.
fn user_map(settings: &Settings<'_>, name: &'static str) -> Result<Vec<Named>, InjectError> {
    let Some(text) = annotations::get(settings.pod, name).filter(|text| !text.is_empty()) else {
        return Ok(Vec::new());
    };
    let shape = "must be a JSON list of objects that have a name, or a map from names to objects";
    let named = |value: Value| -> Option<Named> {
        let Value::Object(object) = value else { return None };
        Some((object.get("name")?.as_str()?.to_owned(), object))
    };
    let parsed: Value =
        serde_json::from_str(text).map_err(|error| invalid(settings, name, &format!("{shape}: {error}")))?;
    let entries: Option<Vec<_>> = match parsed {
        Value::Array(items) => items.into_iter().map(named).collect(),
        Value::Object(map) => map
            .into_iter()
            .map(|(name, value)| match value {
                Value::Object(object) => Some((name, object)),
                _ => None,
            })
            .collect(),
        _ => None,
    };
    entries.ok_or_else(|| invalid(settings, name, shape))
}

fn invalid(settings: &Settings<'_>, name: &'static str, reason: &str) -> InjectError {
    InjectError::annotation(name, settings.text(name, ""), reason)
}
