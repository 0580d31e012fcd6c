//! Laying one message over another.

use prost::Message;
use prost_reflect::{DynamicMessage, ReflectMessage, Value};

/// Lays the fields of `over` on `base`: messages field by field, lists appended, maps by key; durations, wrappers and
/// scalars replaced. An `Any` of the same type is merged inside.
///
/// Source: Istio, EnvoyFilter `Patch.Operation.MERGE` ("proto merge semantics").
pub(super) fn merge(base: &mut DynamicMessage, over: &DynamicMessage) {
    if base.descriptor().full_name() == "google.protobuf.Any" {
        if !merge_any(base, over) {
            base.clone_from(over);
        }
        return;
    }
    for (field, value) in over.fields() {
        if !base.has_field(&field) {
            base.set_field(&field, value.clone());
            continue;
        }
        match (base.get_field_mut(&field), value) {
            (Value::List(below), Value::List(above)) => below.extend(above.iter().cloned()),
            (Value::Map(below), Value::Map(above)) => {
                below.extend(above.iter().map(|(key, value)| (key.clone(), value.clone())));
            }
            (Value::Message(below), Value::Message(above)) if !is_value(above) => merge(below, above),
            (below, above) => below.clone_from(above),
        }
    }
}

/// Whether a message stands for one value, which is replaced as a whole.
fn is_value(message: &DynamicMessage) -> bool {
    let descriptor = message.descriptor();
    let name = descriptor.full_name();
    name.starts_with("google.protobuf.") && !matches!(name, "google.protobuf.Any" | "google.protobuf.Struct")
}

/// Merges what two `Any` hold; `false` when they are not of one known type.
fn merge_any(base: &mut DynamicMessage, over: &DynamicMessage) -> bool {
    let parts = |any: &DynamicMessage| {
        let url = any.get_field_by_name("type_url")?.as_str()?.to_owned();
        let body = any.get_field_by_name("value")?.as_bytes()?.clone();
        Some((url, body))
    };
    let (Some((url, below)), Some((other, above))) = (parts(base), parts(over)) else { return false };
    let descriptor = base.descriptor();
    let inner = descriptor.parent_pool().get_message_by_name(url.rsplit('/').next().unwrap_or_default());
    let Some(inner) = inner.filter(|_| url == other) else { return false };
    let decoded = (DynamicMessage::decode(inner.clone(), below), DynamicMessage::decode(inner, above));
    let (Ok(mut below), Ok(above)) = decoded else { return false };
    merge(&mut below, &above);
    base.set_field_by_name("value", Value::Bytes(below.encode_to_vec().into()));
    true
}
