//! Namespaces.

use serde_json::{Value, json};

use crate::object;
use crate::registry::Behaviour;
use crate::table::{AGE, Column, col};

/// Namespaces.
pub static NAMESPACE: Behaviour = Behaviour { default, fields, columns: COLUMNS, row, ..Behaviour::PLAIN };

const COLUMNS: &[Column] = &[col("Status"), AGE];

fn default(object: &mut Value) {
    let name = object::name(object).to_owned();
    if !name.is_empty() {
        let labels = object::map_mut(object, &["metadata", "labels"]);
        labels.insert("kubernetes.io/metadata.name".into(), name.into());
    }
    let spec = object::map_mut(object, &["spec"]);
    object::default(spec, "finalizers", json!(["kubernetes"]));
    object::default(object::map_mut(object, &["status"]), "phase", "Active");
}

fn fields(object: &Value) -> Vec<(&'static str, String)> {
    vec![("status.phase", object::text(object, &["status", "phase"]).to_owned())]
}

fn row(object: &Value) -> Vec<Value> {
    vec![object::text(object, &["status", "phase"]).into()]
}
