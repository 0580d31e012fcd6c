//! patch: JSON, merge, strategic merge, and server-side apply.

use http::StatusCode;
use serde_json::Value;

use super::update::{Changed, update};
use super::{Call, Part, Shape, body, create, prepare};
use crate::object;
use crate::patch::{last_applied, managed, strategic};
use crate::schema::{Node, check};
use crate::server::{Reply, Request};
use crate::status::{ApiError, FieldError, Result};
use crate::store::Key;

enum Patch {
    Json(json_patch::Patch),
    Merge(Value),
    Strategic(Value),
    Apply(Value),
}

const TYPES: &str = "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml";

/// Patches an object and answers.
pub async fn patch(
    call: &mut Call,
    request: &mut Request,
    name: &str,
    part: Part,
    shape: Shape,
) -> Result<Reply> {
    let patch = read(call, request).await?;
    let (stored, created) = match patch {
        Patch::Apply(object) => apply(call, name, object, part).await?,
        patch => {
            let schema = call.served.version().schema();
            (update(call, name, part, |old| patched(&schema, old, name, &patch)).await?, false)
        }
    };
    Ok(call.reply(if created { StatusCode::CREATED } else { StatusCode::OK }, stored, shape))
}

async fn read(call: &Call, request: &mut Request) -> Result<Patch> {
    let media = body::media_type(request);
    let bytes = body::read_body(request).await?;
    let unsupported = || {
        let message = format!(
            "the body of the request was in an unknown format - accepted media types include: {TYPES}"
        );
        ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "UnsupportedMediaType", message)
    };
    match media.as_str() {
        "application/json-patch+json" => {
            let patch = serde_json::from_slice(&bytes);
            patch.map(Patch::Json).map_err(|error| not_a_json_patch(&bytes, &error))
        }
        "application/merge-patch+json" => body::parse(&bytes, false).and_then(whole).map(Patch::Merge),
        // Custom resources have no merge keys.
        "application/strategic-merge-patch+json" if call.resource().custom => Err(unsupported()),
        "application/strategic-merge-patch+json" => {
            body::parse(&bytes, false).and_then(whole).map(Patch::Strategic)
        }
        "application/apply-patch+yaml" => {
            if !call.options.manager_given {
                let error = FieldError::required("fieldManager", "is required for apply patch");
                return Err(ApiError::invalid("meta.k8s.io", "PatchOptions", "", &[error]));
            }
            body::parse(&bytes, true).and_then(whole).map(Patch::Apply)
        }
        _ => Err(unsupported()),
    }
}

fn whole(value: Value) -> Result<Value> {
    if value.is_object() {
        return Ok(value);
    }
    let found = check::json_kind(&value);
    let message = format!("json: cannot unmarshal {found} into Go value of type map[string]interface {{}}");
    Err(ApiError::bad_request(message))
}

/// What Kubernetes says of a JSON patch that cannot be done.
fn rejected() -> ApiError {
    let text = "the server rejected our request due to an error in our request";
    ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "Invalid", text)
}

fn not_a_json_patch(bytes: &[u8], error: &serde_json::Error) -> ApiError {
    match serde_json::from_slice::<Value>(bytes) {
        // Operations that do not exist, or lack what they need.
        Ok(Value::Array(_)) => rejected(),
        Ok(other) => {
            let found = check::json_kind(&other);
            let message = format!(
                "error decoding patch: json: cannot unmarshal {found} into Go value of type []handlers.jsonPatchOp"
            );
            ApiError::bad_request(message)
        }
        Err(_) => ApiError::bad_request(format!("error decoding patch: {error}")),
    }
}

fn patched(schema: &Node, old: &Value, name: &str, patch: &Patch) -> Result<Changed> {
    let mut object = old.clone();
    // What a patch does not name keeps no revision: only a patch that names one insists on it.
    object::remove(&mut object, &["metadata", "resourceVersion"]);
    match patch {
        Patch::Json(patch) => {
            object = old.clone();
            json_patch::patch(&mut object, patch).map_err(|_| rejected())?;
            if object::meta(&object, "resourceVersion") == object::meta(old, "resourceVersion") {
                object::remove(&mut object, &["metadata", "resourceVersion"]);
            }
        }
        Patch::Merge(patch) => json_patch::merge(&mut object, patch),
        Patch::Strategic(patch) => {
            strategic::merge(Some(schema), &mut object, patch).map_err(ApiError::bad_request)?;
        }
        Patch::Apply(_) => {}
    }
    let given = object::name(&object);
    if given != name {
        let message = format!("the name of the object ({given}) does not match the name on the URL ({name})");
        return Err(ApiError::bad_request(message));
    }
    if let Patch::Strategic(patch) = patch {
        fits(schema, &object, patch)?;
    }
    Ok(Changed { object, tracked: false })
}

/// Whether a strategic patch left values of the right types: those of wrong ones are told with the patch.
fn fits(schema: &Node, object: &Value, patch: &Value) -> Result<()> {
    let Err(error) = check::types(schema, &mut object.clone()) else { return Ok(()) };
    let Some((_, wanted)) = error.rsplit_once("of type ") else { return Ok(()) };
    let told = FieldError::invalid("patch", check::go_text(patch), format!("unrecognized type: {wanted}"));
    Err(ApiError::invalid("", "", "", &[told]))
}

async fn apply(call: &mut Call, name: &str, object: Value, part: Part) -> Result<(Value, bool)> {
    let given = object::name(&object);
    if !given.is_empty() && given != name {
        let message = format!("the name of the object ({given}) does not match the name on the URL ({name})");
        return Err(ApiError::bad_request(message));
    }
    if !object::list(&object, &["metadata", "managedFields"]).is_empty() {
        return Err(ApiError::bad_request("metadata.managedFields must be nil"));
    }
    for field in ["apiVersion", "kind"] {
        if object::text(&object, &[field]).is_empty() {
            return Err(ApiError::bad_request(format!("apply patches must name their {field}")));
        }
    }
    let uid = object::meta(&object, "uid").to_owned();
    let mut applied = prepare::decode(call, object)?;
    prepare::check_namespace(&call.served.resource, &call.namespace, &mut applied)?;
    object::meta_mut(&mut applied).insert("name".into(), name.into());
    let resource = call.served.resource.clone();
    let (schema, version) = (resource.stored().schema(), resource.stored().api_version.clone());
    let (manager, force, sub) = (call.options.manager.clone(), call.options.force, call.subresource.clone());
    let owner = managed::Owner { manager: &manager, api_version: &version, subresource: &sub };
    let key = Key::new(&call.namespace, name);
    if call.context.store.get(&resource.shard, &key).is_none() {
        if part == Part::Status || !uid.is_empty() {
            return Err(crate::context::not_found(&resource, name));
        }
        let empty = prepare::empty(call, name);
        let mut object = managed::apply(&schema, &empty, &applied, &owner, force)?;
        served_version(call, &mut object);
        return Ok((create(call, object, Some(name)).await?, true));
    }
    // The change works on the stored form; `update` decodes it from the client's again.
    let served = call.served.clone();
    let stored = update(call, name, part, |old| {
        let mut old = old.clone();
        if let Some(conversion) = served.version().conversion {
            (conversion.up)(&mut old);
        }
        old["apiVersion"] = (*version).into();
        let mut object = managed::apply(&schema, &old, &applied, &owner, force)?;
        last_applied::sync(&manager, &applied, &mut object);
        if object::meta(&applied, "resourceVersion").is_empty() {
            object::remove(&mut object, &["metadata", "resourceVersion"]);
        }
        Ok(Changed { object: super::render::served(&served, object), tracked: true })
    })
    .await?;
    Ok((stored, false))
}

fn served_version(call: &Call, object: &mut Value) {
    *object = super::render::served(&call.served, std::mem::take(object));
}
