//! ReplicaSets: keep as many pods of a template as asked for.

mod plan;

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use serde_json::json;

use crate::context::Context;
use crate::events::Severity;
use crate::ownership;
use crate::pods;
use crate::store::Key;

const COMPONENT: &str = "replicaset-controller";
/// Pods that are created or deleted at one time; a refused one stops the rest until the next try.
const AT_ONCE: usize = 8;

/// Brings one ReplicaSet to what it asks for.
pub(crate) async fn reconcile(context: Arc<Context>, key: Key) -> kube::Result<Option<Duration>> {
    let Some(set) = context.stores.replica_sets.get(&key) else {
        return Ok(None);
    };
    let plan = plan::plan(&set, &context.stores.pods.in_namespace(&key.namespace));
    for pod in &plan.adopt {
        adopt(&context, &*set, pod).await?;
    }
    for pod in &plan.release {
        release(&context, &*set, pod).await?;
    }
    let mut failure = None;
    if set.metadata.deletion_timestamp.is_none() {
        failure = create(&context, &set, plan.create).await.err();
        for pod in &plan.delete {
            delete(&context, &set, pod).await?;
        }
    }
    let again = update_status(&context, &key, failure.as_ref()).await?;
    failure.map_or(Ok(again), Err)
}

/// Other workloads own pods in the same way.
pub(crate) async fn adopt<K: crate::context::Written>(
    context: &Context,
    owner: &K,
    pod: &Pod,
) -> kube::Result<()> {
    if !context.may_adopt(owner).await? {
        return Ok(());
    }
    let mut owners = pod.metadata.owner_references.clone().unwrap_or_default();
    owners.push(ownership::controller_reference(owner));
    let patch = json!({ "metadata": { "uid": pod.metadata.uid, "ownerReferences": owners } });
    context.merge(&context.stores.pods, pod, patch).await
}

/// Lets a pod go that no longer matches its owner's selector.
pub(crate) async fn release<K: crate::context::Written>(
    context: &Context,
    owner: &K,
    pod: &Pod,
) -> kube::Result<()> {
    let mut owners = pod.metadata.owner_references.clone().unwrap_or_default();
    owners.retain(|reference| Some(&reference.uid) != owner.meta().uid.as_ref());
    let patch = json!({ "metadata": { "uid": pod.metadata.uid, "ownerReferences": owners } });
    context.merge(&context.stores.pods, pod, patch).await
}

async fn create(context: &Context, set: &ReplicaSet, count: usize) -> kube::Result<()> {
    let Some(template) = set.spec.as_ref().and_then(|spec| spec.template.as_ref()) else {
        return Ok(());
    };
    let namespace = set.namespace().unwrap_or_default();
    let name = format!("{}-", set.name_any());
    let pod = pods::from_template(template, &namespace, &name, ownership::controller_reference(set));
    let mut created =
        stream::iter(0..count).map(|_| context.create(&context.stores.pods, &pod)).buffer_unordered(AT_ONCE);
    while let Some(result) = created.next().await {
        match result {
            Ok(pod) => {
                let message = format!("Created pod: {}", pod.name_any());
                context.recorder.note(COMPONENT, set, Severity::Normal, "SuccessfulCreate", message);
            }
            Err(error) => {
                let message = format!("Error creating: {error}");
                context.recorder.note(COMPONENT, set, Severity::Warning, "FailedCreate", message);
                return Err(error);
            }
        }
    }
    Ok(())
}

async fn delete(context: &Context, set: &ReplicaSet, pod: &Pod) -> kube::Result<()> {
    context.delete(&context.stores.pods, pod).await?;
    let message = format!("Deleted pod: {}", pod.name_any());
    context.recorder.note(COMPONENT, set, Severity::Normal, "SuccessfulDelete", message);
    Ok(())
}

/// Writes what is there now; returns when to look again because a pod becomes available by time alone.
async fn update_status(
    context: &Context,
    key: &Key,
    failure: Option<&kube::Error>,
) -> kube::Result<Option<Duration>> {
    let Some(set) = context.stores.replica_sets.get(key) else {
        return Ok(None);
    };
    let pods = context.stores.pods.in_namespace(&key.namespace);
    let (status, again) = plan::status(&set, &pods, failure.map(ToString::to_string), Timestamp::now());
    if set.status.as_ref() != Some(&status) {
        let mut updated = ReplicaSet::clone(&set);
        updated.status = Some(status);
        context.replace_status(&context.stores.replica_sets, &updated).await?;
    }
    Ok(again)
}
