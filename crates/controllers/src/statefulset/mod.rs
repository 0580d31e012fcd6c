//! StatefulSets: pods with names that last, made and updated in order.

mod identity;
mod plan;
mod status;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::api::PostParams;
use kube::{Api, ResourceExt};

use crate::context::Context;
use crate::events::Severity;
use crate::replicaset;
use crate::revisions::{self, History};
use crate::store::Key;

const COMPONENT: &str = "statefulset-controller";

/// Brings one StatefulSet a step further; each pod that becomes ready leads to the next step.
pub(crate) async fn reconcile(context: Arc<Context>, key: Key) -> kube::Result<Option<Duration>> {
    let Some(set) = context.stores.stateful_sets.get(&key) else {
        return Ok(None);
    };
    if set.metadata.deletion_timestamp.is_some() {
        return Ok(None);
    }
    if let Some(spec) = &set.spec {
        let hash = identity::hash(&set);
        let history = History {
            template: &spec.template,
            hash: &hash,
            hash_label: identity::HASH,
            labels: spec.template.metadata.as_ref().and_then(|m| m.labels.clone()).unwrap_or_default(),
            limit: spec.revision_history_limit,
        };
        revisions::record(&context, &*set, &history).await?;
    }
    let pods = context.stores.pods.in_namespace(&key.namespace);
    let plan = plan::plan(&set, &pods, Timestamp::now());
    for pod in &plan.adopt {
        replicaset::adopt(&context, &*set, pod).await?;
    }
    for pod in &plan.release {
        replicaset::release(&context, &*set, pod).await?;
    }
    for pod in &plan.delete {
        context.delete(&context.stores.pods, &**pod).await?;
        note(&context, &set, "SuccessfulDelete", &format!("delete Pod {} in StatefulSet", pod.name_any()));
    }
    for pod in &plan.create {
        for claim in identity::claims(&set, pod) {
            create_claim(&context, &claim).await?;
        }
        if let Err(error) = context.create(&context.stores.pods, pod).await {
            let message = format!(
                "create Pod {} in StatefulSet {} failed error: {error}",
                pod.name_any(),
                set.name_any()
            );
            context.recorder.note(COMPONENT, &*set, Severity::Warning, "FailedCreate", message);
            return Err(error);
        }
        note(&context, &set, "SuccessfulCreate", &format!("create Pod {} in StatefulSet", pod.name_any()));
    }
    update_status(&context, &key).await?;
    Ok(plan.again)
}

/// Makes a claim that is not there yet.
async fn create_claim(context: &Context, claim: &PersistentVolumeClaim) -> kube::Result<()> {
    let namespace = claim.namespace().unwrap_or_default();
    let api: Api<PersistentVolumeClaim> = Api::namespaced(context.client.clone(), &namespace);
    match api.create(&PostParams::default(), claim).await {
        // It is there already, or the API knows no claims: the node needs but the name.
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
        result => result.map(drop),
    }
}

fn note(context: &Context, set: &StatefulSet, reason: &'static str, what: &str) {
    let message = format!("{what} {} successful", set.name_any());
    context.recorder.note(COMPONENT, set, Severity::Normal, reason, message);
}

async fn update_status(context: &Context, key: &Key) -> kube::Result<()> {
    let Some(set) = context.stores.stateful_sets.get(key) else {
        return Ok(());
    };
    let pods = context.stores.pods.in_namespace(&key.namespace);
    let status = status::status(&set, &pods, Timestamp::now());
    if set.status.as_ref() != Some(&status) {
        let mut updated = StatefulSet::clone(&set);
        updated.status = Some(status);
        context.replace_status(&context.stores.stateful_sets, &updated).await?;
    }
    Ok(())
}
