//! create.

use serde_json::Value;

use super::{Call, prepare};
use crate::admission::{self, Operation};
use crate::context::{key_of, refused};
use crate::object;
use crate::patch::managed;
use crate::status::{ApiError, Result};
use crate::store::Expect;

/// A generated name that is taken is tried again this often.
const TRIES: usize = 8;

/// Creates an object; returns it as stored. `name` is what a path says, for updates that create.
///
/// # Errors
/// As Kubernetes' API: bad and invalid objects, taken names, missing namespaces, refusals of webhooks, the disk.
pub async fn create(call: &mut Call, object: Value, name: Option<&str>) -> Result<Value> {
    let applied = call.options.clone();
    let decoded = prepare::decode(call, object)?;
    for attempt in 1.. {
        let mut object = decoded.clone();
        if let Some(name) = name {
            object::meta_mut(&mut object).insert("name".into(), name.into());
        }
        prepare::new_metadata(&call.served.resource, &call.namespace, &mut object)?;
        let generated = object::meta(&decoded, "name").is_empty() && name.is_none();
        match store(call, object, &applied.manager).await {
            Err(error) if error.reason == "AlreadyExists" && generated && attempt < TRIES => {}
            result => return result,
        }
    }
    Err(ApiError::internal("no free name was found"))
}

async fn store(call: &mut Call, mut object: Value, manager: &str) -> Result<Value> {
    let resource = call.served.resource.clone();
    prepare::reset_status(call, &mut object);
    prepare::default(call, &mut object);
    let name = object::name(&object).to_owned();
    if resource.namespaced {
        call.context.check_namespace(&resource, &call.namespace, &name)?;
    }
    // Nothing is asked or allocated for a name that is taken.
    if call.context.store.get(&resource.shard, &key_of(&object)).is_some() {
        return Err(ApiError::already_exists(&resource.group, &resource.plural, &name));
    }
    let object = admission::admit(call, Operation::Create, None, object).await?;
    let _allocation = admission::allocation_guard(call).await;
    let mut object = admission::allocate(call, None, object)?;
    prepare::validate(call, None, &object)?;
    if resource.namespaced {
        admission::quota::check(&call.context, &resource, &call.namespace, &object)?;
    }
    admission::validate(call, Operation::Create, None, Some(&object)).await?;
    if object::at(&object, &["metadata", "managedFields"]).is_none() {
        managed::track_update(&resource.stored().schema(), None, &mut object, manager, &call.subresource);
    }
    if call.options.dry_run {
        return Ok(object);
    }
    let fields = resource.behaviour.fields;
    let written =
        call.context.store.put(&resource.shard, key_of(&object), Expect::Absent, object, fields).await;
    let entry = written.map_err(|r| refused(&resource, &name, r))?;
    let stored = resource.value(&entry);
    admission::after_write(call, &stored);
    if &*resource.shard == "/namespaces" {
        crate::background::furnish(&call.context, &name).await;
    }
    Ok(stored)
}
