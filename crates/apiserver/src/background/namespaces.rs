//! Deletion of namespaces: their content goes first.

use std::sync::Arc;

use serde_json::json;

use super::{bootstrap, change, remove};
use crate::context::Context;
use crate::object;
use crate::store::Key;

/// Deletes what a namespace holds; the namespace itself when that is all gone.
pub async fn empty(context: &Arc<Context>, name: &str) {
    for shard in context.store.populated(name) {
        for (key, entry) in context.store.list(&shard, Some(name), None).0 {
            if !entry.terminating {
                remove(context, &shard, &key, &entry.uid, Some("Background")).await;
            }
        }
    }
    finish(context, name).await;
}

async fn finish(context: &Arc<Context>, name: &str) {
    if !context.store.populated(name).is_empty() {
        return;
    }
    let key = Key::new("", name);
    change(context, "/namespaces", &key, |namespace| {
        // Only this server's own finalizer: others may have theirs.
        let spec = object::map_mut(namespace, &["spec"]);
        let others = spec.get("finalizers").and_then(|f| f.as_array()).cloned().unwrap_or_default();
        let others: Vec<_> = others.into_iter().filter(|f| f.as_str() != Some("kubernetes")).collect();
        spec.insert("finalizers".into(), json!(others));
    })
    .await;
}

/// Something in a namespace is gone: the namespace may go, or what every namespace has must come back.
pub async fn content_gone(context: &Arc<Context>, shard: &str, key: &Key) {
    let Some(entry) = context.store.get("/namespaces", &Key::new("", &key.namespace)) else { return };
    if entry.terminating {
        finish(context, &key.namespace).await;
    } else if matches!(
        (shard, &*key.name),
        ("/serviceaccounts", "default") | ("/configmaps", "kube-root-ca.crt")
    ) {
        bootstrap::furnish(context, &key.namespace).await;
    }
}
