//! OpenAPI documents: v3 by group and version with the schemas as they are known, v2 as far as clients still ask.

use http::StatusCode;
use serde_json::{Map, Value, json};

use super::groups;
use crate::context::Context;
use crate::registry::{Served, Source, builtin};
use crate::schema::openapi::describe;
use crate::server::{Reply, Request, reply};
use crate::status::{ApiError, Result};

const V2_PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2";

/// What custom objects say of the fields that all objects have.
const API_VERSION: &str = "APIVersion defines the versioned schema of this representation of an object. Servers should \
    convert recognized schemas to the latest internal value, and may reject unrecognized values. More info: \
    https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#resources";
const KIND: &str = "Kind is a string value representing the REST resource this object represents. Servers may infer \
    this from the endpoint the client submits requests to. Cannot be updated. In CamelCase. More info: \
    https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds";
const METADATA: &str = "Standard object's metadata. More info: \
    https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata";

/// Answers below `/openapi`.
pub fn openapi(context: &Context, request: &Request, parts: &[&str]) -> Result<Reply> {
    match parts {
        ["v2"] => Ok(v2(context, request)),
        ["v3"] => Ok(reply::json(StatusCode::OK, &index(context))),
        ["v3", "api", version] => document(context, "", version),
        ["v3", "apis", group, version] => document(context, group, version),
        _ => Err(ApiError::no_such_resource()),
    }
}

fn index(context: &Context) -> Value {
    let snapshot = context.catalog.snapshot();
    let revision = context.store.revision();
    let mut paths = Map::new();
    for (group, versions) in groups(&snapshot) {
        for version in versions {
            if snapshot.version(&group, &version).is_none() {
                continue;
            }
            let path =
                if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") };
            let url = format!("/openapi/v3/{path}?hash={revision}");
            paths.insert(path, json!({"serverRelativeURL": url}));
        }
    }
    json!({"paths": paths})
}

fn document(context: &Context, group: &str, version: &str) -> Result<Reply> {
    let snapshot = context.catalog.snapshot();
    let resources = snapshot.version(group, version).ok_or_else(ApiError::no_such_resource)?;
    let (mut paths, mut schemas) = (Map::new(), Map::new());
    for served in resources.values() {
        let name = schema_name(served);
        schemas.insert(name.clone(), schema(served));
        let root =
            if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") };
        let place = if served.resource.namespaced { "/namespaces/{namespace}" } else { "" };
        let path = format!("{root}{place}/{}", served.resource.plural);
        paths.insert(path.clone(), json!({"post": operation(served, "post", &name)}));
        paths.insert(
            format!("{path}/{{name}}"),
            json!({
                "put": operation(served, "put", &name), "patch": operation(served, "patch", &name),
            }),
        );
    }
    let document = json!({
        "openapi": "3.0.0", "info": info(), "paths": paths, "components": {"schemas": schemas},
    });
    Ok(reply::json(StatusCode::OK, &document))
}

fn info() -> Value {
    json!({"title": "Kubernetes", "version": super::version()["gitVersion"]})
}

fn kind_of(served: &Served) -> Value {
    let version = served.version();
    json!({"group": &*version.group, "version": &*version.name, "kind": &*served.resource.kind})
}

fn schema_name(served: &Served) -> String {
    let version = served.version();
    let group: Vec<&str> = version.group.split('.').rev().collect();
    let group = match (served.resource.custom, &*version.group) {
        (true, _) => group.join("."),
        (false, "") => "io.k8s.api.core".to_owned(),
        (false, name) => format!("io.k8s.api.{}", name.split('.').next().unwrap_or_default()),
    };
    format!("{group}.{}.{}", version.name, served.resource.kind)
}

fn schema(served: &Served) -> Value {
    let version = served.version();
    let mut schema = match &version.source {
        Source::Traced(_) => describe(&version.schema()),
        Source::Custom(text) => {
            let mut schema: Value = serde_json::from_slice(text).unwrap_or_default();
            let properties = crate::object::map_mut(&mut schema, &["properties"]);
            for (field, description) in [("apiVersion", API_VERSION), ("kind", KIND)] {
                properties.insert(field.into(), json!({"type": "string", "description": description}));
            }
            let metadata = builtin::object_meta().map_or(json!({"type": "object"}), |node| describe(&node));
            properties.insert("metadata".into(), metadata);
            properties["metadata"]["description"] = METADATA.into();
            schema
        }
    };
    schema["x-kubernetes-group-version-kind"] = json!([kind_of(served)]);
    schema
}

fn operation(served: &Served, action: &str, schema: &str) -> Value {
    let parameter = |name: &str, kind: &str| json!({"name": name, "in": "query", "schema": {"type": kind, "uniqueItems": true}});
    let parameters = json!([
        parameter("dryRun", "string"),
        parameter("fieldManager", "string"),
        parameter("fieldValidation", "string"),
        parameter("force", "boolean"),
        parameter("pretty", "string"),
    ]);
    let reference = json!({"schema": {"$ref": format!("#/components/schemas/{schema}")}});
    let body = match action {
        "patch" => {
            json!({"application/json-patch+json": {"schema": {}}, "application/merge-patch+json": {"schema": {}},
            "application/apply-patch+yaml": {"schema": {}}})
        }
        _ => json!({"*/*": reference}),
    };
    json!({
        "operationId": format!("{action}{}", served.resource.kind), "parameters": parameters,
        "requestBody": {"content": body, "required": true},
        "responses": {"200": {"description": "OK", "content": {"application/json": reference}}},
        "x-kubernetes-action": action, "x-kubernetes-group-version-kind": kind_of(served),
    })
}

fn v2(context: &Context, request: &Request) -> Reply {
    let accept =
        request.head.headers.get(http::header::ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or_default();
    if accept.starts_with(V2_PROTOBUF) {
        return reply::bytes(StatusCode::OK, &format!("{V2_PROTOBUF}.v1.0+protobuf"), minimal_v2());
    }
    let snapshot = context.catalog.snapshot();
    let mut definitions = Map::new();
    for resource in snapshot.resources() {
        for (index, _) in resource.versions.iter().enumerate().filter(|(_, v)| v.served) {
            let served = Served { resource: resource.clone(), index };
            let kinds = json!([kind_of(&served)]);
            definitions.insert(
                schema_name(&served),
                json!({
                    "type": "object", "x-kubernetes-preserve-unknown-fields": true,
                    "x-kubernetes-group-version-kind": kinds,
                }),
            );
        }
    }
    let document = json!({"swagger": "2.0", "info": info(), "paths": {}, "definitions": definitions});
    reply::json(StatusCode::OK, &document)
}

/// A document of gnostic's protobuf schema with version and title alone (fields 1 and 2): clients that ask for this
/// form fall back to what they know themselves.
fn minimal_v2() -> Vec<u8> {
    fn field(number: u8, content: &[u8]) -> Vec<u8> {
        // Wire type 2; all contents here are shorter than 128 bytes.
        let mut out = vec![number << 3 | 2, content.len() as u8];
        out.extend_from_slice(content);
        out
    }
    let info = [field(1, b"Kubernetes"), field(2, b"v1.34.0")].concat();
    [field(1, b"2.0"), field(2, &info), field(8, b"")].concat()
}
