//! update, of an object or of its status, with optimistic concurrency.

use serde_json::Value;

use super::{Call, create, delete, prepare};
use crate::admission::{self, Operation};
use crate::context::{not_found, refused};
use crate::kinds::workload;
use crate::object;
use crate::patch::managed;
use crate::status::{ApiError, FieldError, Reason, Result};
use crate::store::{Expect, Key, Refused};

/// Updates that collide with others are tried again this often, where the client named no resource version.
const TRIES: usize = 12;

/// What of an object a write is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// All but the status, where that is a subresource.
    Main,
    /// The status.
    Status,
    /// Everything, by the server itself.
    Whole,
}

/// What a change makes of an object: the new one in the client's version; and, for server-side apply, the managed
/// fields that go with it.
pub struct Changed {
    /// The new object.
    pub object: Value,
    /// Whether `managedFields` in it are worked out already.
    pub tracked: bool,
}

/// Replaces an object; tells whether it was created.
///
/// # Errors
/// As [`update`]; 400 when the object is another one than the path says.
pub async fn replace(call: &mut Call, name: &str, object: Value, part: Part) -> Result<(Value, bool)> {
    let given = object::name(&object);
    if !given.is_empty() && given != name {
        let message = format!("the name of the object ({given}) does not match the name on the URL ({name})");
        return Err(ApiError::bad_request(message));
    }
    // Some resources may be made by an update, as in Kubernetes.
    let key = Key::new(&call.namespace, name);
    let missing = call.context.store.get(&call.resource().shard, &key).is_none();
    let creatable =
        matches!(&*call.resource().plural, "leases" | "endpoints" | "events" | "services" | "nodes")
            || &*call.resource().group == "rbac.authorization.k8s.io";
    if missing && creatable && part == Part::Main && object::meta(&object, "resourceVersion").is_empty() {
        return Ok((create(call, object, Some(name)).await?, true));
    }
    let stored = update(call, name, part, |_| Ok(Changed { object: object.clone(), tracked: false })).await?;
    Ok((stored, false))
}

/// Changes an object: `change` gets it as it stands, in the client's version, and returns what it should be. Returns
/// what is stored.
///
/// # Errors
/// 404, 409 for a stale resource version, and whatever makes a new object invalid.
pub async fn update(
    call: &mut Call,
    name: &str,
    part: Part,
    mut change: impl FnMut(&Value) -> Result<Changed>,
) -> Result<Value> {
    let resource = call.served.resource.clone();
    let key = Key::new(&call.namespace, name);
    for attempt in 1.. {
        let entry =
            call.context.store.get(&resource.shard, &key).ok_or_else(|| not_found(&resource, name))?;
        let old = resource.value(&entry);
        let changed = change(&super::render::served(&call.served, old.clone()))?;
        let given = object::meta(&changed.object, "resourceVersion").to_owned();
        let pinned = !given.is_empty() && given != entry.revision.to_string();
        if pinned {
            return Err(ApiError::modified(&resource.group, &resource.plural, name));
        }
        let warnings = call.warnings.len();
        let new = decide(call, &old, changed, part).await?;
        if !prepare::differs(&old, &new) && (call.options.dry_run || same_owners(&old, &new)) {
            return Ok(old);
        }
        if call.options.dry_run {
            let mut new = new;
            object::meta_mut(&mut new).insert("resourceVersion".into(), entry.revision.to_string().into());
            return Ok(new);
        }
        match commit(call, &key, entry.revision, new).await {
            Err(Refused::Stale | Refused::Missing) if attempt < TRIES => call.warnings.truncate(warnings),
            Err(error) => return Err(refused(&resource, name, error)),
            Ok(stored) => {
                admission::after_write(call, &stored);
                return Ok(stored);
            }
        }
    }
    Err(ApiError::modified(&resource.group, &resource.plural, name))
}

/// Whether the owners of fields are the same, times aside.
fn same_owners(old: &Value, new: &Value) -> bool {
    let owners = |object: &Value| {
        let mut list = object::list(object, &["metadata", "managedFields"]).to_vec();
        list.iter_mut().for_each(|entry| {
            object::remove(entry, &["time"]);
        });
        list
    };
    owners(old) == owners(new)
}

/// Works out the new object from what the client wants.
async fn decide(call: &mut Call, old: &Value, changed: Changed, part: Part) -> Result<Value> {
    let resource = call.served.resource.clone();
    let uid = object::meta(&changed.object, "uid");
    if !uid.is_empty() && uid != object::meta(old, "uid") {
        if call.patching {
            let error = FieldError::invalid("metadata.uid", uid, "field is immutable");
            return Err(ApiError::invalid(&resource.group, &resource.kind, object::name(old), &[error]));
        }
        let why = format!(
            "Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
            object::meta(old, "uid")
        );
        return Err(ApiError::conflict(&resource.group, &resource.plural, object::name(old), &why));
    }
    let mut new = prepare::decode(call, changed.object)?;
    prepare::check_namespace(&resource, &call.namespace, &mut new)?;
    keep_metadata(old, &mut new);
    keep_parts(call, old, &mut new, part);
    prepare::default(call, &mut new);
    let new = admission::admit(call, Operation::Update, Some(old), new).await?;
    let _allocation = admission::allocation_guard(call).await;
    let mut new = admission::allocate(call, Some(old), new)?;
    let annotations = |object: &Value| object::at(object, &["metadata", "annotations"]).cloned();
    // Kubernetes counts the annotations of a Deployment among what its user wants.
    let noted =
        &*resource.shard == "apps/deployments" && part == Part::Main && annotations(old) != annotations(&new);
    if &*resource.shard == "apps/daemonsets" {
        workload::count_template(old, &mut new);
    }
    if (resource.generation || resource.custom) && (noted || prepare::spec_differs(old, &new)) {
        let generation = object::int(old, &["metadata", "generation"]).unwrap_or_default() + 1;
        object::meta_mut(&mut new).insert("generation".into(), generation.into());
    }
    check_finalizers(call, old, &new)?;
    prepare::validate(call, Some(old), &new)?;
    admission::validate(call, Operation::Update, Some(old), Some(&new)).await?;
    if !changed.tracked {
        let manager = call.options.manager.clone();
        managed::track_update(&resource.stored().schema(), Some(old), &mut new, &manager, &call.subresource);
    }
    Ok(new)
}

/// What is being deleted can only be let go.
fn check_finalizers(call: &Call, old: &Value, new: &Value) -> Result<()> {
    if !object::terminating(old) {
        return Ok(());
    }
    let added: Vec<String> = object::finalizers(new)
        .filter(|finalizer| !object::finalizers(old).any(|known| known == *finalizer))
        .map(|finalizer| format!("{finalizer:?}"))
        .collect();
    if added.is_empty() {
        return Ok(());
    }
    let detail = format!(
        "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
        added.join(", ")
    );
    let error = FieldError::new("metadata.finalizers", Reason::Forbidden, detail);
    let resource = call.resource();
    Err(ApiError::invalid(&resource.group, &resource.kind, object::name(old), &[error]))
}

/// Metadata that no client changes.
fn keep_metadata(old: &Value, new: &mut Value) {
    let name = object::name(old).to_owned();
    let meta = object::meta_mut(new);
    meta.insert("name".into(), name.into());
    let kept = [
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generation",
        "generateName",
    ];
    for field in kept {
        match object::at(old, &["metadata", field]) {
            Some(value) => meta.insert(field.into(), value.clone()),
            None => meta.shift_remove(field),
        };
    }
    if !meta.contains_key("managedFields")
        && let Some(managed) = object::at(old, &["metadata", "managedFields"])
    {
        meta.insert("managedFields".into(), managed.clone());
    }
    meta.shift_remove("selfLink");
}

/// The status stays in a write of the object, everything else in a write of the status.
fn keep_parts(call: &Call, old: &Value, new: &mut Value, part: Part) {
    match part {
        Part::Whole => {}
        Part::Main if call.served.version().status => match old.get("status") {
            Some(status) => new["status"] = status.clone(),
            None => {
                object::remove(new, &["status"]);
            }
        },
        Part::Main => {}
        Part::Status => {
            let status = new.get("status").cloned();
            let managed = object::at(new, &["metadata", "managedFields"]).cloned();
            let revision = object::at(new, &["metadata", "resourceVersion"]).cloned();
            let labels = ["labels", "annotations"].map(|f| (f, object::at(new, &["metadata", f]).cloned()));
            *new = old.clone();
            match status {
                Some(status) => new["status"] = status,
                None => {
                    object::remove(new, &["status"]);
                }
            }
            let meta = object::meta_mut(new);
            for (field, value) in [("managedFields", managed), ("resourceVersion", revision)] {
                if let Some(value) = value {
                    meta.insert(field.into(), value);
                }
            }
            // Kubernetes' built-in kinds let a status update carry labels and annotations.
            if !call.resource().custom {
                for (field, value) in labels {
                    match value {
                        Some(value) => meta.insert(field.into(), value),
                        None => meta.shift_remove(field),
                    };
                }
            }
        }
    }
}

/// Writes the new object, or removes it when nothing holds it back any more.
async fn commit(call: &Call, key: &Key, revision: u64, new: Value) -> std::result::Result<Value, Refused> {
    let resource = &call.served.resource;
    let (store, fields) = (&call.context.store, resource.behaviour.fields);
    let entry = if delete::finished(resource, &new) {
        store.delete(&resource.shard, key.clone(), revision, new, fields).await?
    } else {
        store.put(&resource.shard, key.clone(), Expect::Revision(revision), new, fields).await?
    };
    Ok(resource.value(&entry))
}
