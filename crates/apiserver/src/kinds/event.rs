//! Events.

use serde_json::Value;

use crate::object;
use crate::registry::Behaviour;
use crate::table::{self, Column, col, wide};

/// Events of both groups, stored in core's form.
pub static EVENT: Behaviour = Behaviour { default, fields, columns: COLUMNS, row, ..Behaviour::PLAIN };

const COLUMNS: &[Column] = &[
    col("Last Seen"),
    col("Type"),
    col("Reason"),
    col("Object"),
    wide("Subobject"),
    wide("Source"),
    col("Message"),
    wide("First Seen"),
    wide("Count"),
    wide("Name"),
];

fn default(object: &mut Value) {
    if let Some(map) = object.as_object_mut() {
        object::default(map, "type", "Normal");
    }
}

fn fields(object: &Value) -> Vec<(&'static str, String)> {
    let text = |path: &[&str]| object::text(object, path).to_owned();
    vec![
        ("involvedObject.kind", text(&["involvedObject", "kind"])),
        ("involvedObject.namespace", text(&["involvedObject", "namespace"])),
        ("involvedObject.name", text(&["involvedObject", "name"])),
        ("involvedObject.uid", text(&["involvedObject", "uid"])),
        ("involvedObject.apiVersion", text(&["involvedObject", "apiVersion"])),
        ("involvedObject.resourceVersion", text(&["involvedObject", "resourceVersion"])),
        ("involvedObject.fieldPath", text(&["involvedObject", "fieldPath"])),
        ("reason", text(&["reason"])),
        ("reportingComponent", text(&["reportingComponent"])),
        ("source", text(&["source", "component"])),
        ("type", text(&["type"])),
    ]
}

fn row(object: &Value) -> Vec<Value> {
    let text = |path: &[&str]| object::text(object, path);
    let now = jiff::Timestamp::now();
    let first = [text(&["firstTimestamp"]), text(&["eventTime"])].into_iter().find(|t| !t.is_empty());
    let series = text(&["series", "lastObservedTime"]);
    let last = [series, text(&["lastTimestamp"])].into_iter().find(|t| !t.is_empty()).or(first);
    let seen = |time: Option<&str>| time.map_or_else(|| "<unknown>".into(), |t| table::since(t, now));
    let count = object::int(object, &["series", "count"]).or(object::int(object, &["count"])).unwrap_or(1);
    let target =
        format!("{}/{}", text(&["involvedObject", "kind"]).to_lowercase(), text(&["involvedObject", "name"]));
    let source = match (text(&["source", "component"]), text(&["source", "host"])) {
        ("", _) => text(&["reportingComponent"]).to_owned(),
        (component, "") => component.to_owned(),
        (component, host) => format!("{component}, {host}"),
    };
    vec![
        seen(last).into(),
        text(&["type"]).into(),
        text(&["reason"]).into(),
        target.into(),
        text(&["involvedObject", "fieldPath"]).into(),
        source.into(),
        text(&["message"]).trim().into(),
        seen(first).into(),
        count.to_string().into(),
        object::name(object).into(),
    ]
}
