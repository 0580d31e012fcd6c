//! DaemonSets: one pod on every node that fits.

mod plan;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::DaemonSet;
use kube::ResourceExt;

use crate::context::Context;
use crate::events::Severity;
use crate::replicaset;
use crate::revisions::{self, History};
use crate::store::Key;

const COMPONENT: &str = "daemonset-controller";

/// Brings one DaemonSet to what it asks for.
pub(crate) async fn reconcile(context: Arc<Context>, key: Key) -> kube::Result<Option<Duration>> {
    let Some(set) = context.stores.daemon_sets.get(&key) else {
        return Ok(None);
    };
    if set.metadata.deletion_timestamp.is_some() {
        return Ok(None);
    }
    if let Some(spec) = &set.spec {
        let hash = plan::revision(&set);
        let history = History {
            template: &spec.template,
            hash: &hash,
            hash_label: plan::REVISION,
            labels: spec.selector.match_labels.clone().unwrap_or_default(),
            limit: spec.revision_history_limit,
        };
        revisions::record(&context, &*set, &history).await?;
    }
    let nodes = context.stores.nodes.all();
    let plan = plan::plan(&set, &context.stores.pods.in_namespace(&key.namespace), &nodes, Timestamp::now());
    for pod in &plan.adopt {
        replicaset::adopt(&context, &*set, pod).await?;
    }
    for pod in &plan.release {
        replicaset::release(&context, &*set, pod).await?;
    }
    for pod in &plan.delete {
        context.delete(&context.stores.pods, &**pod).await?;
        let message = format!("Deleted pod: {}", pod.name_any());
        context.recorder.note(COMPONENT, &*set, Severity::Normal, "SuccessfulDelete", message);
    }
    for pod in &plan.create {
        match context.create(&context.stores.pods, pod).await {
            Ok(pod) => {
                let message = format!("Created pod: {}", pod.name_any());
                context.recorder.note(COMPONENT, &*set, Severity::Normal, "SuccessfulCreate", message);
            }
            Err(error) => {
                let message = format!("Error creating: {error}");
                context.recorder.note(COMPONENT, &*set, Severity::Warning, "FailedCreate", message);
                return Err(error);
            }
        }
    }
    let Some(set) = context.stores.daemon_sets.get(&key) else {
        return Ok(None);
    };
    let pods = context.stores.pods.in_namespace(&key.namespace);
    let (status, again) = plan::status(&set, &pods, &nodes, Timestamp::now());
    if set.status.as_ref() != Some(&status) {
        let mut updated = DaemonSet::clone(&set);
        updated.status = Some(status);
        context.replace_status(&context.stores.daemon_sets, &updated).await?;
    }
    Ok(again)
}
