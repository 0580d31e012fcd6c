//! When and how a Job ends.

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{Job, JobCondition, JobStatus};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::pods;

/// Whether a condition of this kind holds.
pub(super) fn holds(status: &JobStatus, kind: &str) -> bool {
    let conditions = status.conditions.iter().flatten();
    conditions.into_iter().any(|condition| condition.type_ == kind && condition.status == "True")
}

/// When the Job ended, and whether well.
pub(crate) fn finished_at(job: &Job) -> Option<(bool, Option<Timestamp>)> {
    let status = job.status.as_ref()?;
    let ended = status.conditions.iter().flatten().find(|condition| {
        matches!(condition.type_.as_str(), "Complete" | "Failed") && condition.status == "True"
    })?;
    Some((ended.type_ == "Complete", ended.last_transition_time.as_ref().map(|time| time.0)))
}

/// Sets a condition; its time changes only with its status.
pub(super) fn set(
    status: &mut JobStatus,
    kind: &str,
    value: bool,
    reason: &str,
    message: &str,
    now: Timestamp,
) {
    let value = if value { "True" } else { "False" };
    let conditions = status.conditions.get_or_insert_default();
    if let Some(old) = conditions.iter().find(|condition| condition.type_ == kind)
        && old.status == value
    {
        return;
    }
    conditions.retain(|condition| condition.type_ != kind);
    conditions.push(JobCondition {
        type_: kind.to_owned(),
        status: value.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        last_probe_time: Some(Time(now)),
        last_transition_time: Some(Time(now)),
    });
}

/// When the last container of a pod ended, as far as is known.
pub(super) fn ended(pod: &Pod) -> Option<Timestamp> {
    let statuses = pod.status.as_ref()?.container_statuses.as_ref()?;
    let times =
        statuses.iter().filter_map(|status| status.state.as_ref()?.terminated.as_ref()?.finished_at.as_ref());
    times.map(|time| time.0).max()
}

/// Restarts inside pods count as failures too where pods restart themselves.
pub(super) fn restarts(pods: &[&Pod]) -> i32 {
    let statuses = |pod: &Pod| pod.status.as_ref().and_then(|status| status.container_statuses.clone());
    let unfinished = pods.iter().filter(|pod| !pods::is_finished(pod));
    unfinished.flat_map(|pod| statuses(pod).unwrap_or_default()).map(|status| status.restart_count).sum()
}
