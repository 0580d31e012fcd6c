//! Which resources there are: built-in ones from one table, custom ones from their CRDs.

pub mod builtin;
mod catalog;
mod convert;

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use serde_json::Value;

pub use catalog::{Catalog, Served, Snapshot};

use crate::schema::Node;
use crate::schema::trace::Tracer;
use crate::status::FieldError;
use crate::store::{Entry, ShardName};
use crate::table::{Column, JsonPath};

/// Reads the fields by which objects may be selected.
pub type FieldReader = fn(&Value) -> Vec<(&'static str, String)>;

/// What sets a kind of object apart from others. Every function gets objects of the storage version.
pub struct Behaviour {
    /// Fills in what Kubernetes fills in.
    pub default: fn(&mut Value),
    /// Checks an object.
    pub validate: fn(&Value, &mut Vec<FieldError>),
    /// Checks what may not change (old, new).
    pub validate_update: fn(&Value, &Value, &mut Vec<FieldError>),
    /// Fields for selectors.
    pub fields: FieldReader,
    /// Columns of the table between the name and the age.
    pub columns: &'static [Column],
    /// The cells of these columns.
    pub row: fn(&Value) -> Vec<Value>,
    /// Whether names follow the looser path rule (RBAC).
    pub path_names: bool,
}

fn nothing(_: &mut Value) {}
fn no_errors(_: &Value, _: &mut Vec<FieldError>) {}
fn no_update_errors(_: &Value, _: &Value, _: &mut Vec<FieldError>) {}
fn no_fields(_: &Value) -> Vec<(&'static str, String)> {
    Vec::new()
}
fn no_row(_: &Value) -> Vec<Value> {
    Vec::new()
}

impl Behaviour {
    /// A kind with nothing special.
    pub const PLAIN: Self = Self {
        default: nothing,
        validate: no_errors,
        validate_update: no_update_errors,
        fields: no_fields,
        columns: &[],
        row: no_row,
        path_names: false,
    };
}

/// Where the scale subresource finds its numbers.
#[derive(Debug, Clone)]
pub struct Scale {
    /// Wanted replicas.
    pub spec: Vec<String>,
    /// Counted replicas.
    pub status: Vec<String>,
    /// The selector, as text or object.
    pub selector: Option<Vec<String>>,
}

/// How objects of a served version differ from those stored.
#[derive(Clone, Copy)]
pub struct Conversion {
    /// From the served to the stored form.
    pub up: fn(&mut Value),
    /// From the stored to the served form.
    pub down: fn(&mut Value),
}

/// One version of a resource.
pub struct Version {
    /// Its group: an old group may serve what another one stores.
    pub group: Box<str>,
    /// Its name.
    pub name: Box<str>,
    /// `group/version`.
    pub api_version: Box<str>,
    /// Whether clients may use it.
    pub served: bool,
    /// Whether `status` is a subresource.
    pub status: bool,
    /// The scale subresource.
    pub scale: Option<Scale>,
    /// Further subresources, for discovery.
    pub subresources: &'static [Subresource],
    /// Printer columns of a custom resource.
    pub columns: Option<Vec<PrinterColumn>>,
    /// Difference to the stored form.
    pub conversion: Option<Conversion>,
    /// A warning for whoever uses this version.
    pub deprecation: Option<String>,
    /// Where the schema comes from.
    pub source: Source,
    /// The schema, made when first used.
    pub schema: OnceLock<Arc<Node>>,
}

/// Where the schema of a version comes from.
pub enum Source {
    /// A type of `k8s-openapi`.
    Traced(fn(&mut Tracer) -> Arc<Node>),
    /// A CRD's `openAPIV3Schema`, as JSON text.
    Custom(Bytes),
}

/// A subresource in discovery.
#[derive(Debug, Clone, Copy)]
pub struct Subresource {
    /// Its name.
    pub name: &'static str,
    /// The group and version of its objects where they differ from the parent's.
    pub group_version: Option<(&'static str, &'static str)>,
    /// Kind of its objects.
    pub kind: &'static str,
    /// Verbs.
    pub verbs: &'static [&'static str],
}

/// A column that a CRD declares.
#[derive(Debug, Clone)]
pub struct PrinterColumn {
    /// Header.
    pub name: String,
    /// JSON type.
    pub kind: String,
    /// Format.
    pub format: String,
    /// Help.
    pub description: String,
    /// Above 0: only in wide output.
    pub priority: i64,
    /// Where the value stands.
    pub path: JsonPath,
}

/// A resource type.
pub struct Resource {
    /// API group of the stored form; empty for core.
    pub group: Box<str>,
    /// Name in paths.
    pub plural: Box<str>,
    /// Lower-case singular.
    pub singular: Box<str>,
    /// Kind of its objects.
    pub kind: Box<str>,
    /// Kind of its lists.
    pub list_kind: Box<str>,
    /// What users may type instead of the plural.
    pub short_names: Vec<Box<str>>,
    /// Groups of resources that it is in (`all`).
    pub categories: Vec<Box<str>>,
    /// Whether objects are in namespaces.
    pub namespaced: bool,
    /// Versions, in order of preference.
    pub versions: Vec<Version>,
    /// Index of the stored version.
    pub storage: usize,
    /// Its name in the store.
    pub shard: ShardName,
    /// What is special about it.
    pub behaviour: &'static Behaviour,
    /// Whether it comes from a CRD.
    pub custom: bool,
    /// Whether `metadata.generation` counts changes of its spec.
    pub generation: bool,
}

impl Resource {
    /// The stored version.
    pub fn stored(&self) -> &Version {
        &self.versions[self.storage]
    }

    /// An entry as an object of the stored version.
    pub fn value(&self, entry: &Entry) -> Value {
        entry.value(&self.stored().api_version, &self.kind)
    }
}

impl Version {
    /// The shape of its objects.
    pub fn schema(&self) -> Arc<Node> {
        self.schema
            .get_or_init(|| match &self.source {
                Source::Traced(trace) => builtin::traced(*trace),
                Source::Custom(text) => {
                    let schema = serde_json::from_slice(text).unwrap_or_default();
                    crate::schema::custom::compile(&schema, builtin::object_meta())
                }
            })
            .clone()
    }
}

/// The selectable fields of a resource by its name in the store.
pub fn field_reader(shard: &str) -> FieldReader {
    builtin::rows().find(|row| row.is(shard)).map_or(no_fields, |row| row.behaviour.fields)
}
