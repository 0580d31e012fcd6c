//! Typed configurations.

use prost::{Message, Name};

use super::pb::protobuf::Any;
use super::{At, Converted};

/// The message name of an `Any`: what stands after the last slash of its type URL.
pub(super) fn name(any: &Any) -> &str {
    any.type_url.rsplit('/').next().unwrap_or(&any.type_url)
}

/// Whether an `Any` holds a message of this type.
pub(super) fn is<M: Name>(any: &Any) -> bool {
    name(any) == M::full_name()
}

/// Decodes an `Any` whose type is known.
pub(super) fn decode<M: Message + Default>(any: &Any, at: &At<'_>) -> Converted<M> {
    M::decode(any.value.as_slice()).map_err(|error| at.error(format!("not a {}: {error}", name(any))))
}

/// Decodes an `Any` that must be of one type.
pub(super) fn expect<M: Message + Name + Default>(any: &Any, at: &At<'_>) -> Converted<M> {
    if !is::<M>(any) {
        return Err(at.unsupported(format!("the type {}", any.type_url)));
    }
    decode(any, at)
}
