//! Matchers of dynamic metadata, and metadata itself.

use serde_json::{Map, Value};

use super::pb::{matcher, protobuf};
use super::{At, Converted, route, take};
use crate::config::{MetadataMatcher as Wanted, ValueMatcher as WantedValue};

/// Reads a matcher.
pub(super) fn read(message: &matcher::MetadataMatcher, at: &At<'_>) -> Converted<Wanted> {
    use matcher::MetadataMatcher;
    use matcher::metadata_matcher::path_segment::Segment;
    take!(message, at, MetadataMatcher { filter, path, value, invert });
    if filter.is_empty() {
        return Err(at.field("filter").missing());
    }
    if path.is_empty() {
        return Err(at.field("path").missing());
    }
    let mut steps: Vec<Box<str>> = Vec::with_capacity(path.len());
    for (index, step) in path.iter().enumerate() {
        match &step.segment {
            Some(Segment::Key(key)) if !key.is_empty() => steps.push(key.as_str().into()),
            _ => return Err(at.field("path").index(index).field("key").missing()),
        }
    }
    let field = at.field("value");
    let value = value.as_ref().ok_or_else(|| field.missing())?;
    Ok(Wanted {
        namespace: filter.as_str().into(),
        path: steps.into(),
        value: read_value(value, &field)?,
        invert: *invert,
    })
}

fn read_value(message: &matcher::ValueMatcher, at: &At<'_>) -> Converted<WantedValue> {
    use matcher::value_matcher::MatchPattern;
    use matcher::{double_matcher, list_matcher};
    Ok(match message.match_pattern.as_ref().ok_or_else(|| at.field("string_match").missing())? {
        MatchPattern::NullMatch(_) => WantedValue::Null,
        MatchPattern::DoubleMatch(number) => match &number.match_pattern {
            Some(double_matcher::MatchPattern::Range(range)) => WantedValue::NumberIn(range.start..range.end),
            Some(double_matcher::MatchPattern::Exact(exact)) => WantedValue::Number(*exact),
            None => return Err(at.field("double_match").field("exact").missing()),
        },
        MatchPattern::StringMatch(text) => {
            WantedValue::Text(route::string_matcher(text, &at.field("string_match"))?)
        }
        MatchPattern::BoolMatch(wanted) => WantedValue::Bool(*wanted),
        MatchPattern::PresentMatch(wanted) => WantedValue::Present(*wanted),
        MatchPattern::ListMatch(list) => match &list.match_pattern {
            Some(list_matcher::MatchPattern::OneOf(item)) => {
                let at = at.field("list_match");
                WantedValue::OneOf(Box::new(read_value(item, &at.field("one_of"))?))
            }
            None => return Err(at.field("list_match").field("one_of").missing()),
        },
        MatchPattern::OrMatch(all) => {
            let field = at.field("or_match");
            let all = all.value_matchers.iter().enumerate();
            let all = all.map(|(index, value)| read_value(value, &field.index(index)));
            WantedValue::Either(all.collect::<Result<_, _>>()?)
        }
    })
}

/// A struct as JSON.
pub(crate) fn object(fields: &protobuf::Struct) -> Map<String, Value> {
    fields.fields.iter().map(|(key, value)| (key.clone(), json(value))).collect()
}

fn json(value: &protobuf::Value) -> Value {
    use protobuf::value::Kind;
    match &value.kind {
        None | Some(Kind::NullValue(_)) => Value::Null,
        Some(Kind::NumberValue(number)) => Value::from(*number),
        Some(Kind::StringValue(text)) => Value::from(text.as_str()),
        Some(Kind::BoolValue(value)) => Value::from(*value),
        Some(Kind::StructValue(fields)) => Value::Object(object(fields)),
        Some(Kind::ListValue(list)) => Value::Array(list.values.iter().map(json).collect()),
    }
}

/// JSON as a struct.
pub(crate) fn to_struct(fields: &Map<String, Value>) -> protobuf::Struct {
    protobuf::Struct { fields: fields.iter().map(|(key, value)| (key.clone(), to_value(value))).collect() }
}

fn to_value(value: &Value) -> protobuf::Value {
    use protobuf::value::Kind;
    let kind = match value {
        Value::Null => Kind::NullValue(0),
        Value::Bool(value) => Kind::BoolValue(*value),
        Value::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or_default()),
        Value::String(text) => Kind::StringValue(text.clone()),
        Value::Array(list) => {
            Kind::ListValue(protobuf::ListValue { values: list.iter().map(to_value).collect() })
        }
        Value::Object(fields) => Kind::StructValue(to_struct(fields)),
    };
    protobuf::Value { kind: Some(kind) }
}
