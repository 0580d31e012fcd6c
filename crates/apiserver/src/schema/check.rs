//! Unknown fields, and the JSON types of built-in objects.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::{Node, Type};
use crate::kinds::quantity;

/// Finds fields that the schema does not know, as paths in Kubernetes' form; with `prune`, also removes them.
pub fn unknown(node: &Node, value: &mut Value, prune: bool) -> Vec<String> {
    let mut found = Vec::new();
    walk(node, value, "", prune, &mut found);
    found
}

fn walk(node: &Node, value: &mut Value, path: &str, prune: bool, found: &mut Vec<String>) {
    match value {
        Value::Object(map) if node.kind == Type::Object => {
            let unknown: Vec<String> = map
                .keys()
                .filter(|key| !node.preserve && node.field(key).is_none() && !embedded_field(node, key))
                .filter(|_| node.items.is_none())
                .cloned()
                .collect();
            for key in unknown {
                found.push(join(path, &key));
                if prune {
                    map.shift_remove(&key);
                }
            }
            for (key, child) in map.iter_mut() {
                if let Some(field) = node.field(key).or(node.items.as_ref()) {
                    walk(field, child, &join(path, key), prune, found);
                }
            }
        }
        Value::Object(map) if node.kind == Type::Map => {
            for (key, child) in map.iter_mut() {
                if let Some(item) = &node.items {
                    walk(item, child, &join(path, key), prune, found);
                }
            }
        }
        Value::Array(list) if node.kind == Type::List => {
            for (index, child) in list.iter_mut().enumerate() {
                if let Some(item) = &node.items {
                    walk(item, child, &format!("{path}[{index}]"), prune, found);
                }
            }
        }
        _ => {}
    }
}

/// Where a text stops being base64, as Go's decoder counts.
fn no_base64(text: &str) -> Option<usize> {
    if STANDARD.decode(text).is_ok() {
        return None;
    }
    let alphabet = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'+' | b'/' | b'=');
    let broken = text.bytes().position(|c| !alphabet(c));
    Some(broken.unwrap_or(text.len() / 4 * 4))
}

/// A JSON value's kind, as Go's decoder names it.
pub fn json_kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// A value as Go's `%+v` prints it.
pub fn go_text(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(list) => format!("[{}]", list.iter().map(go_text).collect::<Vec<_>>().join(" ")),
        Value::Object(map) => {
            let mut pairs: Vec<String> =
                map.iter().map(|(key, value)| format!("{key}:{}", go_text(value))).collect();
            pairs.sort();
            format!("map[{}]", pairs.join(" "))
        }
        other => other.to_string(),
    }
}

fn embedded_field(node: &Node, key: &str) -> bool {
    node.embedded && matches!(key, "apiVersion" | "kind" | "metadata")
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// Drops nulls of a built-in object (they are absent fields) and checks its JSON types.
///
/// # Errors
/// The first value of a wrong type, in the words of Go's decoder.
pub fn types(node: &Node, value: &mut Value) -> Result<(), String> {
    check(node, value, "", node.name)
}

fn check(node: &Node, value: &mut Value, path: &str, owner: &str) -> Result<(), String> {
    let fits = match (node.kind, &*value) {
        (Type::Any, _) | (_, Value::Null) => true,
        (Type::String | Type::Bytes | Type::Time, v) => v.is_string(),
        (Type::Int32, v) => v.as_i64().is_some_and(|n| i32::try_from(n).is_ok()),
        (Type::Int64, v) => v.is_i64() || v.is_u64(),
        (Type::Number, v) => v.is_number(),
        (Type::Bool, v) => v.is_boolean(),
        (Type::IntOrString | Type::Quantity, v) => v.is_string() || v.is_number(),
        (Type::Object | Type::Map, v) => v.is_object(),
        (Type::List, v) => v.is_array(),
    };
    if !fits {
        let (found, wanted) = (json_type(value), go_type(node));
        return Err(if path.is_empty() {
            format!("json: cannot unmarshal {found} into Go value of type {wanted}")
        } else {
            format!("json: cannot unmarshal {found} into Go struct field {owner}.{path} of type {wanted}")
        });
    }
    if node.kind == Type::Time
        && value.as_str().is_some_and(|t| !t.is_empty() && t.parse::<jiff::Timestamp>().is_err())
    {
        return Err(format!(
            "parsing time {value} as \"2006-01-02T15:04:05Z07:00\": cannot parse {value} as \"2006\""
        ));
    }
    if let (Type::Bytes, Some(text)) = (node.kind, value.as_str())
        && let Some(place) = no_base64(text)
    {
        return Err(format!("illegal base64 data at input byte {place}"));
    }
    if let (Type::Quantity, Some(text)) = (node.kind, value.as_str())
        && quantity::parse(text).is_none()
    {
        return Err(quantity::FORM.to_owned());
    }
    match value {
        Value::Object(map) if node.kind != Type::Any => {
            map.retain(|_, child| !child.is_null());
            let owner = if node.name.is_empty() { owner } else { node.name };
            for (key, child) in map.iter_mut() {
                if let Some(field) = node.field(key) {
                    // The values of a map bear the map's path.
                    let path = if node.kind == Type::Map { path.to_owned() } else { join(path, key) };
                    check(field, child, &path, owner)?;
                }
            }
        }
        Value::Array(list) => {
            if let Some(item) = &node.items {
                for child in list.iter_mut() {
                    check(item, child, path, owner)?;
                }
            }
        }
        _ => {}
    }
    Ok(())
}

fn json_type(value: &Value) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Bool(_) => "bool".into(),
        Value::Number(n) if n.is_f64() => format!("number {n}"),
        Value::Number(_) => "number".into(),
        Value::String(_) => "string".into(),
        Value::Array(_) => "array".into(),
        Value::Object(_) => "object".into(),
    }
}

fn go_type(node: &Node) -> String {
    match node.kind {
        Type::Any => "interface {}".into(),
        Type::String => "string".into(),
        Type::Time => "v1.Time".into(),
        Type::Bytes => "[]uint8".into(),
        Type::Int32 => "int32".into(),
        Type::Int64 => "int64".into(),
        Type::Number => "float64".into(),
        Type::Bool => "bool".into(),
        Type::IntOrString => "intstr.IntOrString".into(),
        Type::Quantity => "resource.Quantity".into(),
        Type::Object => format!("v1.{}", node.name),
        Type::Map => format!("map[string]{}", node.items.as_deref().map(go_type).unwrap_or_default()),
        Type::List => format!("[]{}", node.items.as_deref().map(go_type).unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::trace::Tracer;
    use serde_json::json;

    #[test]
    fn unknown_fields_and_wrong_types_are_told_in_kubernetes_words() {
        let node = Tracer::default().trace::<k8s_openapi::api::apps::v1::Deployment>();
        let mut object = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"creationTimestamp": null},
            "spec": {"replica": 1, "template": {"spec": {"containers": [{"name": "a", "images": "x"}]}}}});
        types(&node, &mut object).unwrap();
        assert_eq!(object["metadata"], json!({}));
        let found = unknown(&node, &mut object, true);
        assert_eq!(found, ["spec.replica", "spec.template.spec.containers[0].images"]);
        assert!(object["spec"].get("replica").is_none());
        let mut wrong = json!({"spec": {"replicas": "two"}});
        let error = types(&node, &mut wrong).unwrap_err();
        let want =
            "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32";
        assert_eq!(error, want);
    }
}
