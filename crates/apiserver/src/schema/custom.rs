//! Compiles a CRD's `openAPIV3Schema` into a schema tree.

use std::sync::Arc;

use regex::RegexBuilder;
use serde_json::Value;

use super::{ListType, Node, Rules, Type};
use crate::object;

/// Schemas may nest this deep; what lies deeper counts as anything.
const DEPTH: usize = 64;

/// The schema of a custom resource: the CRD's, with `apiVersion`, `kind` and `metadata` as every object has them.
pub fn compile(schema: &Value, metadata: Option<Arc<Node>>) -> Arc<Node> {
    let mut root = node(schema, 0);
    root.kind = Type::Object;
    for key in ["apiVersion", "kind"] {
        root.fields.insert(key.into(), Arc::new(Node::of(Type::String)));
    }
    let metadata = metadata.unwrap_or_else(|| Arc::new(Node::of(Type::Any)));
    root.fields.insert("metadata".into(), metadata);
    Arc::new(root)
}

fn flag(schema: &Value, key: &str) -> bool {
    schema.get(key).and_then(Value::as_bool).unwrap_or_default()
}

fn node(schema: &Value, depth: usize) -> Node {
    let mut node = Node::of(kind(schema));
    if depth > DEPTH {
        return Node::of(Type::Any);
    }
    let fields = schema.get("properties").and_then(Value::as_object).into_iter().flatten();
    node.fields =
        fields.map(|(key, value)| (key.as_str().into(), Arc::new(self::node(value, depth + 1)))).collect();
    node.items = match (schema.get("items"), schema.get("additionalProperties")) {
        (Some(items), _) => Some(Arc::new(self::node(items, depth + 1))),
        (_, Some(Value::Bool(true))) => Some(Arc::new(Node::of(Type::Any))),
        (_, Some(values @ Value::Object(_))) => Some(Arc::new(self::node(values, depth + 1))),
        _ => None,
    };
    if node.kind == Type::Object && node.fields.is_empty() && node.items.is_some() {
        node.kind = Type::Map;
    }
    let keys = object::list(schema, &["x-kubernetes-list-map-keys"]);
    node.list = match object::text(schema, &["x-kubernetes-list-type"]) {
        "set" => ListType::Set,
        "map" => ListType::Map(keys.iter().filter_map(Value::as_str).map(Into::into).collect()),
        _ => ListType::Atomic,
    };
    node.atomic = object::text(schema, &["x-kubernetes-map-type"]) == "atomic";
    node.preserve = flag(schema, "x-kubernetes-preserve-unknown-fields");
    node.embedded = flag(schema, "x-kubernetes-embedded-resource");
    node.nullable = flag(schema, "nullable");
    node.default = schema.get("default").filter(|d| !d.is_null()).cloned().map(Arc::new);
    node.rules = rules(schema, depth);
    node
}

fn kind(schema: &Value) -> Type {
    if flag(schema, "x-kubernetes-int-or-string") {
        return Type::IntOrString;
    }
    match object::text(schema, &["type"]) {
        "string" => Type::String,
        "integer" => Type::Int64,
        "number" => Type::Number,
        "boolean" => Type::Bool,
        "object" => Type::Object,
        "array" => Type::List,
        _ => Type::Any,
    }
}

fn rules(schema: &Value, depth: usize) -> Option<Box<Rules>> {
    let number = |key: &str| schema.get(key).and_then(Value::as_f64);
    let size = |key: &str| schema.get(key).and_then(Value::as_u64);
    let nodes =
        |key: &str| object::list(schema, &[key]).iter().map(|s| node(s, depth + 1)).collect::<Vec<_>>();
    let pattern = schema.get("pattern").and_then(Value::as_str);
    let rules = Rules {
        required: object::list(schema, &["required"])
            .iter()
            .filter_map(Value::as_str)
            .map(Into::into)
            .collect(),
        allowed: object::list(schema, &["enum"]).to_vec(),
        pattern: pattern.and_then(|text| {
            let regex = RegexBuilder::new(text).size_limit(1 << 20).build();
            regex.ok().map(|regex| (regex, text.into()))
        }),
        minimum: number("minimum").map(|n| (n, flag(schema, "exclusiveMinimum"))),
        maximum: number("maximum").map(|n| (n, flag(schema, "exclusiveMaximum"))),
        multiple_of: number("multipleOf"),
        min_length: size("minLength"),
        max_length: size("maxLength"),
        min_items: size("minItems"),
        max_items: size("maxItems"),
        min_properties: size("minProperties"),
        max_properties: size("maxProperties"),
        format: schema.get("format").and_then(Value::as_str).map(Into::into),
        all_of: nodes("allOf"),
        any_of: nodes("anyOf"),
        one_of: nodes("oneOf"),
        not: schema.get("not").map(|s| Box::new(node(s, depth + 1))),
    };
    let keys = [
        "required",
        "enum",
        "pattern",
        "minimum",
        "maximum",
        "multipleOf",
        "minLength",
        "maxLength",
        "minItems",
        "maxItems",
        "minProperties",
        "maxProperties",
        "format",
        "allOf",
        "anyOf",
        "oneOf",
        "not",
    ];
    keys.iter().any(|key| schema.get(key).is_some()).then(|| Box::new(rules))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::{check, defaults, rules};
    use serde_json::json;

    fn schema() -> Arc<Node> {
        let schema = json!({"type": "object", "required": ["spec"], "properties": {"spec": {
        "type": "object", "required": ["size"],
        "properties": {
            "size": {"type": "integer", "minimum": 1},
            "mode": {"type": "string", "enum": ["A", "B"], "default": "A"},
            "name": {"type": "string", "pattern": "^[a-z]+$"},
            "choice": {"type": "object", "x-kubernetes-preserve-unknown-fields": true,
                "oneOf": [{"required": ["a"]}, {"required": ["b"]}]},
        }}}});
        compile(&schema, None)
    }

    #[test]
    fn errors_are_told_in_kubernetes_words() {
        let object = json!({"spec": {"size": 0, "mode": "C", "name": "X", "choice": {"a": 1, "b": 1}}});
        let errors: Vec<String> =
            rules::validate(&schema(), &object).iter().map(ToString::to_string).collect();
        assert!(
            errors[0].contains("must validate one and only one schema (oneOf). Found 2 valid alternatives")
        );
        assert_eq!(errors[1], "spec.mode: Unsupported value: \"C\": supported values: \"A\", \"B\"");
        assert_eq!(errors[2], "spec.name: Invalid value: \"X\": spec.name in body should match '^[a-z]+$'");
        assert_eq!(
            errors[3],
            "spec.size: Invalid value: 0: spec.size in body should be greater than or equal to 1"
        );
        let missing = rules::validate(&schema(), &json!({"spec": {}}));
        assert_eq!(missing[0].to_string(), "spec.size: Required value");
        let wrong = rules::validate(&schema(), &json!({"spec": {"size": "x"}}));
        let want =
            "spec.size: Invalid value: \"string\": spec.size in body must be of type integer: \"string\"";
        assert_eq!(wrong[0].to_string(), want);
    }

    #[test]
    fn defaults_are_filled_and_unknown_fields_pruned() {
        let mut object = json!({"spec": {"size": 1, "extra": 2, "choice": {"free": 1}}});
        defaults::apply(&schema(), &mut object);
        assert_eq!(check::unknown(&schema(), &mut object, true), ["spec.extra"]);
        assert_eq!(object, json!({"spec": {"size": 1, "choice": {"free": 1}, "mode": "A"}}));
    }
}
