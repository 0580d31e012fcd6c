//! CustomResourceDefinitions.

use serde_json::{Value, json};

use super::names;
use crate::object;
use crate::registry::Behaviour;
use crate::status::{FieldError, Reason};
use crate::table::col;

/// The finalizer that keeps a definition until its objects are gone.
pub const CLEANUP: &str = "customresourcecleanup.apiextensions.k8s.io";

/// CustomResourceDefinitions.
pub static DEFINITION: Behaviour = Behaviour {
    default,
    validate,
    validate_update: fixed,
    columns: &[col("Created At")],
    row: |object| vec![object::meta(object, "creationTimestamp").into()],
    ..Behaviour::PLAIN
};

fn default(object: &mut Value) {
    let names = object::map_mut(object, &["spec", "names"]);
    if let Some(kind) = names.get("kind").and_then(Value::as_str).map(str::to_owned) {
        object::default(names, "singular", kind.to_lowercase());
        object::default(names, "listKind", format!("{kind}List"));
    }
    object::default(object::map_mut(object, &["spec", "conversion"]), "strategy", "None");
    accept(object);
}

/// Names are accepted and the resource is established at once: nothing else serves them.
fn accept(object: &mut Value) {
    let accepted = object::at(object, &["spec", "names"]).cloned().unwrap_or_default();
    let versions = object::list(object, &["spec", "versions"]).iter();
    let stored: Vec<Value> = versions
        .filter(|v| v.get("storage") == Some(&Value::Bool(true)))
        .filter_map(|v| v.get("name").cloned())
        .collect();
    let status = object::map_mut(object, &["status"]);
    status.insert("acceptedNames".into(), accepted);
    let now = object::now();
    let condition = |kind: &str, reason: &str, message: &str| json!({"type": kind, "status": "True", "reason": reason, "message": message, "lastTransitionTime": now});
    let conditions = json!([
        condition("NamesAccepted", "NoConflicts", "no conflicts found"),
        condition("Established", "InitialNamesAccepted", "the initial names have been accepted"),
    ]);
    object::default(status, "conditions", conditions);
    let stored_versions = status.entry("storedVersions").or_insert_with(|| json!([]));
    if let Some(list) = stored_versions.as_array_mut() {
        for version in stored {
            if !list.contains(&version) {
                list.push(version);
            }
        }
    }
}

fn validate(object: &Value, errors: &mut Vec<FieldError>) {
    let text = |path: &[&str]| object::text(object, path);
    let (group, plural) = (text(&["spec", "group"]), text(&["spec", "names", "plural"]));
    for (value, path) in [
        (group, "spec.group"),
        (plural, "spec.names.plural"),
        (text(&["spec", "names", "kind"]), "spec.names.kind"),
        (text(&["spec", "scope"]), "spec.scope"),
    ] {
        if value.is_empty() {
            errors.push(FieldError::required(path, ""));
        }
    }
    if object::name(object) != format!("{plural}.{group}") {
        let detail = "must be spec.names.plural+\".\"+spec.group";
        errors.push(FieldError::invalid("metadata.name", object::name(object), detail));
    }
    if !plural.is_empty()
        && let Some(error) = names::label_1035(plural)
    {
        errors.push(FieldError::invalid("spec.names.plural", plural, error));
    }
    let kind = text(&["spec", "names", "kind"]);
    if !kind.is_empty()
        && let Some(error) = names::label_1035(&kind.to_lowercase())
    {
        errors.push(FieldError::invalid(
            "spec.names.kind",
            kind,
            format!("may have mixed case, but should otherwise match: {error}"),
        ));
    }
    let scope = text(&["spec", "scope"]);
    if !scope.is_empty() && !["Cluster", "Namespaced"].contains(&scope) {
        errors.push(FieldError::unsupported("spec.scope", scope, &["Cluster", "Namespaced"]));
    }
    versions(object, errors);
    let strategy = text(&["spec", "conversion", "strategy"]);
    if strategy != "None" {
        let detail = "conversion webhooks are not served here: use strategy None";
        errors.push(FieldError::new("spec.conversion.strategy", Reason::Forbidden, detail));
    }
}

fn versions(object: &Value, errors: &mut Vec<FieldError>) {
    let versions = object::list(object, &["spec", "versions"]);
    if versions.is_empty() {
        errors.push(FieldError::required("spec.versions", "must have at least one version"));
        return;
    }
    let stored = versions.iter().filter(|v| v.get("storage") == Some(&Value::Bool(true))).count();
    if stored != 1 {
        let detail = "must have exactly one version marked as storage version";
        errors.push(FieldError::invalid("spec.versions", json!([]), detail));
    }
    for (index, version) in versions.iter().enumerate() {
        let path = format!("spec.versions[{index}]");
        let name = object::text(version, &["name"]);
        if let Some(error) = names::label_1035(name) {
            errors.push(FieldError::invalid(format!("{path}.name"), name, error));
        }
        let Some(schema) = object::at(version, &["schema", "openAPIV3Schema"]) else {
            errors.push(FieldError::required(format!("{path}.schema.openAPIV3Schema"), ""));
            continue;
        };
        if object::text(schema, &["type"]) != "object" {
            let path = format!("{path}.schema.openAPIV3Schema.type");
            let detail = "must be object at the root";
            errors.push(match schema.get("type") {
                None => FieldError::required(path, "must not be empty at the root"),
                Some(kind) => FieldError::invalid(path, kind.clone(), detail),
            });
        }
    }
}

fn fixed(old: &Value, new: &Value, errors: &mut Vec<FieldError>) {
    for path in [
        ["spec", "group"].as_slice(),
        &["spec", "scope"],
        &["spec", "names", "kind"],
        &["spec", "names", "plural"],
    ] {
        if object::at(old, path) != object::at(new, path) {
            let value = object::at(new, path).cloned().unwrap_or_default();
            errors.push(FieldError::invalid(path.join("."), value, "field is immutable"));
        }
    }
}
