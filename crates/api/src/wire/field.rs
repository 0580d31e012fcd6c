//! How one field's value is read from JSON, written to JSON and described in a CRD's schema.
//!
//! The rules are those of the protobuf JSON mapping: <https://protobuf.dev/programming-guides/json/>.

use std::collections::BTreeMap;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use serde_json::{Map, Number, Value};

use super::report::Report;

/// A type that a field of a resource can have.
pub trait Field: Sized {
    /// Reads a value. What cannot be read is reported at the report's current path; `None` says that nothing
    /// usable was there.
    fn decode(value: Value, report: &mut Report) -> Option<Self>;
    /// Writes the value.
    fn encode(&self) -> Value;
    /// Whether this is the value that an absent field has, so that it need not be written.
    fn is_default(&self) -> bool;
    /// The field's structural schema.
    fn schema() -> JSONSchemaProps;
}

/// A group of fields of which at most one is set (protobuf `oneof`); its members stand directly in the message.
pub trait OneOf: Sized {
    /// The members' protobuf names.
    const MEMBERS: &'static [&'static str];
    /// Reads member `key`; `None` when the value could not be read (and was reported).
    fn decode_member(key: &str, value: Value, report: &mut Report) -> Option<Self>;
    /// Writes the member that is set.
    fn encode_into(&self, out: &mut Map<String, Value>);
    /// Adds the members' schemas.
    fn schema_into(properties: &mut BTreeMap<String, JSONSchemaProps>);
}

/// A schema of a plain type.
pub fn plain(kind: &str) -> JSONSchemaProps {
    JSONSchemaProps { type_: Some(kind.to_owned()), ..JSONSchemaProps::default() }
}

/// How a value is named in an error: its JSON type, and itself where it is short.
pub fn describe(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Object(_) => "an object".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::String(s) if s.len() > 60 => format!("a string of {} characters", s.chars().count()),
        Value::String(s) => format!("the string {s:?}"),
        Value::Number(n) => format!("the number {n}"),
        Value::Bool(b) => format!("{b}"),
    }
}

/// Takes the value apart as an object or reports that it is none.
pub fn object(value: Value, report: &mut Report) -> Option<Map<String, Value>> {
    match value {
        Value::Object(map) => Some(map),
        other => {
            report.error(format!("must be an object, not {}", describe(&other)));
            None
        }
    }
}

impl Field for String {
    fn decode(value: Value, report: &mut Report) -> Option<Self> {
        match value {
            Value::String(s) => Some(s),
            other => {
                let mend = match &other {
                    Value::Number(n) => format!("write it in quotes: \"{n}\""),
                    Value::Bool(b) => format!("write it in quotes: \"{b}\""),
                    _ => String::new(),
                };
                let message = format!("must be a string, not {}", describe(&other));
                if mend.is_empty() {
                    report.error(message)
                } else {
                    report.error_with(message, mend)
                }
                None
            }
        }
    }
    fn encode(&self) -> Value {
        Value::String(self.clone())
    }
    fn is_default(&self) -> bool {
        self.is_empty()
    }
    fn schema() -> JSONSchemaProps {
        plain("string")
    }
}

impl Field for bool {
    fn decode(value: Value, report: &mut Report) -> Option<Self> {
        match value {
            Value::Bool(b) => Some(b),
            other => {
                report.error(format!("must be true or false, not {}", describe(&other)));
                None
            }
        }
    }
    fn encode(&self) -> Value {
        Value::Bool(*self)
    }
    fn is_default(&self) -> bool {
        !*self
    }
    fn schema() -> JSONSchemaProps {
        plain("boolean")
    }
}

/// Whole numbers: JSON numbers without a fraction, or decimal strings (as the mapping has it for 64 bits).
macro_rules! integers {
    ($($int:ty, $format:literal, $minimum:expr, $maximum:expr;)*) => {$(
        impl Field for $int {
            fn decode(value: Value, report: &mut Report) -> Option<Self> {
                match whole(&value).and_then(|n| <$int>::try_from(n).ok()) {
                    Some(n) => Some(n),
                    None => {
                        report.error(format!(
                            "must be a whole number from {} to {}, not {}", <$int>::MIN, <$int>::MAX, describe(&value)));
                        None
                    }
                }
            }
            fn encode(&self) -> Value {
                Value::Number(Number::from(*self))
            }
            fn is_default(&self) -> bool {
                *self == 0
            }
            fn schema() -> JSONSchemaProps {
                JSONSchemaProps {
                    format: Some($format.to_owned()), minimum: $minimum, maximum: $maximum, ..plain("integer")
                }
            }
        }
    )*};
}
integers! {
    i32, "int32", None, None;
    i64, "int64", None, None;
    u32, "int64", Some(0.0), Some(4_294_967_295.0);
    u64, "int64", Some(0.0), None;
}

fn whole(value: &Value) -> Option<i128> {
    match value {
        Value::Number(n) => {
            if let Some(n) = n.as_i64() {
                return Some(n.into());
            }
            if let Some(n) = n.as_u64() {
                return Some(n.into());
            }
            let n = n.as_f64()?;
            // 1e15 is far above every limit that a 32-bit field has and still exact.
            (n.fract() == 0.0 && n.abs() < 1e15).then_some(n as i128)
        }
        Value::String(s) => s.parse().ok(),
        _ => None,
    }
}

impl Field for f64 {
    fn decode(value: Value, report: &mut Report) -> Option<Self> {
        let number = match &value {
            Value::Number(n) => n.as_f64(),
            Value::String(s) => s.parse().ok(),
            _ => None,
        };
        match number {
            Some(n) if n.is_finite() => Some(n),
            _ => {
                report.error(format!("must be a number, not {}", describe(&value)));
                None
            }
        }
    }
    fn encode(&self) -> Value {
        // Whole values are written without a fraction, as protobuf's own writers do.
        if self.fract() == 0.0 && self.abs() < 1e15 {
            return Value::Number(Number::from(*self as i64));
        }
        Number::from_f64(*self).map_or(Value::Null, Value::Number)
    }
    fn is_default(&self) -> bool {
        *self == 0.0
    }
    fn schema() -> JSONSchemaProps {
        JSONSchemaProps { format: Some("double".to_owned()), ..plain("number") }
    }
}

/// Presence: messages, wrapper types (`google.protobuf.BoolValue`...) and enums whose zero means something.
impl<T: Field> Field for Option<T> {
    fn decode(value: Value, report: &mut Report) -> Option<Self> {
        T::decode(value, report).map(Some)
    }
    fn encode(&self) -> Value {
        self.as_ref().map_or(Value::Null, T::encode)
    }
    fn is_default(&self) -> bool {
        self.is_none()
    }
    fn schema() -> JSONSchemaProps {
        T::schema()
    }
}

impl<T: Field> Field for Vec<T> {
    fn decode(value: Value, report: &mut Report) -> Option<Self> {
        let Value::Array(items) = value else {
            report.error(format!("must be a list, not {}", describe(&value)));
            return None;
        };
        let decode = |(index, item)| report.index(index, |r| T::decode(item, r));
        Some(items.into_iter().enumerate().filter_map(decode).collect())
    }
    fn encode(&self) -> Value {
        Value::Array(self.iter().map(T::encode).collect())
    }
    fn is_default(&self) -> bool {
        self.is_empty()
    }
    fn schema() -> JSONSchemaProps {
        JSONSchemaProps {
            items: Some(JSONSchemaPropsOrArray::Schema(Box::new(T::schema()))),
            ..plain("array")
        }
    }
}

impl<T: Field> Field for BTreeMap<String, T> {
    fn decode(value: Value, report: &mut Report) -> Option<Self> {
        let mut out = Self::new();
        for (key, value) in object(value, report)? {
            if let Some(value) = report.key(&key, |r| T::decode(value, r)) {
                out.insert(key, value);
            }
        }
        Some(out)
    }
    fn encode(&self) -> Value {
        Value::Object(self.iter().map(|(k, v)| (k.clone(), v.encode())).collect())
    }
    fn is_default(&self) -> bool {
        self.is_empty()
    }
    fn schema() -> JSONSchemaProps {
        let values = JSONSchemaPropsOrBool::Schema(Box::new(T::schema()));
        JSONSchemaProps { additional_properties: Some(values), ..plain("object") }
    }
}

/// `google.protobuf.Struct`: any object, kept as it is.
impl Field for Map<String, Value> {
    fn decode(value: Value, report: &mut Report) -> Option<Self> {
        object(value, report)
    }
    fn encode(&self) -> Value {
        Value::Object(self.clone())
    }
    fn is_default(&self) -> bool {
        self.is_empty()
    }
    fn schema() -> JSONSchemaProps {
        JSONSchemaProps { x_kubernetes_preserve_unknown_fields: Some(true), ..plain("object") }
    }
}
