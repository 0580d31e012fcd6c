//! Nodes.

use serde_json::Value;

use crate::object;
use crate::registry::Behaviour;
use crate::table::{self, AGE, Column, col, wide};

/// Nodes.
pub static NODE: Behaviour = Behaviour {
    fields: |object| {
        let cordoned = object["spec"]["unschedulable"].as_bool().unwrap_or_default();
        vec![("spec.unschedulable", cordoned.to_string())]
    },
    columns: COLUMNS,
    row,
    ..Behaviour::PLAIN
};

const COLUMNS: &[Column] = &[
    col("Status"),
    col("Roles"),
    AGE,
    col("Version"),
    wide("Internal-IP"),
    wide("External-IP"),
    wide("OS-Image"),
    wide("Kernel-Version"),
    wide("Container-Runtime"),
];

fn row(object: &Value) -> Vec<Value> {
    let conditions = object::list(object, &["status", "conditions"]);
    let ready = conditions.iter().find(|c| object::text(c, &["type"]) == "Ready");
    let mut status = match ready.map(|c| object::text(c, &["status"])) {
        Some("True") => "Ready".to_owned(),
        Some(_) => "NotReady".to_owned(),
        None => "Unknown".to_owned(),
    };
    if object["spec"]["unschedulable"].as_bool() == Some(true) {
        status.push_str(",SchedulingDisabled");
    }
    let labels = object::at(object, &["metadata", "labels"]).and_then(Value::as_object);
    let roles = labels.into_iter().flatten();
    let mut roles: Vec<&str> = roles
        .filter_map(|(key, _)| key.strip_prefix("node-role.kubernetes.io/"))
        .filter(|r| !r.is_empty())
        .collect();
    roles.sort_unstable();
    let address = |kind: &str| {
        let addresses = object::list(object, &["status", "addresses"]).iter();
        let found =
            addresses.filter(|a| object::text(a, &["type"]) == kind).map(|a| object::text(a, &["address"]));
        table::joined(found.take(1))
    };
    let info = |field: &str| match object::text(object, &["status", "nodeInfo", field]) {
        "" => Value::from("<unknown>"),
        text => text.into(),
    };
    vec![
        status.into(),
        table::joined(roles),
        object::text(object, &["status", "nodeInfo", "kubeletVersion"]).into(),
        address("InternalIP"),
        address("ExternalIP"),
        info("osImage"),
        info("kernelVersion"),
        info("containerRuntimeVersion"),
    ]
}
