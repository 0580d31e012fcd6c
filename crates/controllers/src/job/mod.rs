//! Jobs: run pods until enough of them have succeeded.

mod finish;
mod plan;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use kube::ResourceExt;

use crate::context::Context;
use crate::events::Severity;
use crate::store::Key;

pub(crate) use finish::finished_at;

const COMPONENT: &str = "job-controller";

/// Brings one Job a step further.
pub(crate) async fn reconcile(context: Arc<Context>, key: Key) -> kube::Result<Option<Duration>> {
    let Some(job) = context.stores.jobs.get(&key) else {
        return Ok(None);
    };
    if job.metadata.deletion_timestamp.is_some() {
        return Ok(None);
    }
    let now = Timestamp::now();
    let pods = context.stores.pods.in_namespace(&key.namespace);
    let plan = plan::plan(&job, &pods, now);
    if plan.expired {
        context.delete(&context.stores.jobs, &*job).await?;
        return Ok(None);
    }
    for pod in &plan.delete {
        context.delete(&context.stores.pods, &**pod).await?;
        let message = format!("Deleted pod: {}", pod.name_any());
        context.recorder.note(COMPONENT, &*job, Severity::Normal, "SuccessfulDelete", message);
    }
    for pod in &plan.create {
        match context.create(&context.stores.pods, pod).await {
            Ok(pod) => {
                let message = format!("Created pod: {}", pod.name_any());
                context.recorder.note(COMPONENT, &*job, Severity::Normal, "SuccessfulCreate", message);
            }
            Err(error) => {
                let message = format!("Error creating: {error}");
                context.recorder.note(COMPONENT, &*job, Severity::Warning, "FailedCreate", message);
                return Err(error);
            }
        }
    }
    if job.status.as_ref() != Some(&plan.status) {
        if let Some((severity, reason, message)) = plan.outcome {
            context.recorder.note(COMPONENT, &*job, severity, reason, message);
        }
        let mut updated = Job::clone(&job);
        updated.status = Some(plan.status);
        context.replace_status(&context.stores.jobs, &updated).await?;
    }
    Ok(plan.again)
}
