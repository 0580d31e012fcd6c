//! The types with a JSON form of their own: Any, Duration, Timestamp, Struct, Value, wrappers, Empty, FieldMask.

use std::collections::HashMap;

use prost::Message;
use prost_reflect::{DynamicMessage, Kind, MapKey, MessageDescriptor, Value};
use serde_saphyr::Spanned;

use super::document::Node;
use super::field::Path;
use super::{JsonError, read, scalar};

/// Reads a well-known type; `None` for every other message.
pub(super) fn read(
    descriptor: &MessageDescriptor,
    node: &Spanned<Node>,
    path: &Path<'_>,
) -> Result<Option<DynamicMessage>, JsonError> {
    let fail = |reason: String| path.error(node.referenced.line(), reason);
    let message = match descriptor.full_name() {
        "google.protobuf.Any" => any(descriptor, node, path)?,
        "google.protobuf.Duration" => {
            let (seconds, nanos) = text(&node.value).and_then(duration).map_err(fail)?;
            seconds_nanos(descriptor, seconds, nanos)
        }
        "google.protobuf.Timestamp" => {
            let time: prost_types::Timestamp = text(&node.value)
                .and_then(|text| {
                    text.parse().map_err(|_| "expected a time such as 2026-01-31T12:00:00Z".to_owned())
                })
                .map_err(fail)?;
            seconds_nanos(descriptor, time.seconds, time.nanos)
        }
        "google.protobuf.FieldMask" => {
            let paths = text(&node.value).map_err(fail)?.split(',').filter(|path| !path.is_empty());
            let paths = paths.map(|path| Value::String(snake_case(path))).collect();
            with(descriptor, "paths", Value::List(paths))
        }
        "google.protobuf.Struct" => struct_value(descriptor, &node.value).map_err(fail)?,
        "google.protobuf.ListValue" => list_value(descriptor, &node.value).map_err(fail)?,
        "google.protobuf.Value" => json_value(descriptor, &node.value).map_err(fail)?,
        name if is_wrapper(name) => {
            let Some(field) = descriptor.get_field_by_name("value") else { return Ok(None) };
            let value = scalar::read(&field.kind(), &node.value).map_err(fail)?;
            let mut message = DynamicMessage::new(descriptor.clone());
            message.set_field(&field, value);
            message
        }
        _ => return Ok(None),
    };
    Ok(Some(message))
}

/// Whether a type is one of `google.protobuf`'s wrappers of a scalar.
pub(super) fn is_wrapper(name: &str) -> bool {
    let wrapped = name.strip_prefix("google.protobuf.").and_then(|name| name.strip_suffix("Value"));
    wrapped.is_some_and(|wrapped| !matches!(wrapped, "" | "List" | "Null"))
}

fn text(node: &Node) -> Result<&str, String> {
    match node {
        Node::String(text) => Ok(text),
        node => Err(format!("expected a string, found {}", node.kind())),
    }
}

fn with(descriptor: &MessageDescriptor, field: &str, value: Value) -> DynamicMessage {
    let mut message = DynamicMessage::new(descriptor.clone());
    message.set_field_by_name(field, value);
    message
}

fn seconds_nanos(descriptor: &MessageDescriptor, seconds: i64, nanos: i32) -> DynamicMessage {
    let mut message = with(descriptor, "seconds", Value::I64(seconds));
    message.set_field_by_name("nanos", Value::I32(nanos));
    message
}

/// `1.5s`, with up to nine decimal places; at most 10,000 years (ProtoJSON).
fn duration(text: &str) -> Result<(i64, i32), String> {
    let expected = || format!("`{text}` is not a duration such as 0.25s or 10s");
    let number = text.strip_suffix('s').ok_or_else(expected)?;
    let (negative, number) = number.strip_prefix('-').map_or((false, number), |number| (true, number));
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || fraction.len() > 9 || !digits(whole) || !digits(fraction) {
        return Err(expected());
    }
    let seconds: i64 = whole.parse().map_err(|_| expected())?;
    if seconds > 315_576_000_000 {
        return Err(format!("`{text}` is longer than a duration may be"));
    }
    let nanos: i32 = format!("{fraction:0<9}").parse().map_err(|_| expected())?;
    Ok(if negative { (-seconds, -nanos) } else { (seconds, nanos) })
}

fn snake_case(path: &str) -> String {
    let mut snake = String::with_capacity(path.len() + 4);
    for c in path.chars() {
        if c.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(c.to_ascii_lowercase());
    }
    snake
}

fn any(
    descriptor: &MessageDescriptor,
    node: &Spanned<Node>,
    path: &Path<'_>,
) -> Result<DynamicMessage, JsonError> {
    let line = node.referenced.line();
    let Node::Map(entries) = &node.value else {
        return Err(path.error(line, format!("expected a map with `@type`, found {}", node.value.kind())));
    };
    let mut types = entries.iter().filter(|(key, _)| key == "@type");
    let Some((_, Spanned { value: Node::String(url), .. })) = types.next() else {
        return Err(
            path.error(line, "`@type` is missing: the type of the message, such as type.googleapis.com/...")
        );
    };
    let name = url.rsplit('/').next().unwrap_or(url);
    let pool = descriptor.parent_pool();
    let Some(inner) = pool.get_message_by_name(name) else {
        return Err(path.error(line, format!("the type `{url}` is not supported")));
    };
    let message = if special(name) {
        match entries.iter().find(|(key, _)| key == "value") {
            Some((key, value)) => read::read(&inner, value, &Path::Field(path, key))?,
            None => return Err(path.error(line, format!("`value` is missing beside `@type` {url}"))),
        }
    } else {
        read::fields(&inner, node, path, Some("@type"))?
    };
    let mut any = with(descriptor, "type_url", Value::String(url.clone()));
    any.set_field_by_name("value", Value::Bytes(message.encode_to_vec().into()));
    Ok(any)
}

/// Types whose JSON is not a map of their fields stand under `value` within an `Any`.
pub(super) fn special(name: &str) -> bool {
    is_wrapper(name)
        || matches!(
            name.strip_prefix("google.protobuf."),
            Some("Any" | "Duration" | "Timestamp" | "FieldMask" | "Struct" | "ListValue" | "Value")
        )
}

fn struct_value(descriptor: &MessageDescriptor, node: &Node) -> Result<DynamicMessage, String> {
    let Node::Map(entries) = node else { return Err(format!("expected a map, found {}", node.kind())) };
    let field = descriptor.get_field_by_name("fields").ok_or("Struct has no fields")?;
    let Kind::Message(entry) = field.kind() else { return Err("Struct has no entries".to_owned()) };
    let Kind::Message(value) = entry.map_entry_value_field().kind() else {
        return Err("no value".to_owned());
    };
    let mut map = HashMap::with_capacity(entries.len());
    for (key, node) in entries {
        map.insert(MapKey::String(key.clone()), Value::Message(json_value(&value, &node.value)?));
    }
    Ok(with(descriptor, "fields", Value::Map(map)))
}

fn list_value(descriptor: &MessageDescriptor, node: &Node) -> Result<DynamicMessage, String> {
    let Node::List(items) = node else { return Err(format!("expected a list, found {}", node.kind())) };
    let field = descriptor.get_field_by_name("values").ok_or("ListValue has no values")?;
    let Kind::Message(value) = field.kind() else { return Err("no value".to_owned()) };
    let items = items.iter().map(|item| json_value(&value, &item.value).map(Value::Message));
    Ok(with(descriptor, "values", Value::List(items.collect::<Result<_, _>>()?)))
}

fn json_value(descriptor: &MessageDescriptor, node: &Node) -> Result<DynamicMessage, String> {
    let nested = |field: &str| match descriptor.get_field_by_name(field).map(|field| field.kind()) {
        Some(Kind::Message(message)) => Ok(message),
        _ => Err(format!("Value has no {field}")),
    };
    Ok(match node {
        Node::Null => with(descriptor, "null_value", Value::EnumNumber(0)),
        Node::Bool(value) => with(descriptor, "bool_value", Value::Bool(*value)),
        Node::Signed(value) => with(descriptor, "number_value", Value::F64(*value as f64)),
        Node::Unsigned(value) => with(descriptor, "number_value", Value::F64(*value as f64)),
        Node::Float(value) => with(descriptor, "number_value", Value::F64(*value)),
        Node::String(value) => with(descriptor, "string_value", Value::String(value.clone())),
        Node::List(_) => {
            let list = list_value(&nested("list_value")?, node)?;
            with(descriptor, "list_value", Value::Message(list))
        }
        Node::Map(_) => {
            let map = struct_value(&nested("struct_value")?, node)?;
            with(descriptor, "struct_value", Value::Message(map))
        }
    })
}
