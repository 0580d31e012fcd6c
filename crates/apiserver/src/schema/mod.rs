//! The shape of objects: one tree for built-in types (traced from `k8s-openapi`) and custom ones (compiled from the
//! CRD), used by field validation, pruning, defaulting, strategic merge, server-side apply and OpenAPI.

pub mod check;
pub mod custom;
pub mod defaults;
mod lists;
pub mod openapi;
pub mod rules;
pub mod trace;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

pub use rules::Rules;

/// JSON types, with the forms that Kubernetes treats specially.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// Anything.
    Any,
    /// Text.
    String,
    /// Text that holds a time.
    Time,
    /// Text that holds base64.
    Bytes,
    /// A whole number that fits 32 bits.
    Int32,
    /// A whole number.
    Int64,
    /// A number.
    Number,
    /// true or false.
    Bool,
    /// A whole number or text.
    IntOrString,
    /// A resource quantity: a number or text.
    Quantity,
    /// Named fields.
    Object,
    /// Text keys.
    Map,
    /// Elements.
    List,
}

/// How lists merge.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ListType {
    /// Replaced as a whole.
    #[default]
    Atomic,
    /// Scalars, each at most once.
    Set,
    /// Objects, told apart by these fields.
    Map(Vec<Box<str>>),
}

/// How a list or object field takes a strategic merge patch.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum PatchStrategy {
    /// Objects merge, lists are replaced.
    #[default]
    Default,
    /// A list of scalars that merges as a set.
    MergeSet,
    /// A list of objects that merges by the field.
    MergeKey(&'static str),
}

/// One level of a schema.
#[derive(Debug, Clone)]
pub struct Node {
    /// What stands here.
    pub kind: Type,
    /// The Go type's name, for messages about built-in types.
    pub name: &'static str,
    /// Fields of an object.
    pub fields: BTreeMap<Box<str>, Arc<Node>>,
    /// Values of a map, elements of a list.
    pub items: Option<Arc<Node>>,
    /// How a list merges in server-side apply.
    pub list: ListType,
    /// How a list merges in a strategic merge patch.
    pub patch: PatchStrategy,
    /// An object or map that server-side apply owns as a whole.
    pub atomic: bool,
    /// Unknown fields stay (`x-kubernetes-preserve-unknown-fields`).
    pub preserve: bool,
    /// An embedded object: `apiVersion`, `kind` and `metadata` are known.
    pub embedded: bool,
    /// null is a value of its own (`nullable`).
    pub nullable: bool,
    /// Value where the field is missing.
    pub default: Option<Arc<Value>>,
    /// Validation of custom resources.
    pub rules: Option<Box<Rules>>,
}

impl Node {
    /// A node of a type and nothing else.
    pub fn of(kind: Type) -> Self {
        Self {
            kind,
            name: "",
            fields: BTreeMap::new(),
            items: None,
            list: ListType::Atomic,
            patch: PatchStrategy::Default,
            atomic: false,
            preserve: false,
            embedded: false,
            nullable: false,
            default: None,
            rules: None,
        }
    }

    /// The schema of a field; `metadata` of objects is known to all.
    pub fn field(&self, key: &str) -> Option<&Arc<Node>> {
        self.fields.get(key).or(match self.kind {
            Type::Map => self.items.as_ref(),
            _ => None,
        })
    }

    /// The schema at a path of fields.
    #[cfg(test)]
    pub fn at(&self, path: &[&str]) -> Option<&Node> {
        path.iter().try_fold(self, |node, key| node.field(key).map(AsRef::as_ref))
    }
}
