//! What happens to every object before it is stored: decoding, metadata, defaults, validation.

use rand::Rng as _;
use serde_json::{Value, json};

use super::{Call, Validation};
use crate::kinds::names;
use crate::object;
use crate::registry::Resource;
use crate::schema::{check, defaults, rules};
use crate::status::{ApiError, FieldError, Result};

/// What generated names are made of: no vowels, nothing that looks like another.
const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
/// Generated names keep at most this much of their prefix.
const PREFIX: usize = 58;

/// Checks that an object is of the type that the path names, brings it to the stored version, and drops or refuses
/// fields that its schema does not know.
///
/// # Errors
/// 400 for another type, wrong JSON types, and (if so asked) unknown fields.
pub fn decode(call: &mut Call, mut object: Value) -> Result<Value> {
    let version = call.served.version();
    let kind = call.served.resource.kind.clone();
    check_type(&object, &version.api_version, &kind)?;
    if let Some(conversion) = version.conversion {
        (conversion.up)(&mut object);
    }
    let stored = call.served.resource.stored();
    let schema = if version.conversion.is_some() { stored.schema() } else { version.schema() };
    let cannot = |error: String| {
        let message =
            format!("{kind} in version {:?} cannot be handled as a {kind}: {error}", &*version.name);
        ApiError::bad_request(message)
    };
    let metadata = schema.field("metadata").cloned();
    if call.served.resource.custom {
        if let (Some(node), Some(value)) = (&metadata, object.get_mut("metadata")) {
            check::types(node, value).map_err(cannot)?;
        }
    } else {
        check::types(&schema, &mut object).map_err(cannot)?;
    }
    let unknown = check::unknown(&schema, &mut object, true);
    if !unknown.is_empty() {
        let texts: Vec<String> = unknown.iter().map(|path| format!("unknown field \"{path}\"")).collect();
        match call.options.validation {
            Validation::Strict => return Err(cannot(format!("strict decoding error: {}", texts.join(", ")))),
            Validation::Warn => call.warnings.extend(texts),
            Validation::Ignore => {}
        }
    }
    if let Some(map) = object.as_object_mut() {
        map.insert("apiVersion".into(), (*stored.api_version).into());
        map.insert("kind".into(), (*kind).into());
    }
    Ok(object)
}

/// Checks the JSON types of an object that a webhook has changed, and drops what its schema does not know.
///
/// # Errors
/// 500: the webhook made it unreadable.
pub fn recheck(call: &Call, object: &mut Value) -> Result<()> {
    let resource = call.resource();
    let schema = resource.stored().schema();
    if !resource.custom {
        let broken = |error| {
            ApiError::internal(format!("a webhook's patch left an unreadable {}: {error}", resource.kind))
        };
        check::types(&schema, object).map_err(broken)?;
    }
    check::unknown(&schema, object, true);
    Ok(())
}

fn check_type(object: &Value, api_version: &str, kind: &str) -> Result<()> {
    let (found_version, found_kind) =
        (object::text(object, &["apiVersion"]), object::text(object, &["kind"]));
    if !found_version.is_empty() && found_version != api_version {
        let message = format!(
            "the API version in the data ({found_version}) does not match the expected API version ({api_version})"
        );
        return Err(ApiError::bad_request(message));
    }
    if !found_kind.is_empty() && found_kind != kind {
        let message = format!("the object provided is of kind {found_kind}, this resource takes {kind}");
        return Err(ApiError::bad_request(message));
    }
    Ok(())
}

/// Gives a new object its namespace, name, uid, creation time and generation.
///
/// # Errors
/// 400 when it names another namespace or holds a resource version.
pub fn new_metadata(resource: &Resource, namespace: &str, object: &mut Value) -> Result<()> {
    check_namespace(resource, namespace, object)?;
    if !object::meta(object, "resourceVersion").is_empty() {
        return Err(ApiError::bad_request("resourceVersion should not be set on objects to be created"));
    }
    let generated = object::meta(object, "generateName").to_owned();
    let meta = object::meta_mut(object);
    if meta.get("name").and_then(Value::as_str).unwrap_or_default().is_empty() && !generated.is_empty() {
        meta.insert("name".into(), generate(&generated).into());
    }
    for field in
        ["deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "resourceVersion", "generation"]
    {
        meta.shift_remove(field);
    }
    meta.insert("uid".into(), uuid::Uuid::new_v4().to_string().into());
    meta.insert("creationTimestamp".into(), object::now().into());
    if resource.generation || resource.custom {
        meta.insert("generation".into(), 1.into());
    }
    Ok(())
}

/// Sets the namespace of the path, or refuses another one.
///
/// # Errors
/// 400 when the object names another namespace.
pub fn check_namespace(resource: &Resource, namespace: &str, object: &mut Value) -> Result<()> {
    let given = object::namespace(object);
    if resource.namespaced {
        if !given.is_empty() && given != namespace {
            let message =
                "the namespace of the provided object does not match the namespace sent on the request";
            return Err(ApiError::bad_request(message));
        }
        object::meta_mut(object).insert("namespace".into(), namespace.into());
    } else {
        object::meta_mut(object).shift_remove("namespace");
    }
    Ok(())
}

/// A name from a prefix.
pub fn generate(prefix: &str) -> String {
    let mut random = rand::rng();
    let prefix: String = prefix.chars().take(PREFIX).collect();
    let suffix = (0..5).map(|_| char::from(ALPHABET[random.random_range(0..ALPHABET.len())]));
    prefix.chars().chain(suffix).collect()
}

/// A new object's status: none, for kinds whose status only controllers write.
pub fn reset_status(call: &Call, object: &mut Value) {
    let keeps = matches!(&*call.resource().plural, "nodes" | "events");
    if call.served.version().status && !keeps {
        object::remove(object, &["status"]);
    }
}

/// Fills in defaults: of the schema for custom objects, of the kind for built-in ones.
pub fn default(call: &Call, object: &mut Value) {
    let resource = call.resource();
    if resource.custom {
        defaults::apply(&call.served.version().schema(), object);
    } else {
        (resource.behaviour.default)(object);
    }
}

/// Checks an object before it is stored; `old` is what it replaces.
///
/// # Errors
/// 422 with every field error.
pub fn validate(call: &Call, old: Option<&Value>, object: &Value) -> Result<()> {
    let resource = call.resource();
    let mut errors: Vec<FieldError> = Vec::new();
    let path_names = resource.behaviour.path_names;
    if old.is_none() {
        names::metadata(&resource.group, &resource.plural, path_names, object, &mut errors);
    } else {
        names::labels(object, &["metadata", "labels"], "metadata.labels", &mut errors);
    }
    if resource.custom {
        errors.extend(rules::validate(&call.served.version().schema(), object));
    } else {
        // A status update is not held up by what was valid when it was written.
        if call.subresource != "status" {
            (resource.behaviour.validate)(object, &mut errors);
        }
        if let Some(old) = old {
            (resource.behaviour.validate_update)(old, object, &mut errors);
        }
    }
    if errors.is_empty() {
        return Ok(());
    }
    Err(ApiError::invalid(&resource.group, &resource.kind, object::name(object), &errors))
}

/// Whether two objects differ in more than bookkeeping.
pub fn differs(old: &Value, new: &Value) -> bool {
    let strip = |value: &Value| {
        let mut value = value.clone();
        for field in ["managedFields", "resourceVersion"] {
            object::remove(&mut value, &["metadata", field]);
        }
        value
    };
    strip(old) != strip(new)
}

/// Whether the part of two objects that a controller acts on differs.
pub fn spec_differs(old: &Value, new: &Value) -> bool {
    let strip = |value: &Value| {
        let mut value = value.clone();
        for field in ["metadata", "status", "apiVersion", "kind"] {
            object::remove(&mut value, &[field]);
        }
        value
    };
    let mut old = strip(old);
    // That a pod has got its node is no new wish of its user.
    if object::text(&old, &["spec", "nodeName"]).is_empty()
        && let Some(node) = object::at(new, &["spec", "nodeName"])
        && object::at(new, &["spec", "containers"]).is_some()
    {
        object::map_mut(&mut old, &["spec"]).insert("nodeName".into(), node.clone());
    }
    old != strip(new)
}

/// An empty object of the resource, for patches that create.
pub fn empty(call: &Call, name: &str) -> Value {
    json!({
        "kind": &*call.resource().kind, "apiVersion": &*call.served.version().api_version,
        "metadata": {"name": name},
    })
}
