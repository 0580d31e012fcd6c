//! Deployments: roll from one ReplicaSet to the next.

mod condition;
mod plan;
mod revision;
mod rolling;

mod status;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use kube::ResourceExt;
use serde_json::json;

use crate::context::Context;
use crate::events::Severity;
use crate::ownership;
use crate::store::Key;

pub(crate) use rolling::scaled;

const COMPONENT: &str = "deployment-controller";

/// Brings one Deployment a step further; what its ReplicaSets then do leads to the next step.
pub(crate) async fn reconcile(context: Arc<Context>, key: Key) -> kube::Result<Option<Duration>> {
    let Some(deployment) = context.stores.deployments.get(&key) else {
        return Ok(None);
    };
    let sets = context.stores.replica_sets.in_namespace(&key.namespace);
    let pods = context.stores.pods.in_namespace(&key.namespace);
    let plan = plan::plan(&deployment, &sets, &pods);
    for set in &plan.adopt {
        if !context.may_adopt(&*deployment).await? {
            return Ok(None);
        }
        let mut owners = set.metadata.owner_references.clone().unwrap_or_default();
        owners.push(ownership::controller_reference(&*deployment));
        let patch = json!({ "metadata": { "uid": set.metadata.uid, "ownerReferences": owners } });
        context.merge(&context.stores.replica_sets, &**set, patch).await?;
    }
    for set in &plan.delete {
        context.delete(&context.stores.replica_sets, &**set).await?;
    }
    if let Some(set) = &plan.create {
        create(&context, &deployment, set).await?;
    }
    for (set, before) in &plan.update {
        update(&context, &deployment, set, *before).await?;
    }
    update_status(&context, &key).await
}

async fn create(context: &Context, deployment: &Deployment, set: &ReplicaSet) -> kube::Result<()> {
    match context.create(&context.stores.replica_sets, set).await {
        Ok(created) => {
            let replicas = plan::replicas(&created);
            if replicas > 0 {
                note_scaling(context, deployment, &created, 0, replicas);
            }
            Ok(())
        }
        Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" => {
            // Another template with the same hash: count the collision, which changes the name at the next try.
            let mut counted = deployment.clone();
            let status = counted.status.get_or_insert_default();
            status.collision_count = Some(status.collision_count.unwrap_or(0) + 1);
            context.replace_status(&context.stores.deployments, &counted).await
        }
        Err(error) => {
            let message = format!("Failed to create new replica set {:?}: {error}", set.name_any());
            context.recorder.note(COMPONENT, deployment, Severity::Warning, "ReplicaSetCreateError", message);
            Err(error)
        }
    }
}

async fn update(
    context: &Context,
    deployment: &Deployment,
    set: &ReplicaSet,
    before: i32,
) -> kube::Result<()> {
    let updated = context.replace(&context.stores.replica_sets, set).await?;
    let after = plan::replicas(&updated);
    if after != before {
        note_scaling(context, deployment, &updated, before, after);
    }
    Ok(())
}

fn note_scaling(context: &Context, deployment: &Deployment, set: &ReplicaSet, before: i32, after: i32) {
    let direction = if after > before { "up" } else { "down" };
    let message = format!("Scaled {direction} replica set {} from {before} to {after}", set.name_any());
    context.recorder.note(COMPONENT, deployment, Severity::Normal, "ScalingReplicaSet", message);
}

async fn update_status(context: &Context, key: &Key) -> kube::Result<Option<Duration>> {
    let Some(deployment) = context.stores.deployments.get(key) else {
        return Ok(None);
    };
    let sets = context.stores.replica_sets.in_namespace(&key.namespace);
    let owned = plan::owned(&deployment, &sets);
    let current = plan::current(&deployment, &owned);
    let mut updated = Deployment::clone(&deployment);
    if let Some(number) = current.as_deref().and_then(revision::of)
        && revision::of(&*deployment) != Some(number)
    {
        // It goes along with the status, as in Kubernetes.
        let annotations = updated.metadata.annotations.get_or_insert_default();
        annotations.insert(revision::ANNOTATION.to_owned(), number.to_string());
    }
    let (status, again) = status::status(&updated, &owned, current.as_deref(), Timestamp::now());
    if updated.status.as_ref() != Some(&status) || updated.metadata != deployment.metadata {
        updated.status = Some(status);
        context.replace_status(&context.stores.deployments, &updated).await?;
    }
    Ok(again)
}
