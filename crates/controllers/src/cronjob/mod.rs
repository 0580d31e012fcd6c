//! CronJobs: Jobs by the clock.

mod plan;
mod schedule;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::CronJob;
use kube::ResourceExt;

use crate::context::Context;
use crate::events::Severity;
use crate::store::Key;

const COMPONENT: &str = "cronjob-controller";

/// Starts the Job that is due, forgets old ones, and says when the next is due.
pub(crate) async fn reconcile(context: Arc<Context>, key: Key) -> kube::Result<Option<Duration>> {
    let Some(cron) = context.stores.cron_jobs.get(&key) else {
        return Ok(None);
    };
    if cron.metadata.deletion_timestamp.is_some() {
        return Ok(None);
    }
    let plan = match plan::plan(&cron, &context.stores.jobs.in_namespace(&key.namespace), Timestamp::now()) {
        Ok(plan) => plan,
        Err(problem) => {
            // Nothing helps but another schedule, and that leads here again.
            context.recorder.note(COMPONENT, &*cron, Severity::Warning, "UnparseableSchedule", problem);
            return Ok(None);
        }
    };
    for job in &plan.delete {
        context.delete(&context.stores.jobs, &**job).await?;
        let message = format!("Deleted job {}", job.name_any());
        context.recorder.note(COMPONENT, &*cron, Severity::Normal, "SuccessfulDelete", message);
    }
    if let Some(job) = &plan.create {
        match context.create(&context.stores.jobs, job).await {
            Ok(job) => {
                let message = format!("Created job {}", job.name_any());
                context.recorder.note(COMPONENT, &*cron, Severity::Normal, "SuccessfulCreate", message);
            }
            // The Job of this minute is there already: only the status was not written.
            Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" => {}
            Err(error) => return Err(error),
        }
    }
    if cron.status.as_ref() != Some(&plan.status) {
        let mut updated = CronJob::clone(&cron);
        updated.status = Some(plan.status);
        context.replace_status(&context.stores.cron_jobs, &updated).await?;
    }
    Ok(plan.again)
}
