//! Merging an applied configuration into an object, and taking fields out of one.

use serde_json::{Map, Value};

use super::fields::{Fields, below, edge, granular};
use crate::schema::{ListType, Node};

/// Merges what is applied into the object.
pub fn merge(node: Option<&Node>, live: &mut Value, applied: &Value) {
    match applied {
        Value::Object(map) if granular(node) => {
            if !live.is_object() {
                *live = Value::Object(Map::new());
            }
            let Some(target) = live.as_object_mut() else { return };
            for (key, value) in map {
                merge(below(node, key), target.entry(key).or_insert(Value::Null), value);
            }
        }
        Value::Array(list) if node.is_some_and(|n| n.list != ListType::Atomic) => {
            let Some(node) = node else { return };
            let items = node.items.as_deref();
            if !live.is_array() {
                *live = Value::Array(Vec::new());
            }
            let Some(target) = live.as_array_mut() else { return };
            for item in list {
                let id = edge(&node.list, items, item);
                match target.iter_mut().find(|t| edge(&node.list, items, t) == id) {
                    Some(existing) => merge(items, existing, item),
                    None => target.push(item.clone()),
                }
            }
        }
        other => *live = other.clone(),
    }
}

/// Takes the fields out of the object, except what lies below fields that others own.
pub fn remove(node: Option<&Node>, object: &mut Value, fields: &Fields, others: &Fields) {
    match object {
        Value::Object(map) => {
            for (key, child) in fields.children() {
                let Some(name) = key.strip_prefix("f:") else { continue };
                let kept = others.child(key);
                let Some(value) = map.get_mut(name) else { continue };
                if child.children().next().is_some() {
                    remove(below(node, name), value, child, kept.unwrap_or(&Fields::default()));
                    let emptied = value.as_object().is_some_and(Map::is_empty)
                        || value.as_array().is_some_and(Vec::is_empty);
                    if emptied && kept.is_none() {
                        map.shift_remove(name);
                    }
                } else if kept.is_none() {
                    map.shift_remove(name);
                }
            }
        }
        Value::Array(list) => {
            let Some(node) = node else { return };
            let items = node.items.as_deref();
            list.retain_mut(|item| {
                let Some(edge) = edge(&node.list, items, item) else { return true };
                let Some(child) = fields.child(&edge) else { return true };
                match others.child(&edge) {
                    None if child.is_member() => false,
                    kept => {
                        remove(items, item, child, kept.unwrap_or(&Fields::default()));
                        true
                    }
                }
            });
        }
        _ => {}
    }
}
