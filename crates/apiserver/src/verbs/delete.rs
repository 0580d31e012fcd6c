//! delete and deletecollection.

use http::StatusCode;
use serde_json::{Value, json};

use super::read::Selection;
use super::{Call, Shape, body};
use crate::admission::{self, Operation};
use crate::context::{must_get, refused};
use crate::kinds::definition::CLEANUP;
use crate::object;
use crate::registry::Resource;
use crate::server::{Reply, Request, reply};
use crate::status::{ApiError, Result};
use crate::store::{Expect, Key, Refused};

/// Finalizers by which the garbage collector knows its work.
pub const FOREGROUND: &str = "foregroundDeletion";
/// See [`FOREGROUND`].
pub const ORPHAN: &str = "orphan";

/// How an object is to be deleted.
#[derive(Debug, Clone, Default)]
pub struct DeleteOptions {
    /// Seconds that a pod gets to end.
    pub grace: Option<i64>,
    /// `Foreground`, `Background` or `Orphan`.
    pub propagation: Option<String>,
    /// Only the object with this uid.
    pub uid: Option<String>,
    /// Only the object in this revision.
    pub revision: Option<String>,
    /// Everything but the deletion.
    pub dry_run: bool,
}

impl DeleteOptions {
    /// Reads options from the body and the query.
    ///
    /// # Errors
    /// 400 when they cannot be read.
    pub async fn read(request: &mut Request) -> Result<Self> {
        let value = body::value(request).await?;
        let query = &request.query;
        let text = |path: &[&str]| object::at(&value, path).and_then(Value::as_str).map(str::to_owned);
        let grace = object::int(&value, &["gracePeriodSeconds"]);
        let orphan =
            value.get("orphanDependents").and_then(Value::as_bool).or(match query.get("orphanDependents") {
                Some("true") => Some(true),
                Some("false") => Some(false),
                _ => None,
            });
        let propagation = text(&["propagationPolicy"])
            .or_else(|| query.get("propagationPolicy").map(str::to_owned))
            .or(orphan.map(|orphan| if orphan { "Orphan" } else { "Background" }.to_owned()));
        if let Some(policy) =
            propagation.as_deref().filter(|p| !["Foreground", "Background", "Orphan"].contains(p))
        {
            let message = format!(
                "invalid propagation policy {policy:?}: supported values: Foreground, Background, Orphan"
            );
            return Err(ApiError::bad_request(message));
        }
        Ok(Self {
            grace: grace.or_else(|| query.get("gracePeriodSeconds").and_then(|g| g.parse().ok())),
            propagation,
            uid: text(&["preconditions", "uid"]),
            revision: text(&["preconditions", "resourceVersion"]),
            dry_run: query.get("dryRun") == Some("All") || !object::list(&value, &["dryRun"]).is_empty(),
        })
    }
}

/// Deletes one object and answers.
pub async fn delete(call: &mut Call, name: &str, options: &DeleteOptions, shape: Shape) -> Result<Reply> {
    let (object, gone) = one(call, name, options).await?;
    let resource = call.resource();
    if !gone || &*resource.plural == "pods" {
        return Ok(call.reply(StatusCode::OK, object, shape));
    }
    let details = json!({
        "name": name, "group": &*resource.group, "kind": &*resource.plural, "uid": object::meta(&object, "uid"),
    });
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details,
    });
    let mut reply = reply::json(StatusCode::OK, &status);
    reply::warn(reply.headers_mut(), &call.warnings);
    Ok(reply)
}

/// Deletes one object, or marks it for deletion; tells which.
pub async fn one(call: &mut Call, name: &str, options: &DeleteOptions) -> Result<(Value, bool)> {
    let resource = call.served.resource.clone();
    let key = Key::new(&call.namespace, name);
    loop {
        let entry = must_get(&call.context, &resource, &call.namespace, name)?;
        let old = resource.value(&entry);
        check_preconditions(&resource, name, &old, options)?;
        admission::validate(call, Operation::Delete, Some(&old), None).await?;
        let marked = mark(&resource, &old, options);
        let gone = finished(&resource, &marked);
        if options.dry_run || call.options.dry_run {
            return Ok((marked, gone));
        }
        let (store, fields) = (&call.context.store, resource.behaviour.fields);
        let result = if gone {
            store.delete(&resource.shard, key.clone(), entry.revision, marked, fields).await
        } else if marked == old {
            return Ok((old, false));
        } else {
            store.put(&resource.shard, key.clone(), Expect::Revision(entry.revision), marked, fields).await
        };
        match result {
            Err(Refused::Stale) => {}
            Err(error) => return Err(refused(&resource, name, error)),
            Ok(entry) => {
                let object = resource.value(&entry);
                admission::after_delete(call, &object, gone);
                return Ok((object, gone));
            }
        }
    }
}

fn check_preconditions(resource: &Resource, name: &str, old: &Value, options: &DeleteOptions) -> Result<()> {
    let pairs = [("UID", "uid", &options.uid), ("ResourceVersion", "resourceVersion", &options.revision)];
    for (shown, field, wanted) in pairs {
        let found = object::meta(old, field);
        if let Some(wanted) = wanted.as_deref().filter(|wanted| *wanted != found) {
            let why = format!(
                "Precondition failed: {shown} in precondition: {wanted}, {shown} in object meta: {found}"
            );
            return Err(ApiError::conflict(&resource.group, &resource.plural, name, &why));
        }
    }
    Ok(())
}

/// The object with its deletion asked for.
fn mark(resource: &Resource, old: &Value, options: &DeleteOptions) -> Value {
    let mut object = old.clone();
    match options.propagation.as_deref() {
        Some("Foreground") => object::add_finalizer(&mut object, FOREGROUND),
        Some("Orphan") => object::add_finalizer(&mut object, ORPHAN),
        _ => {}
    }
    let grace = grace(resource, old, options);
    let now = jiff::Timestamp::now();
    let terminating = object::terminating(&object);
    let current = object::int(&object, &["metadata", "deletionGracePeriodSeconds"]);
    let meta = object::meta_mut(&mut object);
    // A grace period may be shortened, never made longer.
    if !terminating || current.is_some_and(|current| grace < current) {
        let end = jiff::Timestamp::from_second(now.as_second() + grace).unwrap_or(now);
        meta.insert("deletionTimestamp".into(), object::timestamp(end).into());
        meta.insert("deletionGracePeriodSeconds".into(), grace.into());
    }
    if &*resource.kind == "CustomResourceDefinition" && !terminating {
        object::add_finalizer(&mut object, CLEANUP);
    }
    if &*resource.shard == "/namespaces" {
        object::map_mut(&mut object, &["status"]).insert("phase".into(), "Terminating".into());
    }
    object
}

/// Only pods on a node get time to end.
fn grace(resource: &Resource, old: &Value, options: &DeleteOptions) -> i64 {
    let done = matches!(object::text(old, &["status", "phase"]), "Succeeded" | "Failed");
    if &*resource.shard != "/pods" || object::text(old, &["spec", "nodeName"]).is_empty() || done {
        return 0;
    }
    let own = object::int(old, &["spec", "terminationGracePeriodSeconds"]).unwrap_or(30);
    // An hour of grace is more than anybody waits; it also keeps times in range.
    options.grace.unwrap_or(own).clamp(0, 24 * 3600)
}

/// Whether an object whose deletion was asked for is held back by nothing any more.
pub fn finished(resource: &Resource, object: &Value) -> bool {
    let namespace_done =
        &*resource.shard != "/namespaces" || object::list(object, &["spec", "finalizers"]).is_empty();
    object::terminating(object)
        && object::finalizers(object).next().is_none()
        && object::int(object, &["metadata", "deletionGracePeriodSeconds"]).unwrap_or_default() == 0
        && namespace_done
}

/// Deletes the objects that a request selects.
pub async fn collection(call: &Call, request: &Request, options: &DeleteOptions) -> Result<Reply> {
    let selection = Selection::of(call.resource(), &request.query, &call.namespace)?;
    let resource = call.served.resource.clone();
    let (entries, revision) = call.context.store.list(&resource.shard, selection.namespace.as_deref(), None);
    let mut deleted = Vec::new();
    for (key, _) in entries.into_iter().filter(|(key, entry)| selection.matches(key, entry)) {
        let mut one_call = Call::internal(&call.context, call.served.clone(), &key.namespace);
        one_call.options = call.options.clone();
        one_call.user = call.user.clone();
        match one(&mut one_call, &key.name, options).await {
            Ok((object, _)) => deleted.push(super::render::served(&call.served, object)),
            Err(error) if error.code == StatusCode::NOT_FOUND => {}
            Err(error) => return Err(error),
        }
    }
    let list = json!({
        "kind": &*resource.list_kind, "apiVersion": &*call.served.version().api_version,
        "metadata": {"resourceVersion": revision.to_string()}, "items": deleted,
    });
    Ok(reply::json(StatusCode::OK, &list))
}
