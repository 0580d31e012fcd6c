//! What a Job has to do in this step, worked out from what there is.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::{Job, JobSpec, JobStatus};
use k8s_openapi::api::core::v1::{EnvVar, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;

use super::finish;
use crate::events::Severity;
use crate::ownership;
use crate::pods::{self, nonzero};

const INDEX: &str = "batch.kubernetes.io/job-completion-index";
/// Failed pods after which a Job gives up, where it does not say.
const BACKOFF_LIMIT: i32 = 6;
/// First and longest wait after a failed pod.
const BACKOFF: (i64, i64) = (10, 360);

#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) create: Vec<Pod>,
    pub(super) delete: Vec<Arc<Pod>>,
    pub(super) status: JobStatus,
    /// What to tell when the status is written.
    pub(super) outcome: Option<(Severity, &'static str, String)>,
    /// The Job has ended and its time to live is over.
    pub(super) expired: bool,
    pub(super) again: Option<Duration>,
}

/// A Job's pods, counted.
struct Count<'a> {
    active: Vec<&'a Arc<Pod>>,
    succeeded: i32,
    failed: Vec<&'a Pod>,
    /// Indexes that have succeeded and those that are being worked on.
    done: BTreeSet<i32>,
    busy: BTreeSet<i32>,
}

fn index(pod: &Pod) -> Option<i32> {
    pod.annotations().get(INDEX)?.parse().ok()
}

impl<'a> Count<'a> {
    fn of(job: &Job, pods: &'a [Arc<Pod>], indexed: bool) -> Self {
        let uid = job.metadata.uid.as_deref();
        let mut count = Self {
            active: Vec::new(),
            succeeded: 0,
            failed: Vec::new(),
            done: BTreeSet::new(),
            busy: BTreeSet::new(),
        };
        for pod in pods.iter().filter(|pod| ownership::is_controlled_by(&pod.metadata, uid)) {
            match pods::phase(pod) {
                "Succeeded" => {
                    count.succeeded += 1;
                    count.done.extend(index(pod));
                }
                "Failed" => count.failed.push(pod),
                _ if pods::is_terminating(pod) => {}
                _ => {
                    count.busy.extend(index(pod));
                    count.active.push(pod);
                }
            }
        }
        if indexed {
            count.succeeded = i32::try_from(count.done.len()).unwrap_or(i32::MAX);
        }
        count
    }
}

/// The next step of a Job.
pub(super) fn plan(job: &Job, pods: &[Arc<Pod>], now: Timestamp) -> Plan {
    let Some(spec) = &job.spec else { return Plan::default() };
    if let Some((_, at)) = finish::finished_at(job) {
        return after_the_end(job, spec, at, now);
    }
    let indexed = spec.completion_mode.as_deref() == Some("Indexed");
    let count = Count::of(job, pods, indexed);
    let mut plan = Plan { status: job.status.clone().unwrap_or_default(), ..Plan::default() };
    let failed = i32::try_from(count.failed.len()).unwrap_or(i32::MAX);
    if spec.suspend.unwrap_or(false) {
        suspend(&count, &mut plan, now);
    } else {
        if finish::holds(&plan.status, "Suspended") {
            finish::set(&mut plan.status, "Suspended", false, "JobResumed", "Job resumed", now);
            plan.status.start_time = None;
        }
        plan.status.start_time.get_or_insert(Time(now));
        if let Some((reason, message)) = failure(spec, &count, &mut plan, now) {
            fail(&count, &mut plan, reason, message, now);
        } else if is_complete(spec, &count) {
            complete(&count, &mut plan, now);
        } else {
            work(job, spec, &count, &mut plan, now);
        }
    }
    let remaining = count.active.len() - plan.delete.len().min(count.active.len()) + plan.create.len();
    plan.status.active = nonzero(i32::try_from(remaining).unwrap_or(i32::MAX));
    plan.status.ready = Some(count.active.iter().filter(|pod| pods::is_ready(pod)).count() as i32);
    // Kubernetes writes out that none is ending, and that it has counted all.
    plan.status.terminating.get_or_insert(0);
    plan.status.uncounted_terminated_pods.get_or_insert_default();
    plan.status.succeeded = nonzero(count.succeeded);
    plan.status.failed = nonzero(failed);
    if indexed {
        plan.status.completed_indexes = Some(ranges(&count.done)).filter(|text| !text.is_empty());
    }
    plan
}

fn after_the_end(job: &Job, spec: &JobSpec, at: Option<Timestamp>, now: Timestamp) -> Plan {
    let mut plan = Plan { status: job.status.clone().unwrap_or_default(), ..Plan::default() };
    if let (Some(seconds), Some(at)) = (spec.ttl_seconds_after_finished, at) {
        let left = SignedDuration::from_secs(i64::from(seconds)) - now.duration_since(at);
        plan.expired = left <= SignedDuration::ZERO;
        plan.again = Duration::try_from(left).ok();
    }
    plan
}

fn suspend(count: &Count<'_>, plan: &mut Plan, now: Timestamp) {
    plan.delete = count.active.iter().map(|pod| Arc::clone(pod)).collect();
    if !finish::holds(&plan.status, "Suspended") {
        finish::set(&mut plan.status, "Suspended", true, "JobSuspended", "Job suspended", now);
        plan.outcome = Some((Severity::Normal, "Suspended", "Job suspended".to_owned()));
    }
}

/// Why the Job has to give up, if it has.
fn failure(
    spec: &JobSpec,
    count: &Count<'_>,
    plan: &mut Plan,
    now: Timestamp,
) -> Option<(&'static str, &'static str)> {
    if let (Some(seconds), Some(start)) = (spec.active_deadline_seconds, plan.status.start_time.as_ref()) {
        let left = SignedDuration::from_secs(seconds) - now.duration_since(start.0);
        match Duration::try_from(left) {
            Ok(left) if !left.is_zero() => plan.again = Some(left),
            _ => return Some(("DeadlineExceeded", "Job was active longer than specified deadline")),
        }
    }
    let limit = spec.backoff_limit.unwrap_or(BACKOFF_LIMIT);
    let failed = i32::try_from(count.failed.len()).unwrap_or(i32::MAX);
    let on_failure =
        spec.template.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref()) == Some("OnFailure");
    let pods: Vec<&Pod> = count.active.iter().map(|pod| &***pod).collect();
    let restarts = if on_failure { finish::restarts(&pods) } else { 0 };
    let exceeded = failed > limit || (on_failure && restarts > 0 && restarts >= limit);
    exceeded.then_some(("BackoffLimitExceeded", "Job has reached the specified backoff limit"))
}

fn fail(count: &Count<'_>, plan: &mut Plan, reason: &'static str, message: &str, now: Timestamp) {
    plan.delete = count.active.iter().map(|pod| Arc::clone(pod)).collect();
    finish::set(&mut plan.status, "FailureTarget", true, reason, message, now);
    finish::set(&mut plan.status, "Failed", true, reason, message, now);
    plan.outcome = Some((Severity::Warning, reason, message.to_owned()));
    plan.again = Some(Duration::ZERO);
}

fn is_complete(spec: &JobSpec, count: &Count<'_>) -> bool {
    match spec.completions {
        Some(wanted) => count.succeeded >= wanted,
        None => count.succeeded > 0 && count.active.is_empty(),
    }
}

fn complete(count: &Count<'_>, plan: &mut Plan, now: Timestamp) {
    plan.delete = count.active.iter().map(|pod| Arc::clone(pod)).collect();
    plan.status.completion_time = Some(Time(now));
    let (reason, message) = ("CompletionsReached", "Reached expected number of succeeded pods");
    finish::set(&mut plan.status, "SuccessCriteriaMet", true, reason, message, now);
    finish::set(&mut plan.status, "Complete", true, reason, message, now);
    plan.outcome = Some((Severity::Normal, "Completed", "Job completed".to_owned()));
    plan.again = Some(Duration::ZERO);
}

/// Starts pods that are missing, unless a failure asks for patience; stops those that are too many.
fn work(job: &Job, spec: &JobSpec, count: &Count<'_>, plan: &mut Plan, now: Timestamp) {
    let parallel = spec.parallelism.unwrap_or(1).max(0);
    let wanted = match spec.completions {
        Some(completions) => parallel.min(completions - count.succeeded),
        // A work queue: the first success says that there is no more to do.
        None if count.succeeded > 0 => return,
        None => parallel,
    };
    let wanted = usize::try_from(wanted).unwrap_or(0);
    if count.active.len() > wanted {
        let mut surplus: Vec<_> = count.active.iter().map(|pod| Arc::clone(pod)).collect();
        surplus.sort_by(|a, b| pods::deletion_order(a, b));
        surplus.truncate(count.active.len() - wanted);
        plan.delete = surplus;
        return;
    }
    let missing = wanted - count.active.len();
    if missing == 0 {
        return;
    }
    if let Some(left) = backoff(count, now) {
        plan.again = Some(plan.again.map_or(left, |again| again.min(left)));
        return;
    }
    if spec.completion_mode.as_deref() == Some("Indexed") {
        let free =
            (0..spec.completions.unwrap_or(0)).filter(|i| !count.done.contains(i) && !count.busy.contains(i));
        plan.create = free.take(missing).map(|index| pod(job, spec, Some(index))).collect();
    } else {
        plan.create = (0..missing).map(|_| pod(job, spec, None)).collect();
    }
}

/// How long to wait after the last failure: 10 s, doubled with each.
fn backoff(count: &Count<'_>, now: Timestamp) -> Option<Duration> {
    let last = count.failed.iter().filter_map(|pod| finish::ended(pod)).max()?;
    let doublings = u32::try_from(count.failed.len().saturating_sub(1)).unwrap_or(u32::MAX).min(10);
    let wait = SignedDuration::from_secs((BACKOFF.0 << doublings).min(BACKOFF.1));
    Duration::try_from(wait - now.duration_since(last)).ok().filter(|left| !left.is_zero())
}

fn pod(job: &Job, spec: &JobSpec, index: Option<i32>) -> Pod {
    let namespace = job.namespace().unwrap_or_default();
    let name = match index {
        Some(index) => format!("{}-{index}-", job.name_any()),
        None => format!("{}-", job.name_any()),
    };
    let mut pod =
        pods::from_template(&spec.template, &namespace, &name, ownership::controller_reference(job));
    let labels = pod.metadata.labels.get_or_insert_default();
    let uid = job.metadata.uid.clone().unwrap_or_default();
    for prefix in ["", "batch.kubernetes.io/"] {
        labels.insert(format!("{prefix}job-name"), job.name_any());
        labels.insert(format!("{prefix}controller-uid"), uid.clone());
    }
    if let Some(index) = index {
        labels.insert(INDEX.to_owned(), index.to_string());
        pod.metadata.annotations.get_or_insert_default().insert(INDEX.to_owned(), index.to_string());
        let pod_spec = pod.spec.get_or_insert_default();
        pod_spec.hostname = Some(format!("{}-{index}", job.name_any()));
        for container in &mut pod_spec.containers {
            container.env.get_or_insert_default().push(EnvVar {
                name: "JOB_COMPLETION_INDEX".to_owned(),
                value: Some(index.to_string()),
                value_from: None,
            });
        }
    }
    pod
}

/// Indexes the way Kubernetes writes them: `0-2,5`.
fn ranges(indexes: &BTreeSet<i32>) -> String {
    let mut runs: Vec<(i32, i32)> = Vec::new();
    for &index in indexes {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == index => *last = index,
            _ => runs.push((index, index)),
        }
    }
    let text =
        |(first, last): (i32, i32)| if first == last { first.to_string() } else { format!("{first}-{last}") };
    runs.into_iter().map(text).collect::<Vec<_>>().join(",")
}
