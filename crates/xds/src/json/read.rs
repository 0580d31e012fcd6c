//! A document's tree -> a message.

use std::collections::HashMap;

use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, Value};
use serde_saphyr::Spanned;

use super::document::Node;
use super::field::Path;
use super::{JsonError, scalar, well_known};

/// Reads the document's root as a message.
pub(super) fn message(
    descriptor: &MessageDescriptor,
    node: &Spanned<Node>,
) -> Result<DynamicMessage, JsonError> {
    read(descriptor, node, &Path::Root)
}

/// Reads a node as a message: by the special mapping of a well-known type, else field by field.
pub(super) fn read(
    descriptor: &MessageDescriptor,
    node: &Spanned<Node>,
    path: &Path<'_>,
) -> Result<DynamicMessage, JsonError> {
    if let Some(message) = well_known::read(descriptor, node, path)? {
        return Ok(message);
    }
    fields(descriptor, node, path, None)
}

/// Reads a map field by field; `skip` is a key that belongs to the surrounding `Any`.
pub(super) fn fields(
    descriptor: &MessageDescriptor,
    node: &Spanned<Node>,
    path: &Path<'_>,
    skip: Option<&str>,
) -> Result<DynamicMessage, JsonError> {
    let line = node.referenced.line();
    let Node::Map(entries) = &node.value else {
        let reason = format!("expected {} as a map, found {}", descriptor.full_name(), node.value.kind());
        return Err(path.error(line, reason));
    };
    let mut message = DynamicMessage::new(descriptor.clone());
    for (key, node) in entries {
        if skip == Some(key) {
            continue;
        }
        let path = Path::Field(path, key);
        let line = node.referenced.line();
        let field = descriptor.get_field_by_name(key).or_else(|| descriptor.get_field_by_json_name(key));
        let Some(field) = field else {
            return Err(path.error(line, unknown(descriptor, key)));
        };
        if matches!(node.value, Node::Null) && !takes_null(&field) {
            continue;
        }
        if message.has_field(&field) {
            return Err(path.error(line, "the field is given twice"));
        }
        if let Some(oneof) = field.containing_oneof()
            && let Some(other) = oneof.fields().find(|other| message.has_field(other))
        {
            return Err(path.error(line, format!("excludes `{}`, which is set as well", other.name())));
        }
        let value = value(&field, node, &path)?;
        message.set_field(&field, value);
    }
    Ok(message)
}

/// `google.protobuf.Value` alone has a use for null.
fn takes_null(field: &FieldDescriptor) -> bool {
    matches!(field.kind(), Kind::Message(message) if message.full_name() == "google.protobuf.Value")
}

fn unknown(descriptor: &MessageDescriptor, key: &str) -> String {
    let near = descriptor
        .fields()
        .map(|field| (distance(field.name(), key), field.name().to_owned()))
        .filter(|(distance, _)| *distance <= 1 + key.len() / 4)
        .min();
    match near {
        Some((_, name)) => format!("unknown field of {}; did you mean `{name}`?", descriptor.full_name()),
        None => format!("unknown field of {}", descriptor.full_name()),
    }
}

/// Edit distance (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let next = (diagonal + usize::from(x != y)).min(row[j] + 1).min(row[j + 1] + 1);
            diagonal = row[j + 1];
            row[j + 1] = next;
        }
    }
    row[b.len()]
}

fn value(field: &FieldDescriptor, node: &Spanned<Node>, path: &Path<'_>) -> Result<Value, JsonError> {
    if field.is_map() {
        return map(field, node, path);
    }
    if !field.is_list() {
        return single(&field.kind(), node, path);
    }
    let Node::List(items) = &node.value else {
        return Err(
            path.error(node.referenced.line(), format!("expected a list, found {}", node.value.kind()))
        );
    };
    let kind = field.kind();
    let items = items.iter().enumerate().map(|(index, item)| single(&kind, item, &Path::Index(path, index)));
    Ok(Value::List(items.collect::<Result<_, _>>()?))
}

fn single(kind: &Kind, node: &Spanned<Node>, path: &Path<'_>) -> Result<Value, JsonError> {
    match kind {
        Kind::Message(descriptor) => Ok(Value::Message(read(descriptor, node, path)?)),
        kind => scalar::read(kind, &node.value).map_err(|reason| path.error(node.referenced.line(), reason)),
    }
}

fn map(field: &FieldDescriptor, node: &Spanned<Node>, path: &Path<'_>) -> Result<Value, JsonError> {
    let line = node.referenced.line();
    let Node::Map(entries) = &node.value else {
        return Err(path.error(line, format!("expected a map, found {}", node.value.kind())));
    };
    let Kind::Message(entry) = field.kind() else {
        return Err(path.error(line, "a map without an entry type"));
    };
    let (key_kind, value_kind) = (entry.map_entry_key_field().kind(), entry.map_entry_value_field().kind());
    let mut map = HashMap::with_capacity(entries.len());
    for (key, node) in entries {
        let path = Path::Field(path, key);
        let key = map_key(&key_kind, key)
            .ok_or_else(|| path.error(node.referenced.line(), "not a key of this map"))?;
        map.insert(key, single(&value_kind, node, &path)?);
    }
    Ok(Value::Map(map))
}

fn map_key(kind: &Kind, key: &str) -> Option<MapKey> {
    match kind {
        Kind::String => Some(MapKey::String(key.to_owned())),
        Kind::Bool => key.parse().ok().map(MapKey::Bool),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => key.parse().ok().map(MapKey::I32),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => key.parse().ok().map(MapKey::I64),
        Kind::Uint32 | Kind::Fixed32 => key.parse().ok().map(MapKey::U32),
        Kind::Uint64 | Kind::Fixed64 => key.parse().ok().map(MapKey::U64),
        _ => None,
    }
}
