//! Objects and lists in the shape that the client accepts.

use std::sync::Arc;

use bytes::{BufMut as _, Bytes, BytesMut};
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use crate::registry::Served;
use crate::server::{Query, Reply, reply};
use crate::store::Entry;
use crate::table::{self, Include};

/// How objects are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// As they are.
    Full,
    /// As rows of a table.
    Table(Include),
    /// Their metadata alone.
    Metadata,
}

impl Shape {
    /// The first shape in the Accept header that is served.
    pub fn accepted(headers: &HeaderMap, query: &Query) -> Self {
        let header = headers.get(http::header::ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or_default();
        for media in header.split(',').map(str::trim) {
            let mut parts = media.split(';').map(str::trim);
            if !matches!(parts.next(), Some("application/json" | "*/*" | "application/*" | "")) {
                continue;
            }
            let shape = parts.find_map(|p| p.strip_prefix("as="));
            match shape {
                Some("Table") => {
                    return Self::Table(match query.get("includeObject") {
                        Some("None") => Include::None,
                        Some("Object") => Include::Object,
                        _ => Include::Metadata,
                    });
                }
                Some("PartialObjectMetadata" | "PartialObjectMetadataList") => return Self::Metadata,
                Some(_) => {}
                None => return Self::Full,
            }
        }
        Self::Full
    }
}

/// A stored object in the client's version.
pub fn served(served: &Served, mut stored: Value) -> Value {
    let version = served.version();
    if let Some(conversion) = version.conversion {
        (conversion.down)(&mut stored);
    }
    if let Some(map) = stored.as_object_mut() {
        map.insert("apiVersion".into(), (*version.api_version).into());
    }
    stored
}

fn entry_value(served: &Served, entry: &Entry) -> Value {
    self::served(served, served.resource.value(entry))
}

/// A stored object in the client's version and shape.
pub fn shaped(served: &Served, stored: Value, shape: Shape, columns: bool) -> Value {
    match shape {
        Shape::Full => self::served(served, stored),
        Shape::Metadata => partial(&stored),
        Shape::Table(include) => {
            let revision = crate::object::meta(&stored, "resourceVersion").to_owned();
            let row = table::row(&served.resource, served.version(), self::served(served, stored), include);
            table(served, vec![row], json!({"resourceVersion": revision}), columns)
        }
    }
}

fn partial(stored: &Value) -> Value {
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": stored["metadata"]})
}

fn table(served: &Served, rows: Vec<Value>, metadata: Value, columns: bool) -> Value {
    let columns =
        if columns { table::definitions(&served.resource, served.version()).into() } else { Value::Null };
    json!({
        "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata,
        "columnDefinitions": columns, "rows": rows,
    })
}

/// An entry's JSON text in the client's version and shape.
pub fn entry(served: &Served, entry: &Entry, shape: Shape, columns: bool, out: &mut BytesMut) {
    let version = served.version();
    if shape == Shape::Full && version.conversion.is_none() {
        return entry.encode_into(out, &version.api_version, &served.resource.kind);
    }
    let value = shaped(served, served.resource.value(entry), shape, columns);
    out.put_slice(value.to_string().as_bytes());
}

/// An answer with one object.
pub fn object(code: StatusCode, served: &Served, stored: Value, shape: Shape) -> Reply {
    reply::json(code, &shaped(served, stored, shape, true))
}

/// An answer with one entry.
pub fn one(served: &Served, entry: &Entry, shape: Shape) -> Reply {
    let mut out = BytesMut::new();
    self::entry(served, entry, shape, true, &mut out);
    reply::json_text(StatusCode::OK, out.freeze())
}

/// `metadata` of a list.
pub struct ListMeta {
    /// The revision at which the list was so.
    pub revision: u64,
    /// Where the next page starts.
    pub next: Option<String>,
    /// How many objects follow.
    pub remaining: Option<usize>,
}

impl ListMeta {
    fn value(&self) -> Value {
        let mut meta = json!({"resourceVersion": self.revision.to_string()});
        if let Some(next) = &self.next {
            meta["continue"] = next.as_str().into();
        }
        if let Some(remaining) = self.remaining {
            meta["remainingItemCount"] = remaining.into();
        }
        meta
    }
}

/// The JSON text of a list.
pub fn list(served: &Served, entries: &[Arc<Entry>], meta: &ListMeta, shape: Shape) -> Bytes {
    let resource = &served.resource;
    if let Shape::Table(include) = shape {
        let row =
            |entry: &Arc<Entry>| table::row(resource, served.version(), entry_value(served, entry), include);
        let rows = entries.iter().map(row).collect();
        return table(served, rows, meta.value(), true).to_string().into();
    }
    let size: usize = entries.iter().map(|e| e.body().len() + 64).sum();
    let mut out = BytesMut::with_capacity(size + 256);
    let (kind, version) = match shape {
        Shape::Metadata => ("PartialObjectMetadataList", "meta.k8s.io/v1"),
        _ => (&*resource.list_kind, &*served.version().api_version),
    };
    let head = format!(
        "{{\"kind\":\"{kind}\",\"apiVersion\":\"{version}\",\"metadata\":{},\"items\":[",
        meta.value()
    );
    out.put_slice(head.as_bytes());
    for (index, item) in entries.iter().enumerate() {
        if index > 0 {
            out.put_u8(b',');
        }
        entry(served, item, shape, false, &mut out);
    }
    out.put_slice(b"]}");
    out.freeze()
}
