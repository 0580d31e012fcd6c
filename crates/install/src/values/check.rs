//! The part of JSON Schema that the charts' schemas use.

use serde_json::Value;

/// What a schema refuses, each with its path.
pub fn check(value: &Value, schema: &str) -> Vec<String> {
    let mut reasons = Vec::new();
    match serde_json::from_str(schema) {
        Ok(schema) => visit(value, &schema, "", &mut reasons),
        Err(error) => reasons.push(format!("values.schema.json: {error}")),
    }
    reasons
}

fn visit(value: &Value, schema: &Value, path: &str, reasons: &mut Vec<String>) {
    let place = if path.is_empty() { "(root)" } else { path };
    if let Some(types) = schema.get("type") {
        let types: Vec<&str> = match types {
            Value::Array(list) => list.iter().filter_map(Value::as_str).collect(),
            one => one.as_str().into_iter().collect(),
        };
        if !types.iter().any(|kind| is(value, kind)) {
            reasons.push(format!("- {place}: must be {}, not {value}", types.join(" or ")));
            return;
        }
    }
    if let Some(allowed) = schema.get("enum").and_then(Value::as_array)
        && !allowed.contains(value)
    {
        let names: Vec<String> = allowed.iter().map(Value::to_string).collect();
        reasons.push(format!("- {place}: must be one of {}, not {value}", names.join(", ")));
    }
    if let (Some(pattern), Some(text)) = (schema.get("pattern").and_then(Value::as_str), value.as_str())
        && !regex::Regex::new(pattern).is_ok_and(|pattern| pattern.is_match(text))
    {
        reasons.push(format!("- {place}: {text:?} does not match {pattern}"));
    }
    if let (Some(least), Some(number)) = (schema.get("minimum").and_then(Value::as_f64), value.as_f64())
        && number < least
    {
        reasons.push(format!("- {place}: must be at least {least}, not {number}"));
    }
    if let Value::Object(map) = value {
        let properties = schema.get("properties").and_then(Value::as_object);
        for (key, value) in map {
            let below = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            match (properties.and_then(|p| p.get(key)), schema.get("additionalProperties")) {
                (Some(schema), _) => visit(value, schema, &below, reasons),
                (None, Some(Value::Bool(false))) => {
                    let known: Vec<&str> =
                        properties.into_iter().flatten().map(|(key, _)| key.as_str()).collect();
                    reasons.push(format!("- {below}: no such value; there is: {}", known.join(", ")));
                }
                (None, Some(schema)) => visit(value, schema, &below, reasons),
                (None, None) => {}
            }
        }
    }
    if let (Value::Array(items), Some(schema)) = (value, schema.get("items")) {
        for (at, item) in items.iter().enumerate() {
            visit(item, schema, &format!("{path}[{at}]"), reasons);
        }
    }
}

fn is(value: &Value, kind: &str) -> bool {
    match kind {
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "object" => value.is_object(),
        "array" => value.is_array(),
        "null" => value.is_null(),
        _ => false,
    }
}
