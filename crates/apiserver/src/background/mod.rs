//! What the server does unasked: the objects that every cluster has, garbage collection, namespace deletion, expiry
//! of events.

mod bootstrap;
mod collect;
mod namespaces;

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::task::JoinSet;

pub use bootstrap::{bootstrap, furnish};

use crate::admission::quota;
use crate::context::Context;
use crate::object;
use crate::store::{EventKind, Key, Notice};
use crate::verbs::Call;
use crate::verbs::delete::{self, DeleteOptions};

/// Events live this long, as in Kubernetes.
const EVENT_SECONDS: i64 = 3600;
const EVENT_SWEEP: Duration = Duration::from_secs(60);

/// Starts the tasks.
pub fn start(context: &Arc<Context>, tasks: &mut JoinSet<()>) {
    let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
    context.store.report_to(sender);
    tasks.spawn(follow(context.clone(), receiver));
    tasks.spawn(expire_events(context.clone()));
}

async fn follow(context: Arc<Context>, mut notices: tokio::sync::mpsc::UnboundedReceiver<Notice>) {
    resume(&context).await;
    loop {
        let notice = tokio::select! {
            () = context.stop.cancelled() => return,
            notice = notices.recv() => notice,
        };
        let Some(notice) = notice else { return };
        handle(&context, &notice).await;
    }
}

/// Takes up what a restart interrupted.
async fn resume(context: &Arc<Context>) {
    for resource in context.catalog.snapshot().resources() {
        for (key, entry) in context.store.list(&resource.shard, None, None).0 {
            if entry.terminating {
                terminating(context, &resource.shard, &key).await;
            } else if entry.owners.iter().any(|uid| context.store.by_uid(uid).is_none()) {
                collect::dependent(context, &resource.shard, &key).await;
            }
        }
    }
}

async fn handle(context: &Arc<Context>, notice: &Notice) {
    let (shard, event) = (&*notice.shard, &notice.event);
    let counts = event.kind != EventKind::Modified || shard == "/resourcequotas";
    if counts && !event.key.namespace.is_empty() && shard != "/events" {
        quota::refresh(context, &event.key.namespace).await;
    }
    match event.kind {
        EventKind::Deleted => {
            collect::owner_gone(context, &event.entry).await;
            if !event.key.namespace.is_empty() {
                namespaces::content_gone(context, shard, &event.key).await;
            }
            collect::instance_gone(context, shard).await;
        }
        EventKind::Added | EventKind::Modified if event.entry.terminating => {
            terminating(context, shard, &event.key).await;
        }
        EventKind::Added if event.entry.owners.iter().any(|uid| context.store.by_uid(uid).is_none()) => {
            collect::dependent(context, shard, &event.key).await;
        }
        EventKind::Added | EventKind::Modified => {}
    }
}

async fn terminating(context: &Arc<Context>, shard: &str, key: &Key) {
    match shard {
        "/namespaces" => namespaces::empty(context, &key.name).await,
        "apiextensions.k8s.io/customresourcedefinitions" => collect::definition(context, &key.name).await,
        _ => {}
    }
    collect::terminating(context, shard, key).await;
}

/// Deletes an object if it is still the one with this uid; what has gone meanwhile is no error.
async fn remove(context: &Arc<Context>, shard: &str, key: &Key, uid: &str, propagation: Option<&str>) {
    let Some(resource) = context.catalog.snapshot().by_shard(shard) else { return };
    let index = resource.storage;
    let mut call = Call::internal(context, crate::registry::Served { resource, index }, &key.namespace);
    let options = DeleteOptions {
        uid: Some(uid.to_owned()),
        propagation: propagation.map(str::to_owned),
        ..DeleteOptions::default()
    };
    if let Err(error) = delete::one(&mut call, &key.name, &options).await
        && error.code != http::StatusCode::NOT_FOUND
    {
        tracing::warn!(shard, name = &*key.name, error = error.message, "cannot delete");
    }
}

/// Changes an object by the server itself.
pub async fn change(context: &Arc<Context>, shard: &str, key: &Key, mut edit: impl FnMut(&mut Value)) {
    let Some(resource) = context.catalog.snapshot().by_shard(shard) else { return };
    let index = resource.storage;
    let mut call = Call::internal(context, crate::registry::Served { resource, index }, &key.namespace);
    let result = crate::verbs::update(&mut call, &key.name, crate::verbs::Part::Whole, |old| {
        let mut object = old.clone();
        edit(&mut object);
        object::remove(&mut object, &["metadata", "resourceVersion"]);
        Ok(crate::verbs::Changed { object, tracked: true })
    });
    if let Err(error) = result.await
        && error.code != http::StatusCode::NOT_FOUND
    {
        tracing::warn!(shard, name = &*key.name, error = error.message, "cannot update");
    }
}

async fn expire_events(context: Arc<Context>) {
    loop {
        tokio::select! {
            () = context.stop.cancelled() => return,
            () = tokio::time::sleep(EVENT_SWEEP) => {}
        }
        let now = jiff::Timestamp::now().as_second();
        for event in context.all("/events") {
            let times = ["lastTimestamp", "eventTime"].map(|field| object::text(&event, &[field]));
            let created = object::meta(&event, "creationTimestamp");
            let last = times.into_iter().chain([created]).find_map(|t| t.parse::<jiff::Timestamp>().ok());
            if last.is_some_and(|t| now - t.as_second() > EVENT_SECONDS) {
                let key = crate::context::key_of(&event);
                remove(&context, "/events", &key, object::meta(&event, "uid"), None).await;
            }
        }
    }
}
