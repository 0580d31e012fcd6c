//! Laying a user's own `istio-proxy` container over the injected one, as a strategic merge does.

use serde_json::{Map, Value};

/// Keys by which Kubernetes merges a container's lists.
fn list_key(field: &str) -> Option<&'static str> {
    match field {
        "env" | "volumes" | "containers" | "initContainers" => Some("name"),
        "ports" => Some("containerPort"),
        "volumeMounts" => Some("mountPath"),
        "volumeDevices" => Some("devicePath"),
        _ => None,
    }
}

/// Joins two objects; `over` wins, maps are joined, and lists that have a merge key are joined by it.
pub(crate) fn overlay(base: &mut Map<String, Value>, over: Map<String, Value>) {
    for (field, value) in over {
        match (base.get_mut(&field), value) {
            (Some(Value::Object(below)), Value::Object(above)) => overlay(below, above),
            (Some(Value::Array(below)), Value::Array(above)) if list_key(&field).is_some() => {
                let key = list_key(&field).unwrap_or("name");
                merge_list(below, above, key);
            }
            (_, Value::Null) => {}
            (_, value) => {
                base.insert(field, value);
            }
        }
    }
}

fn merge_list(below: &mut Vec<Value>, above: Vec<Value>, key: &str) {
    for item in above {
        let same = below.iter_mut().find(|other| other.get(key).is_some() && other.get(key) == item.get(key));
        match same {
            // An item is one choice among several sources (value or valueFrom): the user's replaces ours.
            Some(other) => *other = item,
            None => below.push(item),
        }
    }
}
