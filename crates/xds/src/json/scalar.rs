//! Numbers, booleans, strings, bytes and enums.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use prost_reflect::{EnumDescriptor, Kind, Value};

use super::document::Node;

/// Reads a node as a scalar; the error says what was expected.
pub(super) fn read(kind: &Kind, node: &Node) -> Result<Value, String> {
    match kind {
        Kind::Bool => match node {
            Node::Bool(value) => Ok(Value::Bool(*value)),
            Node::String(text) if text == "true" => Ok(Value::Bool(true)),
            Node::String(text) if text == "false" => Ok(Value::Bool(false)),
            node => Err(format!("expected true or false, found {}", node.kind())),
        },
        Kind::String => match node {
            Node::String(text) => Ok(Value::String(text.clone())),
            node => Err(format!("expected a string, found {} (put it in quotes)", node.kind())),
        },
        Kind::Bytes => match node {
            Node::String(text) => bytes(text),
            node => Err(format!("expected base64 text, found {}", node.kind())),
        },
        Kind::Double => float(node).map(Value::F64),
        Kind::Float => float(node).map(|value| Value::F32(value as f32)),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => integer(node).map(Value::I32),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => integer(node).map(Value::I64),
        Kind::Uint32 | Kind::Fixed32 => integer(node).map(Value::U32),
        Kind::Uint64 | Kind::Fixed64 => integer(node).map(Value::U64),
        Kind::Enum(descriptor) => enumeration(descriptor, node),
        Kind::Message(descriptor) => Err(format!("expected {}", descriptor.full_name())),
    }
}

fn bytes(text: &str) -> Result<Value, String> {
    let text = text.trim_end_matches('=');
    let decoded = STANDARD_NO_PAD.decode(text).or_else(|_| URL_SAFE_NO_PAD.decode(text));
    decoded.map(|bytes| Value::Bytes(bytes.into())).map_err(|error| format!("not base64: {error}"))
}

fn float(node: &Node) -> Result<f64, String> {
    match node {
        Node::Signed(value) => Ok(*value as f64),
        Node::Unsigned(value) => Ok(*value as f64),
        Node::Float(value) => Ok(*value),
        Node::String(text) => match text.as_str() {
            "Infinity" => Ok(f64::INFINITY),
            "-Infinity" => Ok(f64::NEG_INFINITY),
            text => text.parse().map_err(|_| "expected a number".to_owned()),
        },
        node => Err(format!("expected a number, found {}", node.kind())),
    }
}

/// Integers may stand as numbers, as whole floats, and in quotes (ProtoJSON).
fn integer<T: TryFrom<i128>>(node: &Node) -> Result<T, String> {
    let wide = match node {
        Node::Signed(value) => i128::from(*value),
        Node::Unsigned(value) => i128::from(*value),
        Node::Float(value) if value.fract() == 0.0 && value.abs() < 1e19 => *value as i128,
        Node::Float(_) => return Err("expected a whole number".to_owned()),
        Node::String(text) => text.parse().map_err(|_| "expected a whole number".to_owned())?,
        node => return Err(format!("expected a whole number, found {}", node.kind())),
    };
    T::try_from(wide).map_err(|_| format!("{wide} is out of range"))
}

fn enumeration(descriptor: &EnumDescriptor, node: &Node) -> Result<Value, String> {
    match node {
        Node::String(name) => match descriptor.get_value_by_name(name) {
            Some(value) => Ok(Value::EnumNumber(value.number())),
            None => {
                let names: Vec<_> = descriptor.values().map(|value| value.name().to_owned()).collect();
                Err(format!("`{name}` is not one of {}", names.join(", ")))
            }
        },
        node => integer(node).map(Value::EnumNumber),
    }
}
