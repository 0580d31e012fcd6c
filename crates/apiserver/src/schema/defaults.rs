//! Defaults that a schema declares.

use serde_json::Value;

use super::{Node, Type};

/// Fills in declared defaults where fields are missing, or null and not nullable.
pub fn apply(node: &Node, value: &mut Value) {
    match value {
        Value::Object(map) if matches!(node.kind, Type::Object | Type::Map) => {
            for (key, field) in &node.fields {
                let Some(default) = &field.default else { continue };
                let missing = map.get(&**key).is_none_or(|v| v.is_null() && !field.nullable);
                if missing {
                    map.insert(key.to_string(), (**default).clone());
                }
            }
            for (key, child) in map.iter_mut() {
                if let Some(field) = node.fields.get(key.as_str()).or(node.items.as_ref()) {
                    apply(field, child);
                }
            }
        }
        Value::Array(list) => {
            if let Some(item) = &node.items {
                list.iter_mut().for_each(|child| apply(item, child));
            }
        }
        _ => {}
    }
}
