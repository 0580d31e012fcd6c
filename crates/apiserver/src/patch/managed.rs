//! `managedFields`: who owns which field, and server-side apply on top of it.

use http::StatusCode;
use serde_json::{Value, json};

use super::fields::{self, Fields};
use super::merge;
use crate::object;
use crate::schema::Node;
use crate::status::{ApiError, Result};

/// Who applies.
pub struct Owner<'a> {
    /// Field manager.
    pub manager: &'a str,
    /// API version of the applied object.
    pub api_version: &'a str,
    /// Subresource; empty for the object itself.
    pub subresource: &'a str,
}

/// One entry of `managedFields`.
#[derive(Debug, Clone)]
struct Entry {
    manager: String,
    operation: String,
    api_version: String,
    subresource: String,
    time: String,
    fields: Fields,
}

impl Entry {
    fn parse(value: &Value) -> Self {
        let text = |key: &str| object::text(value, &[key]).to_owned();
        Self {
            manager: text("manager"),
            operation: text("operation"),
            api_version: text("apiVersion"),
            subresource: text("subresource"),
            time: text("time"),
            fields: value.get("fieldsV1").map(Fields::parse).unwrap_or_default(),
        }
    }

    fn to_value(&self) -> Value {
        let mut value = json!({
            "manager": self.manager, "operation": self.operation, "apiVersion": self.api_version,
            "fieldsType": "FieldsV1", "fieldsV1": self.fields.to_value(),
        });
        if !self.time.is_empty() {
            value["time"] = self.time.as_str().into();
        }
        if !self.subresource.is_empty() {
            value["subresource"] = self.subresource.as_str().into();
        }
        value
    }

    fn is(&self, owner: &Owner<'_>, operation: &str) -> bool {
        self.manager == owner.manager && self.operation == operation && self.subresource == owner.subresource
    }
}

fn entries(object: &Value) -> Vec<Entry> {
    object::list(object, &["metadata", "managedFields"]).iter().map(Entry::parse).collect()
}

/// Keeps entries in Kubernetes' order: what was applied first, then by time and name.
fn store(object: &mut Value, entries: &mut [Entry]) {
    entries.sort_by(|a, b| {
        let key = |e: &Entry| (e.operation.clone(), e.time.clone(), e.manager.clone(), e.subresource.clone());
        key(a).cmp(&key(b))
    });
    let list: Vec<Value> = entries.iter().filter(|e| !e.fields.is_empty()).map(Entry::to_value).collect();
    let meta = object::meta_mut(object);
    if list.is_empty() {
        meta.shift_remove("managedFields");
    } else {
        meta.insert("managedFields".into(), list.into());
    }
}

/// Notes that a manager wrote an object by anything but server-side apply: it owns what changed.
pub fn track_update(node: &Node, old: Option<&Value>, new: &mut Value, manager: &str, subresource: &str) {
    let api_version = object::text(new, &["apiVersion"]).to_owned();
    let owner = Owner { manager, api_version: &api_version, subresource };
    // A client may have changed the entries themselves.
    let mut entries =
        Some(entries(new)).filter(|e| !e.is_empty()).or_else(|| old.map(entries)).unwrap_or_default();
    let changed = fields::written(node, old, new);
    let all = |object: &Value| fields::written(node, None, object);
    let removed = old.map(|old| all(old).difference(&all(new))).unwrap_or_default();
    let mine = entries.iter().position(|e| e.is(&owner, "Update"));
    let gone = changed.clone().union(&removed);
    for (index, entry) in entries.iter_mut().enumerate() {
        entry.fields = entry.fields.difference(if Some(index) == mine { &removed } else { &gone });
    }
    if !changed.is_empty() {
        match mine {
            Some(index) => {
                let entry = &mut entries[index];
                entry.fields = std::mem::take(&mut entry.fields).union(&changed);
                entry.time = object::now();
            }
            None => entries.push(new_entry(&owner, "Update", changed)),
        }
    }
    store(new, &mut entries);
}

fn new_entry(owner: &Owner<'_>, operation: &str, fields: Fields) -> Entry {
    Entry {
        manager: owner.manager.to_owned(),
        operation: operation.to_owned(),
        api_version: owner.api_version.to_owned(),
        subresource: owner.subresource.to_owned(),
        time: object::now(),
        fields,
    }
}

/// Applies a configuration: merges it, takes out what its manager applied before and no longer does, and refuses to
/// take over what others own unless forced to.
///
/// # Errors
/// 409 with every conflict.
pub fn apply(node: &Node, live: &Value, applied: &Value, owner: &Owner<'_>, force: bool) -> Result<Value> {
    let set = fields::of(node, applied);
    let diff = fields::changed(node, Some(live), applied);
    let mut entries = entries(live);
    let mine = entries.iter().position(|e| e.is(owner, "Apply"));
    let mut conflicts = Vec::new();
    for (index, entry) in entries.iter_mut().enumerate() {
        if Some(index) == mine {
            continue;
        }
        let taken = leaves(&entry.fields.intersection(&diff));
        if taken.is_empty() {
            continue;
        }
        if force {
            entry.fields = entry.fields.difference(&taken);
        } else {
            conflicts.extend(taken.paths().into_iter().map(|path| (entry.clone(), path)));
        }
    }
    if !conflicts.is_empty() {
        return Err(conflict(&conflicts));
    }
    let mut object = live.clone();
    merge::merge(Some(node), &mut object, applied);
    if let Some(mine) = mine {
        let others = entries.iter().enumerate().filter(|(index, _)| *index != mine);
        let others = others.fold(Fields::default(), |all, (_, entry)| all.union(&entry.fields));
        let mut dropped = entries[mine].fields.difference(&set).difference(&others);
        dropped.spare_parents_of(&set);
        merge::remove(Some(node), &mut object, &dropped, &others);
    }
    let mut entry = new_entry(owner, "Apply", set);
    if object == *live {
        // Who applies what is there already gets no time for it.
        entry.time = mine.map(|mine| entries[mine].time.clone()).unwrap_or_default();
    }
    match mine {
        Some(mine) if entries[mine].fields == entry.fields => {}
        Some(mine) => entries[mine] = entry,
        None => entries.push(entry),
    }
    store(&mut object, &mut entries);
    Ok(object)
}

/// Without the places that only say that a list's item is there: two managers may both want an item.
fn leaves(fields: &Fields) -> Fields {
    let mut paths = fields.clone();
    paths.drop_items();
    paths
}

fn conflict(conflicts: &[(Entry, String)]) -> ApiError {
    let with = |entry: &Entry| {
        let sub = if entry.subresource.is_empty() {
            String::new()
        } else {
            format!(" with subresource {:?}", entry.subresource)
        };
        let using =
            if entry.operation == "Update" { format!(" using {}", entry.api_version) } else { String::new() };
        format!("conflict with {:?}{sub}{using}", entry.manager)
    };
    let causes: Vec<Value> = conflicts
        .iter()
        .map(|(entry, path)| json!({"reason": "FieldManagerConflict", "message": with(entry), "field": path}))
        .collect();
    let message = match conflicts {
        [(entry, path)] => format!("Apply failed with 1 conflict: {}: {path}", with(entry)),
        all => {
            let mut text = format!("Apply failed with {} conflicts: ", all.len());
            let mut last = String::new();
            for (entry, path) in all {
                let head = with(entry);
                if head != last {
                    text.push_str(if last.is_empty() { "" } else { "\n" });
                    text.push_str(&head);
                    text.push(':');
                    last = head;
                }
                text.push_str("\n- ");
                text.push_str(path);
            }
            text
        }
    };
    let mut error = ApiError::new(StatusCode::CONFLICT, "Conflict", message);
    error.details = Some(Box::new(json!({"causes": causes})));
    error
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::trace::Tracer;

    fn node() -> std::sync::Arc<Node> {
        Tracer::default().trace::<k8s_openapi::api::core::v1::Service>()
    }

    fn owner(manager: &str) -> Owner<'_> {
        Owner { manager, api_version: "v1", subresource: "" }
    }

    fn applied(value: Value) -> Value {
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": value})
    }

    #[test]
    fn what_a_manager_no_longer_applies_goes_and_what_others_own_stays() {
        let node = node();
        let empty = json!({"metadata": {"name": "s"}});
        let first = applied(json!({"type": "NodePort", "ports": [{"port": 80}, {"port": 81}]}));
        let live = apply(&node, &empty, &first, &owner("a"), false).unwrap();
        let other = applied(json!({"externalName": "x", "ports": [{"port": 82}]}));
        let live = apply(&node, &live, &other, &owner("b"), false).unwrap();
        let less = applied(json!({"ports": [{"port": 80}]}));
        let live = apply(&node, &live, &less, &owner("a"), false).unwrap();
        assert_eq!(live["spec"], json!({"ports": [{"port": 80}, {"port": 82}], "externalName": "x"}));
    }

    #[test]
    fn a_field_of_another_is_taken_only_by_force() {
        let node = node();
        let mut live = applied(json!({"type": "NodePort"}));
        track_update(&node, None, &mut live, "creator", "");
        let wanted = applied(json!({"type": "ClusterIP"}));
        let error = apply(&node, &live, &wanted, &owner("a"), false).unwrap_err();
        assert_eq!(
            error.message,
            "Apply failed with 1 conflict: conflict with \"creator\" using v1: .spec.type"
        );
        let live = apply(&node, &live, &wanted, &owner("a"), true).unwrap();
        assert_eq!(live["spec"]["type"], "ClusterIP");
        let managers: Vec<&str> = object::list(&live, &["metadata", "managedFields"])
            .iter()
            .map(|e| object::text(e, &["manager"]))
            .collect();
        assert_eq!(managers, ["a"]);
        assert!(apply(&node, &live, &wanted, &owner("b"), false).is_ok(), "the same value is no conflict");
    }
}
