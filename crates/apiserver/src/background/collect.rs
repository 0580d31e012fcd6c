//! Garbage collection by owner references, with Kubernetes' three ways of propagation.

use std::sync::Arc;

use serde_json::Value;

use super::{change, remove};
use crate::context::Context;
use crate::kinds::definition::CLEANUP;
use crate::object;
use crate::store::{Entry, Key};
use crate::verbs::delete::{FOREGROUND, ORPHAN};

fn value(context: &Context, shard: &str, key: &Key) -> Option<Value> {
    context.get(shard, &key.namespace, &key.name)
}

/// Deletes an object whose owners are all gone; takes owners that are gone out of one that has others.
pub async fn dependent(context: &Arc<Context>, shard: &str, key: &Key) {
    let Some(object) = value(context, shard, key) else { return };
    let owners = object::list(&object, &["metadata", "ownerReferences"]);
    let gone = |owner: &Value| context.store.by_uid(object::text(owner, &["uid"])).is_none();
    if owners.is_empty() || !owners.iter().any(gone) {
        return;
    }
    if owners.iter().all(gone) {
        remove(context, shard, key, object::meta(&object, "uid"), Some("Background")).await;
    } else {
        drop_owners(context, shard, key, &gone).await;
    }
}

async fn drop_owners(context: &Arc<Context>, shard: &str, key: &Key, drop: &impl Fn(&Value) -> bool) {
    change(context, shard, key, |object| {
        let meta = object::meta_mut(object);
        if let Some(owners) = meta.get_mut("ownerReferences").and_then(Value::as_array_mut) {
            owners.retain(|owner| !drop(owner));
            if owners.is_empty() {
                meta.shift_remove("ownerReferences");
            }
        }
    })
    .await;
}

/// An object is gone: so are those it owned; and an owner may have waited for it.
pub async fn owner_gone(context: &Arc<Context>, entry: &Entry) {
    for (shard, key) in context.store.dependents(&entry.uid) {
        dependent(context, &shard, &key).await;
    }
    for owner in &entry.owners {
        if let Some((shard, key)) = context.store.by_uid(owner) {
            terminating(context, &shard, &key).await;
        }
    }
}

/// Does what the finalizers of an object that is being deleted ask for.
pub async fn terminating(context: &Arc<Context>, shard: &str, key: &Key) {
    let Some(object) = value(context, shard, key).filter(object::terminating) else { return };
    let uid = object::meta(&object, "uid").to_owned();
    if object::finalizers(&object).any(|f| f == ORPHAN) {
        for (shard, key) in context.store.dependents(&uid) {
            drop_owners(context, &shard, &key, &|owner| object::text(owner, &["uid"]) == uid).await;
        }
        change(context, shard, key, |object| {
            object::remove_finalizer(object, ORPHAN);
        })
        .await;
    } else if object::finalizers(&object).any(|f| f == FOREGROUND) {
        foreground(context, shard, key, &uid).await;
    }
}

/// Deletes the dependents first; the owner goes when none is left that blocks it.
async fn foreground(context: &Arc<Context>, shard: &str, key: &Key, uid: &str) {
    for (shard, key) in context.store.dependents(uid) {
        let Some(object) = value(context, &shard, &key).filter(|o| !object::terminating(o)) else { continue };
        // Its own dependents go first as well.
        remove(context, &shard, &key, object::meta(&object, "uid"), Some("Foreground")).await;
    }
    let blocks = |shard: &str, key: &Key| {
        value(context, shard, key).is_some_and(|object| {
            let owners = object::list(&object, &["metadata", "ownerReferences"]).iter();
            owners
                .filter(|o| object::text(o, &["uid"]) == uid)
                .any(|o| o.get("blockOwnerDeletion") == Some(&Value::Bool(true)))
        })
    };
    if !context.store.dependents(uid).iter().any(|(shard, key)| blocks(shard, key)) {
        change(context, shard, key, |object| {
            object::remove_finalizer(object, FOREGROUND);
        })
        .await;
    }
}

/// A definition that is being deleted takes its objects along.
pub async fn definition(context: &Arc<Context>, name: &str) {
    let definitions = "apiextensions.k8s.io/customresourcedefinitions";
    let key = Key::new("", name);
    let Some(definition) = value(context, definitions, &key) else { return };
    if !object::finalizers(&definition).any(|f| f == CLEANUP) {
        return;
    }
    let shard = crate::crd::shard(&definition);
    for (key, entry) in context.store.list(&shard, None, None).0 {
        if !entry.terminating {
            remove(context, &shard, &key, &entry.uid, None).await;
        }
    }
    if context.store.list(&shard, None, None).0.is_empty() {
        // Who sees the definition gone must not find its resource any more.
        context.catalog.remove(&shard);
        change(context, definitions, &key, |object| {
            object::remove_finalizer(object, CLEANUP);
        })
        .await;
    }
}

/// The last object of a definition that is being deleted may be gone.
pub async fn instance_gone(context: &Arc<Context>, shard: &str) {
    let Some((group, plural)) = shard.split_once('/') else { return };
    let custom = context.catalog.snapshot().by_shard(shard).is_some_and(|r| r.custom);
    if custom {
        let name = format!("{plural}.{group}");
        let key = Key::new("", &name);
        let entry = context.store.get("apiextensions.k8s.io/customresourcedefinitions", &key);
        if entry.is_some_and(|e| e.terminating) {
            definition(context, &name).await;
        }
    }
}
