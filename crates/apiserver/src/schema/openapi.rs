//! A schema as OpenAPI v3.

use serde_json::{Map, Value, json};

use super::{ListType, Node, PatchStrategy, Type};

/// Describes a schema.
pub fn describe(node: &Node) -> Value {
    let mut out = Map::new();
    let mut put = |key: &str, value: Value| {
        out.insert(key.to_owned(), value);
    };
    match node.kind {
        Type::Any => put("x-kubernetes-preserve-unknown-fields", true.into()),
        Type::String => put("type", "string".into()),
        Type::Time => {
            put("type", "string".into());
            put("format", "date-time".into());
        }
        Type::Bytes => {
            put("type", "string".into());
            put("format", "byte".into());
        }
        Type::Int32 | Type::Int64 => {
            put("type", "integer".into());
            put("format", if node.kind == Type::Int32 { "int32" } else { "int64" }.into());
        }
        Type::Number => put("type", "number".into()),
        Type::Bool => put("type", "boolean".into()),
        Type::IntOrString => {
            put("format", "int-or-string".into());
            put("oneOf", json!([{"type": "integer"}, {"type": "string"}]));
        }
        Type::Quantity => put("oneOf", json!([{"type": "string"}, {"type": "number"}])),
        Type::Object => {
            put("type", "object".into());
            let fields = node.fields.iter().map(|(key, field)| (key.to_string(), describe(field)));
            put("properties", Value::Object(fields.collect()));
        }
        Type::Map => {
            put("type", "object".into());
            put("additionalProperties", node.items.as_deref().map_or(json!({}), describe));
        }
        Type::List => {
            put("type", "array".into());
            put("items", node.items.as_deref().map_or(json!({}), describe));
        }
    }
    match &node.list {
        ListType::Map(keys) => {
            put("x-kubernetes-list-type", "map".into());
            put("x-kubernetes-list-map-keys", json!(keys));
        }
        ListType::Set => put("x-kubernetes-list-type", "set".into()),
        ListType::Atomic if node.kind == Type::List => put("x-kubernetes-list-type", "atomic".into()),
        ListType::Atomic => {}
    }
    match &node.patch {
        PatchStrategy::MergeKey(key) => {
            put("x-kubernetes-patch-merge-key", (*key).into());
            put("x-kubernetes-patch-strategy", "merge".into());
        }
        PatchStrategy::MergeSet => put("x-kubernetes-patch-strategy", "merge".into()),
        PatchStrategy::Default => {}
    }
    if node.atomic {
        put("x-kubernetes-map-type", "atomic".into());
    }
    Value::Object(out)
}
