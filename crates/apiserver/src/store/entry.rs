//! One stored object: its text, and the few parsed fields that selectors and indices read.

use bytes::{BufMut, Bytes, BytesMut};
use serde_json::Value;

use crate::object;

/// Namespace (empty for cluster-wide objects) and name, in the order in which lists are paged.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Namespace, or empty.
    pub namespace: Box<str>,
    /// Name.
    pub name: Box<str>,
}

impl Key {
    /// A key of the two parts.
    pub fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

/// Reads the fields by which objects of a resource may be selected.
pub type FieldReader = fn(&Value) -> Vec<(&'static str, String)>;

/// An object as it is kept.
#[derive(Debug)]
pub struct Entry {
    /// The revision that wrote it.
    pub revision: u64,
    /// `metadata.uid`.
    pub uid: Box<str>,
    /// The owners' uids.
    pub owners: Box<[Box<str>]>,
    /// Whether it has a deletion timestamp.
    pub terminating: bool,
    labels: Box<[(Box<str>, Box<str>)]>,
    fields: Box<[(&'static str, Box<str>)]>,
    /// JSON without `apiVersion` and `kind`, so that one text serves every version.
    body: Bytes,
}

impl Entry {
    /// Takes an object, which gets the revision as its `resourceVersion`.
    pub fn new(mut value: Value, revision: u64, fields: FieldReader) -> Self {
        if let Some(map) = value.as_object_mut() {
            map.shift_remove("apiVersion");
            map.shift_remove("kind");
        }
        object::meta_mut(&mut value).insert("resourceVersion".into(), revision.to_string().into());
        let body = Bytes::from(value.to_string());
        Self::parsed(&value, revision, body, fields)
    }

    /// Reads an entry back from its text.
    pub fn from_body(revision: u64, body: Bytes, fields: FieldReader) -> Option<Self> {
        let value: Value = serde_json::from_slice(&body).ok()?;
        Some(Self::parsed(&value, revision, body, fields))
    }

    fn parsed(value: &Value, revision: u64, body: Bytes, fields: FieldReader) -> Self {
        let labels = object::at(value, &["metadata", "labels"]).and_then(Value::as_object);
        let labels = labels.into_iter().flatten();
        let owners = object::list(value, &["metadata", "ownerReferences"]).iter();
        Self {
            revision,
            uid: object::meta(value, "uid").into(),
            owners: owners.map(|o| object::text(o, &["uid"]).into()).collect(),
            terminating: object::terminating(value),
            labels: labels.map(|(k, v)| (k.as_str().into(), v.as_str().unwrap_or_default().into())).collect(),
            fields: fields(value).into_iter().map(|(k, v)| (k, v.into())).collect(),
            body,
        }
    }

    /// A label's value.
    pub fn label(&self, key: &str) -> Option<&str> {
        self.labels.iter().find(|(k, _)| &**k == key).map(|(_, v)| &**v)
    }

    /// A selectable field's value; empty where it has none.
    pub fn field(&self, path: &str) -> &str {
        self.fields.iter().find(|(k, _)| *k == path).map(|(_, v)| &**v).unwrap_or_default()
    }

    /// The text as it is kept.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// Appends the object as JSON text with its type.
    pub fn encode_into(&self, out: &mut BytesMut, api_version: &str, kind: &str) {
        // API versions and kinds are checked names: they hold nothing that JSON escapes.
        out.put_slice(b"{\"kind\":\"");
        out.put_slice(kind.as_bytes());
        out.put_slice(b"\",\"apiVersion\":\"");
        out.put_slice(api_version.as_bytes());
        out.put_slice(b"\",");
        out.put_slice(&self.body[1..]);
    }

    /// The object parsed, with its type.
    pub fn value(&self, api_version: &str, kind: &str) -> Value {
        let body: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        let mut map = serde_json::Map::new();
        map.insert("kind".into(), kind.into());
        map.insert("apiVersion".into(), api_version.into());
        if let Value::Object(body) = body {
            map.extend(body);
        }
        Value::Object(map)
    }
}
