//! `kubectl get`'s tables: column definitions and cells, computed here as Kubernetes does.

mod jsonpath;

use jiff::Timestamp;
use serde_json::{Value, json};

pub use jsonpath::JsonPath;

use crate::object;
use crate::registry::{PrinterColumn, Resource, Version};

/// A column of a built-in kind.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    /// Header.
    pub name: &'static str,
    /// JSON type of the cells.
    pub kind: &'static str,
    /// Above 0: only in wide output.
    pub priority: i64,
}

/// A text column that is always shown.
pub const fn col(name: &'static str) -> Column {
    Column { name, kind: "string", priority: 0 }
}

/// A number column that is always shown.
pub const fn num(name: &'static str) -> Column {
    Column { name, kind: "integer", priority: 0 }
}

/// A text column of wide output.
pub const fn wide(name: &'static str) -> Column {
    Column { name, kind: "string", priority: 1 }
}

/// Where kinds place their age: `Age` among the columns is filled in from the creation time.
pub const AGE: Column = col("Age");

/// How much of each object goes along with its row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Include {
    /// Nothing.
    None,
    /// The metadata.
    Metadata,
    /// The object.
    Object,
}

/// The column definitions of a resource.
pub fn definitions(resource: &Resource, version: &Version) -> Vec<Value> {
    let define = |name: &str, kind: &str, format: &str, description: &str, priority: i64| json!({"name": name, "type": kind, "format": format, "description": description, "priority": priority});
    let name = "Name must be unique within a namespace.";
    let mut columns = Vec::new();
    if resource.behaviour.columns.first().is_none_or(|c| c.name != "Last Seen") {
        columns.push(define("Name", "string", "name", name, 0));
    }
    match &version.columns {
        Some(custom) => columns
            .extend(custom.iter().map(|c| define(&c.name, &c.kind, &c.format, &c.description, c.priority))),
        None => columns
            .extend(resource.behaviour.columns.iter().map(|c| define(c.name, c.kind, "", "", c.priority))),
    }
    let ages = resource.custom && version.columns.is_none()
        || resource.behaviour.columns.is_empty() && !resource.custom;
    if ages {
        columns.push(define("Age", "string", "", "CreationTimestamp is a timestamp of creation.", 0));
    }
    columns
}

/// One row: the cells and the object.
pub fn row(resource: &Resource, version: &Version, object: Value, include: Include) -> Value {
    let now = Timestamp::now();
    let mut cells = Vec::new();
    if resource.behaviour.columns.first().is_none_or(|c| c.name != "Last Seen") {
        cells.push(object::name(&object).into());
    }
    match &version.columns {
        Some(columns) => cells.extend(columns.iter().map(|c| custom_cell(c, &object, now))),
        None if resource.behaviour.columns.is_empty() => cells.push(age(&object, now)),
        None => {
            let row = (resource.behaviour.row)(&object);
            let mut own = row.into_iter();
            for column in resource.behaviour.columns {
                let cell = if column.name == AGE.name {
                    age(&object, now)
                } else {
                    own.next().unwrap_or(Value::Null)
                };
                cells.push(cell);
            }
        }
    }
    let object = match include {
        Include::None => Value::Null,
        Include::Object => object,
        Include::Metadata => json!({
            "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"],
        }),
    };
    if object.is_null() { json!({"cells": cells}) } else { json!({"cells": cells, "object": object}) }
}

fn custom_cell(column: &PrinterColumn, object: &Value, now: Timestamp) -> Value {
    let Some(value) = column.path.first(object) else {
        return Value::Null;
    };
    match (column.kind.as_str(), value) {
        ("date", Value::String(time)) => since(time, now).into(),
        ("integer", Value::Number(n)) => n.clone().into(),
        ("number" | "boolean", value) => value.clone(),
        (_, Value::String(text)) => text.clone().into(),
        (_, value) => value.to_string().into(),
    }
}

/// The age of an object.
pub fn age(object: &Value, now: Timestamp) -> Value {
    since(object::meta(object, "creationTimestamp"), now).into()
}

/// The time since a timestamp, as kubectl writes it.
pub fn since(time: &str, now: Timestamp) -> String {
    match time.parse::<Timestamp>() {
        Ok(time) => human_duration(now.as_second() - time.as_second()),
        Err(_) => "<unknown>".into(),
    }
}

/// A duration in the form of Kubernetes' `HumanDuration`: two units at most, fewer the longer it is.
pub fn human_duration(seconds: i64) -> String {
    let two = |big: i64, unit: &str, small: i64, small_unit: &str| match small {
        0 => format!("{big}{unit}"),
        _ => format!("{big}{unit}{small}{small_unit}"),
    };
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    match seconds {
        i64::MIN..-1 => "<invalid>".into(),
        -1..=0 => "0s".into(),
        1..120 => format!("{seconds}s"),
        120..600 => two(minutes, "m", seconds % 60, "s"),
        600..10_800 => format!("{minutes}m"),
        10_800..28_800 => two(hours, "h", minutes % 60, "m"),
        28_800..172_800 => format!("{hours}h"),
        172_800..691_200 => two(days, "d", hours % 24, "h"),
        691_200..63_072_000 => format!("{days}d"),
        63_072_000..252_288_000 => two(days / 365, "y", days % 365, "d"),
        _ => format!("{}y", days / 365),
    }
}

/// A selector as kubectl shows it: `a=b,c=d`, or `<none>`.
pub fn selector(value: Option<&Value>) -> Value {
    let Some(value) = value else {
        return "<none>".into();
    };
    let labels = value.get("matchLabels").unwrap_or(value);
    let mut terms: Vec<String> = Vec::new();
    for (key, value) in labels.as_object().into_iter().flatten() {
        if let Some(text) = value.as_str() {
            terms.push(format!("{key}={text}"));
        }
    }
    terms.sort();
    for expression in object::list(value, &["matchExpressions"]) {
        let key = object::text(expression, &["key"]);
        let values: Vec<&str> =
            object::list(expression, &["values"]).iter().filter_map(Value::as_str).collect();
        terms.push(match object::text(expression, &["operator"]) {
            "Exists" => key.to_owned(),
            "DoesNotExist" => format!("!{key}"),
            operator => format!("{key} {} ({})", operator.to_lowercase(), values.join(",")),
        });
    }
    if terms.is_empty() { "<none>".into() } else { terms.join(",").into() }
}

/// Texts joined by commas, or `<none>`.
pub fn joined<'a>(texts: impl IntoIterator<Item = &'a str>) -> Value {
    let texts: Vec<&str> = texts.into_iter().filter(|t| !t.is_empty()).collect();
    if texts.is_empty() { "<none>".into() } else { texts.join(",").into() }
}

/// The number at a path, 0 where there is none.
pub fn count(object: &Value, path: &[&str]) -> Value {
    object::int(object, path).unwrap_or_default().into()
}

/// The text at a path, or `<none>`.
pub fn or_none(object: &Value, path: &[&str]) -> Value {
    joined([object::text(object, path)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_in_kubectl() {
        let cases = [
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (125, "2m5s"),
            (600, "10m"),
            (10_800, "3h"),
            (11_000, "3h3m"),
            (30_000, "8h"),
            (172_800, "2d"),
            (180_000, "2d2h"),
            (700_000, "8d"),
        ];
        for (seconds, text) in cases {
            assert_eq!(human_duration(seconds), text);
        }
    }
}
