//! A message -> JSON.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use prost_reflect::{DescriptorPool, DynamicMessage, Kind, MapKey, ReflectMessage, Value};
use serde_json::{Map, Value as Json, json};

use super::well_known;

/// Writes a message, a well-known type in its own form.
pub(super) fn message(message: &DynamicMessage) -> Json {
    let descriptor = message.descriptor();
    let field = |name: &str| message.get_field_by_name(name);
    let text =
        |name: &str| field(name).and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default();
    match descriptor.full_name() {
        "google.protobuf.Any" => {
            let value = field("value").and_then(|value| value.as_bytes().cloned()).unwrap_or_default();
            any(descriptor.parent_pool(), &text("type_url"), &value)
        }
        "google.protobuf.Duration" => duration(message),
        "google.protobuf.Timestamp" => {
            let (seconds, nanos) = seconds_nanos(message);
            Json::String(prost_types::Timestamp { seconds, nanos }.to_string())
        }
        "google.protobuf.FieldMask" => {
            let paths = field("paths").map(|paths| paths.into_owned());
            let paths = paths.iter().flat_map(|paths| paths.as_list()).flatten().filter_map(Value::as_str);
            Json::String(paths.collect::<Vec<_>>().join(","))
        }
        "google.protobuf.Struct" => field("fields").map_or(json!({}), |fields| value(&Kind::Bool, &fields)),
        "google.protobuf.ListValue" => {
            field("values").map_or(json!([]), |values| value(&Kind::Bool, &values))
        }
        "google.protobuf.Value" => match message.fields().next() {
            Some((field, _)) if field.name() == "null_value" => Json::Null,
            Some((_, Value::F64(number))) if number.fract() == 0.0 && number.abs() < 9e15 => {
                json!(*number as i64)
            }
            Some((field, inner)) => value(&field.kind(), inner),
            None => Json::Null,
        },
        name if well_known::is_wrapper(name) => {
            let Some(field) = descriptor.get_field_by_name("value") else { return Json::Null };
            value(&field.kind(), &message.get_field(&field))
        }
        _ => Json::Object(fields(message)),
    }
}

fn fields(message: &DynamicMessage) -> Map<String, Json> {
    let mut map = Map::new();
    // In the order of declaration, as Envoy writes them.
    for field in message.descriptor().fields() {
        if message.has_field(&field) {
            map.insert(field.name().to_owned(), value(&field.kind(), &message.get_field(&field)));
        }
    }
    map
}

/// Writes an `Any`; one of an unknown type as base64.
pub(super) fn any(pool: &DescriptorPool, type_url: &str, body: &[u8]) -> Json {
    let name = type_url.rsplit('/').next().unwrap_or(type_url);
    let decoded = pool.get_message_by_name(name).and_then(|inner| DynamicMessage::decode(inner, body).ok());
    let Some(decoded) = decoded else {
        return json!({ "@type": type_url, "value": STANDARD.encode(body) });
    };
    let mut map = Map::new();
    map.insert("@type".to_owned(), Json::String(type_url.to_owned()));
    if well_known::special(name) {
        map.insert("value".to_owned(), message(&decoded));
    } else {
        map.extend(fields(&decoded));
    }
    Json::Object(map)
}

fn seconds_nanos(message: &DynamicMessage) -> (i64, i32) {
    let seconds = message.get_field_by_name("seconds").and_then(|value| value.as_i64());
    let nanos = message.get_field_by_name("nanos").and_then(|value| value.as_i32());
    (seconds.unwrap_or(0), nanos.unwrap_or(0))
}

fn duration(message: &DynamicMessage) -> Json {
    let (seconds, nanos) = seconds_nanos(message);
    let sign = if seconds < 0 || nanos < 0 { "-" } else { "" };
    let (seconds, nanos) = (seconds.unsigned_abs(), nanos.unsigned_abs());
    let text = match nanos {
        0 => format!("{sign}{seconds}s"),
        nanos if nanos % 1_000_000 == 0 => format!("{sign}{seconds}.{:03}s", nanos / 1_000_000),
        nanos if nanos % 1_000 == 0 => format!("{sign}{seconds}.{:06}s", nanos / 1_000),
        nanos => format!("{sign}{seconds}.{nanos:09}s"),
    };
    Json::String(text)
}

fn value(kind: &Kind, value: &Value) -> Json {
    match value {
        Value::Bool(value) => json!(value),
        Value::I32(value) => json!(value),
        Value::U32(value) => json!(value),
        // 64-bit integers are strings (ProtoJSON).
        Value::I64(value) => Json::String(value.to_string()),
        Value::U64(value) => Json::String(value.to_string()),
        Value::F32(value) => float(f64::from(*value)),
        Value::F64(value) => float(*value),
        Value::String(value) => json!(value),
        Value::Bytes(value) => Json::String(STANDARD.encode(value)),
        Value::EnumNumber(number) => {
            match kind.as_enum().and_then(|descriptor| descriptor.get_value(*number)) {
                Some(value) => Json::String(value.name().to_owned()),
                None => json!(number),
            }
        }
        Value::Message(inner) => message(inner),
        Value::List(items) => Json::Array(items.iter().map(|item| self::value(kind, item)).collect()),
        Value::Map(entries) => {
            let value_kind = kind.as_message().map(|entry| entry.map_entry_value_field().kind());
            let value_kind = value_kind.as_ref().unwrap_or(kind);
            let mut entries: Vec<_> = entries.iter().map(|(key, item)| (map_key(key), item)).collect();
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            Json::Object(
                entries.into_iter().map(|(key, item)| (key, self::value(value_kind, item))).collect(),
            )
        }
    }
}

fn float(value: f64) -> Json {
    match value {
        value if value.is_nan() => json!("NaN"),
        f64::INFINITY => json!("Infinity"),
        f64::NEG_INFINITY => json!("-Infinity"),
        value if value.fract() == 0.0 && value.abs() < 9e15 => json!(value as i64),
        value => json!(value),
    }
}

fn map_key(key: &MapKey) -> String {
    match key {
        MapKey::Bool(key) => key.to_string(),
        MapKey::I32(key) => key.to_string(),
        MapKey::I64(key) => key.to_string(),
        MapKey::U32(key) => key.to_string(),
        MapKey::U64(key) => key.to_string(),
        MapKey::String(key) => key.clone(),
    }
}
