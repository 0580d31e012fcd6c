//! Custom resources: from a CustomResourceDefinition to a served resource.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use serde_json::Value;

use crate::context::Context;
use crate::object;
use crate::registry::{Behaviour, PrinterColumn, Resource, Scale, Source, Version, builtin};
use crate::table::JsonPath;

/// Serves every definition in the store.
pub fn load(context: &Context) {
    for definition in context.all("apiextensions.k8s.io/customresourcedefinitions") {
        serve(context, &definition);
    }
}

/// Serves what a definition says, at once.
pub fn serve(context: &Context, definition: &Value) {
    if let Some(resource) = resource(definition) {
        context.catalog.insert(Arc::new(resource));
    }
}

/// A definition is gone: its resource is no longer served.
pub fn removed(context: &Context, resource: &Resource, definition: &Value) {
    if &*resource.kind == "CustomResourceDefinition" {
        let shard = shard(definition);
        context.catalog.remove(&shard);
        context.store.forget(&shard);
    }
}

/// The name in the store of what a definition defines.
pub fn shard(definition: &Value) -> String {
    let text = |path: &[&str]| object::text(definition, path).to_owned();
    format!("{}/{}", text(&["spec", "group"]), text(&["spec", "names", "plural"]))
}

fn resource(definition: &Value) -> Option<Resource> {
    let text = |path: &[&str]| object::text(definition, path);
    let group = text(&["spec", "group"]);
    let words = |field: &str| -> Vec<Box<str>> {
        let words = object::list(definition, &["spec", "names", field]);
        words.iter().filter_map(Value::as_str).map(Into::into).collect()
    };
    let listed = object::list(definition, &["spec", "versions"]);
    let storage = listed.iter().position(|v| v.get("storage") == Some(&Value::Bool(true)))?;
    let versions: Vec<Version> = listed.iter().map(|v| version(group, v)).collect();
    Some(Resource {
        group: group.into(),
        plural: text(&["spec", "names", "plural"]).into(),
        singular: text(&["spec", "names", "singular"]).into(),
        kind: text(&["spec", "names", "kind"]).into(),
        list_kind: text(&["spec", "names", "listKind"]).into(),
        short_names: words("shortNames"),
        categories: words("categories"),
        namespaced: text(&["spec", "scope"]) == "Namespaced",
        versions,
        storage,
        shard: shard(definition).into(),
        behaviour: &CUSTOM,
        custom: true,
        generation: true,
    })
}

static CUSTOM: Behaviour = Behaviour::PLAIN;

fn version(group: &str, spec: &Value) -> Version {
    let name = object::text(spec, &["name"]);
    let columns = object::list(spec, &["additionalPrinterColumns"]);
    let columns: Vec<PrinterColumn> = columns.iter().filter_map(column).collect();
    let schema = object::at(spec, &["schema", "openAPIV3Schema"]).cloned().unwrap_or_default();
    let deprecated = spec.get("deprecated") == Some(&Value::Bool(true));
    let warning = object::text(spec, &["deprecationWarning"]);
    let api_version = builtin::api_version(group, name);
    let deprecation = deprecated.then(|| match warning {
        "" => format!("{api_version} is deprecated"),
        given => given.to_owned(),
    });
    Version {
        group: group.into(),
        name: name.into(),
        api_version: api_version.into(),
        served: spec.get("served") == Some(&Value::Bool(true)),
        status: object::at(spec, &["subresources", "status"]).is_some(),
        scale: object::at(spec, &["subresources", "scale"]).and_then(scale),
        subresources: &[],
        columns: (!columns.is_empty()).then_some(columns),
        conversion: None,
        deprecation,
        source: Source::Custom(Bytes::from(schema.to_string())),
        schema: OnceLock::new(),
    }
}

fn column(spec: &Value) -> Option<PrinterColumn> {
    let text = |field: &str| object::text(spec, &[field]).to_owned();
    Some(PrinterColumn {
        name: text("name"),
        kind: text("type"),
        format: text("format"),
        description: text("description"),
        priority: object::int(spec, &["priority"]).unwrap_or_default(),
        path: JsonPath::parse(&text("jsonPath"))?,
    })
}

fn scale(spec: &Value) -> Option<Scale> {
    let path =
        |field: &str| JsonPath::parse(object::text(spec, &[field]))?.fields().filter(|f| !f.is_empty());
    Some(Scale {
        spec: path("specReplicasPath")?,
        status: path("statusReplicasPath")?,
        selector: path("labelSelectorPath"),
    })
}
