//! Volumes, claims and storage classes.

use serde_json::Value;

use crate::object;
use crate::registry::Behaviour;
use crate::table::{self, AGE, Column, col, wide};

/// Persistent volumes.
pub static VOLUME: Behaviour = Behaviour {
    default: |object| {
        let spec = object::map_mut(object, &["spec"]);
        object::default(spec, "persistentVolumeReclaimPolicy", "Retain");
        object::default(spec, "volumeMode", "Filesystem");
        object::default(object::map_mut(object, &["status"]), "phase", "Pending");
    },
    columns: VOLUME_COLUMNS,
    row: volume_row,
    ..Behaviour::PLAIN
};

/// Claims.
pub static CLAIM: Behaviour = Behaviour {
    default: |object| {
        object::default(object::map_mut(object, &["spec"]), "volumeMode", "Filesystem");
        object::default(object::map_mut(object, &["status"]), "phase", "Pending");
    },
    columns: CLAIM_COLUMNS,
    row: claim_row,
    ..Behaviour::PLAIN
};

/// Storage classes.
pub static CLASS: Behaviour = Behaviour {
    default: |object| {
        if let Some(class) = object.as_object_mut() {
            object::default(class, "reclaimPolicy", "Delete");
            object::default(class, "volumeBindingMode", "Immediate");
        }
    },
    columns: CLASS_COLUMNS,
    row: class_row,
    ..Behaviour::PLAIN
};

const VOLUME_COLUMNS: &[Column] = &[
    col("Capacity"),
    col("Access Modes"),
    col("Reclaim Policy"),
    col("Status"),
    col("Claim"),
    col("StorageClass"),
    col("VolumeAttributesClass"),
    col("Reason"),
    AGE,
    wide("VolumeMode"),
];
const CLAIM_COLUMNS: &[Column] = &[
    col("Status"),
    col("Volume"),
    col("Capacity"),
    col("Access Modes"),
    col("StorageClass"),
    col("VolumeAttributesClass"),
    AGE,
    wide("VolumeMode"),
];
const CLASS_COLUMNS: &[Column] =
    &[col("Provisioner"), col("ReclaimPolicy"), col("VolumeBindingMode"), col("AllowVolumeExpansion"), AGE];

fn modes(object: &Value) -> Value {
    let short = |mode: &str| match mode {
        "ReadWriteOnce" => "RWO",
        "ReadOnlyMany" => "ROX",
        "ReadWriteMany" => "RWX",
        "ReadWriteOncePod" => "RWOP",
        _ => "",
    };
    let modes = object::list(object, &["spec", "accessModes"]).iter().filter_map(Value::as_str).map(short);
    modes.collect::<Vec<_>>().join(",").into()
}

fn unset(object: &Value, field: &str) -> Value {
    match object::text(object, &["spec", field]) {
        "" => "<unset>".into(),
        text => text.into(),
    }
}

fn volume_row(object: &Value) -> Vec<Value> {
    let text = |path: &[&str]| object::text(object, path);
    let claim = match text(&["spec", "claimRef", "name"]) {
        "" => String::new(),
        name => format!("{}/{name}", text(&["spec", "claimRef", "namespace"])),
    };
    vec![
        text(&["spec", "capacity", "storage"]).into(),
        modes(object),
        text(&["spec", "persistentVolumeReclaimPolicy"]).into(),
        text(&["status", "phase"]).into(),
        claim.into(),
        text(&["spec", "storageClassName"]).into(),
        unset(object, "volumeAttributesClassName"),
        text(&["status", "reason"]).into(),
        text(&["spec", "volumeMode"]).into(),
    ]
}

fn claim_row(object: &Value) -> Vec<Value> {
    let text = |path: &[&str]| object::text(object, path);
    let phase = if object::terminating(object) { "Terminating" } else { text(&["status", "phase"]) };
    vec![
        phase.into(),
        text(&["spec", "volumeName"]).into(),
        text(&["status", "capacity", "storage"]).into(),
        modes(object),
        text(&["spec", "storageClassName"]).into(),
        unset(object, "volumeAttributesClassName"),
        text(&["spec", "volumeMode"]).into(),
    ]
}

fn class_row(object: &Value) -> Vec<Value> {
    let expand = object.get("allowVolumeExpansion").and_then(Value::as_bool).unwrap_or_default();
    vec![
        object::text(object, &["provisioner"]).into(),
        table::or_none(object, &["reclaimPolicy"]),
        table::or_none(object, &["volumeBindingMode"]),
        expand.to_string().into(),
    ]
}
