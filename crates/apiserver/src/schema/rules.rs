//! Validation of custom resources by their structural schema, with Kubernetes' messages.

use regex::Regex;
use serde_json::Value;

use super::{ListType, Node, Type};
use crate::object;
use crate::status::{FieldError, Reason};

/// The value validations of one schema level.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    /// Fields that must be there.
    pub required: Vec<Box<str>>,
    /// Allowed values.
    pub allowed: Vec<Value>,
    /// A pattern and its text.
    pub pattern: Option<(Regex, Box<str>)>,
    /// Lower bound, and whether it is excluded.
    pub minimum: Option<(f64, bool)>,
    /// Upper bound, and whether it is excluded.
    pub maximum: Option<(f64, bool)>,
    /// The value is a multiple of this.
    pub multiple_of: Option<f64>,
    /// Least number of characters.
    pub min_length: Option<u64>,
    /// Greatest number of characters.
    pub max_length: Option<u64>,
    /// Least number of elements.
    pub min_items: Option<u64>,
    /// Greatest number of elements.
    pub max_items: Option<u64>,
    /// Least number of fields.
    pub min_properties: Option<u64>,
    /// Greatest number of fields.
    pub max_properties: Option<u64>,
    /// `format` of a text or number.
    pub format: Option<Box<str>>,
    /// All of these hold.
    pub all_of: Vec<Node>,
    /// At least one of these holds.
    pub any_of: Vec<Node>,
    /// Exactly one of these holds.
    pub one_of: Vec<Node>,
    /// This does not hold.
    pub not: Option<Box<Node>>,
}

/// At most this many errors are told: a broken list of thousands is one mistake.
const MOST: usize = 50;

/// Validates a custom object.
pub fn validate(node: &Node, value: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    check(node, value, "", &mut errors);
    errors.truncate(MOST);
    errors
}

fn check(node: &Node, value: &Value, path: &str, errors: &mut Vec<FieldError>) {
    if value.is_null() && node.nullable || errors.len() > MOST {
        return;
    }
    if let Some(wanted) = wrong_type(node.kind, value) {
        let found = type_name(value);
        let detail = format!("{path} in body must be of type {wanted}: \"{found}\"");
        errors.push(FieldError::invalid(path, found, detail));
        return;
    }
    match value {
        Value::Object(map) => {
            // In the order of names, as Kubernetes tells of them.
            let mut children: Vec<_> = map.iter().collect();
            children.sort_unstable_by_key(|(key, _)| *key);
            for (key, child) in children {
                if let Some(field) = node.fields.get(key.as_str()).or(node.items.as_ref()) {
                    let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                    check(field, child, &path, errors);
                }
            }
        }
        Value::Array(list) => {
            unique(node, list, path, errors);
            if let Some(item) = &node.items {
                for (index, child) in list.iter().enumerate() {
                    check(item, child, &format!("{path}[{index}]"), errors);
                }
            }
        }
        _ => {}
    }
    // Kubernetes tells of what stands within first.
    if let Some(rules) = &node.rules {
        scalars(rules, value, path, errors);
        sizes(rules, value, path, errors);
        logic(rules, value, path, errors);
    }
}

/// The type's name where the value is not of it.
fn wrong_type(kind: Type, value: &Value) -> Option<&'static str> {
    let (fits, name) = match kind {
        Type::Any => (true, ""),
        Type::String | Type::Time | Type::Bytes => (value.is_string(), "string"),
        Type::Int32 | Type::Int64 => (object::is_integer(value), "integer"),
        Type::Number => (value.is_number(), "number"),
        Type::Bool => (value.is_boolean(), "boolean"),
        Type::IntOrString | Type::Quantity => {
            (value.is_string() || object::is_integer(value) || kind == Type::Quantity, "integer,string")
        }
        Type::Object | Type::Map => (value.is_object(), "object"),
        Type::List => (value.is_array(), "array"),
    };
    (!fits).then_some(name)
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) if object::is_integer(value) => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn scalars(rules: &Rules, value: &Value, path: &str, errors: &mut Vec<FieldError>) {
    if !rules.allowed.is_empty() && !rules.allowed.contains(value) {
        let allowed: Vec<String> =
            rules.allowed.iter().map(|v| v.as_str().map_or_else(|| v.to_string(), str::to_owned)).collect();
        let allowed: Vec<&str> = allowed.iter().map(String::as_str).collect();
        errors.push(FieldError::unsupported(path, value.clone(), &allowed));
    }
    if let Some(number) = value.as_f64() {
        let mut bad = |detail: String| errors.push(FieldError::invalid(path, value.clone(), detail));
        match rules.minimum {
            Some((least, true)) if number <= least => {
                bad(format!("{path} in body should be greater than {least}"))
            }
            Some((least, false)) if number < least => {
                bad(format!("{path} in body should be greater than or equal to {least}"));
            }
            _ => {}
        }
        match rules.maximum {
            Some((most, true)) if number >= most => bad(format!("{path} in body should be less than {most}")),
            Some((most, false)) if number > most => {
                bad(format!("{path} in body should be less than or equal to {most}"));
            }
            _ => {}
        }
        if let Some(step) = rules.multiple_of
            && (number / step).fract().abs() > 1e-9
        {
            bad(format!("{path} in body should be a multiple of {step}"));
        }
    }
    let Some(text) = value.as_str() else { return };
    if let Some((pattern, source)) = &rules.pattern
        && !pattern.is_match(text)
    {
        errors.push(FieldError::invalid(path, text, format!("{path} in body should match '{source}'")));
    }
    if let Some(format) = &rules.format
        && !format_ok(format, text)
    {
        let detail = format!("{path} in body must be of type {format}: {text:?}");
        errors.push(FieldError::invalid(path, text, detail));
    }
}

fn format_ok(format: &str, text: &str) -> bool {
    match format {
        "date-time" => text.parse::<jiff::Timestamp>().is_ok(),
        "date" => text.parse::<jiff::civil::Date>().is_ok(),
        "ipv4" => text.parse::<std::net::Ipv4Addr>().is_ok(),
        "ipv6" => text.parse::<std::net::Ipv6Addr>().is_ok(),
        "byte" => {
            use base64::Engine as _;
            base64::engine::general_purpose::STANDARD.decode(text).is_ok()
        }
        _ => true,
    }
}

fn sizes(rules: &Rules, value: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let (size, least, most, what) = match value {
        Value::String(text) => (text.chars().count(), rules.min_length, rules.max_length, "chars long"),
        Value::Array(list) => (list.len(), rules.min_items, rules.max_items, "items"),
        Value::Object(map) => (map.len(), rules.min_properties, rules.max_properties, "properties"),
        _ => return,
    };
    let size = size as u64;
    if least.is_some_and(|least| size < least) {
        let least = least.unwrap_or_default();
        let verb = if value.is_string() { "should be at least" } else { "should have at least" };
        let shown = if value.is_string() { value.clone() } else { size.into() };
        errors.push(FieldError::invalid(path, shown, format!("{path} in body {verb} {least} {what}")));
    }
    if let Some(most) = most.filter(|most| size > *most) {
        errors.push(match value {
            Value::String(_) => {
                FieldError::new(path, Reason::TooLong, format!("may not be more than {most} bytes"))
            }
            _ => FieldError {
                value: Some(size.into()),
                ..FieldError::new(path, Reason::TooMany, format!("must have at most {most} items"))
            },
        });
    }
    if let Value::Object(map) = value {
        for key in rules.required.iter().filter(|key| !map.contains_key(&***key)) {
            let field = if path.is_empty() { key.to_string() } else { format!("{path}.{key}") };
            errors.push(FieldError::required(field, ""));
        }
    }
}

fn logic(rules: &Rules, value: &Value, path: &str, errors: &mut Vec<FieldError>) {
    for node in &rules.all_of {
        check(node, value, path, errors);
    }
    let count = |nodes: &[Node]| nodes.iter().filter(|node| validate(node, value).is_empty()).count();
    let mut bad = |text: String| {
        let field = if path.is_empty() { "<nil>" } else { path };
        errors.push(FieldError::invalid(field, "", text));
    };
    if !rules.any_of.is_empty() && count(&rules.any_of) == 0 {
        bad(format!("{path:?} must validate at least one schema (anyOf)"));
    }
    if !rules.one_of.is_empty() {
        match count(&rules.one_of) {
            1 => {}
            0 => bad(format!("{path:?} must validate one and only one schema (oneOf). Found none valid")),
            n => bad(format!(
                "{path:?} must validate one and only one schema (oneOf). Found {n} valid alternatives"
            )),
        }
    }
    if let Some(not) = &rules.not
        && validate(not, value).is_empty()
    {
        bad(format!("{path:?} must not validate the schema (not)"));
    }
}

fn unique(node: &Node, list: &[Value], path: &str, errors: &mut Vec<FieldError>) {
    let mut seen = std::collections::HashSet::new();
    for (index, item) in list.iter().enumerate() {
        let id = match &node.list {
            ListType::Atomic => return,
            ListType::Set => item.clone(),
            ListType::Map(keys) => {
                let keys = keys.iter().filter_map(|k| item.get(&**k).map(|v| (k.to_string(), v.clone())));
                Value::Object(keys.collect())
            }
        };
        if !seen.insert(id.to_string()) {
            let field = format!("{path}[{index}]");
            errors.push(FieldError { value: Some(id), ..FieldError::new(field, Reason::Duplicate, "") });
        }
    }
}
