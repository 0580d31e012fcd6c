//! What a CronJob has to do now, worked out from what there is.

use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::{CronJob, CronJobSpec, CronJobStatus, Job};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::{Resource, ResourceExt};

use super::schedule::Schedule;
use crate::job::finished_at;
use crate::ownership;

const ZONES: &str = "/usr/share/zoneinfo";
/// Missed times that are looked through; more means that the clock jumped.
const MOST_MISSED: usize = 100;

#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) create: Option<Job>,
    pub(super) delete: Vec<Arc<Job>>,
    pub(super) status: CronJobStatus,
    pub(super) again: Option<Duration>,
}

/// The next step; the error says what is wrong with the schedule.
pub(super) fn plan(cron: &CronJob, jobs: &[Arc<Job>], now: Timestamp) -> Result<Plan, String> {
    let Some(spec) = &cron.spec else { return Ok(Plan::default()) };
    let schedule = Schedule::parse(&spec.schedule)?;
    let zone = zone(spec.time_zone.as_deref())?;
    let uid = cron.metadata.uid.as_deref();
    let mine: Vec<_> =
        jobs.iter().filter(|job| ownership::is_controlled_by(&job.metadata, uid)).cloned().collect();
    let (ended, active): (Vec<_>, Vec<_>) = mine.into_iter().partition(|job| finished_at(job).is_some());
    let mut plan = Plan { status: cron.status.clone().unwrap_or_default(), ..Plan::default() };
    plan.delete = surplus(spec, &ended);
    let success = ended
        .iter()
        .filter_map(|job| finished_at(job))
        .filter(|(well, _)| *well)
        .filter_map(|(_, at)| at)
        .max();
    if let Some(success) = success {
        plan.status.last_successful_time = Some(Time(success));
    }
    let mut running: Vec<_> = active.iter().map(|job| job.object_ref(&())).collect();
    if !spec.suspend.unwrap_or(false) {
        let next = schedule.next(now, &zone);
        plan.again = next.and_then(|next| Duration::try_from(next.duration_since(now)).ok());
        if let Some(due) = due(cron, spec, &schedule, &zone, now) {
            let policy = spec.concurrency_policy.as_deref().unwrap_or("Allow");
            if policy == "Replace" {
                plan.delete.extend(active.iter().cloned());
                running.clear();
            }
            if policy != "Forbid" || active.is_empty() {
                plan.create = Some(job(cron, spec, due));
                plan.status.last_schedule_time = Some(Time(due));
            }
        }
    }
    plan.status.active = (!running.is_empty()).then_some(running);
    Ok(plan)
}

/// The last time that has come and has no Job yet.
fn due(
    cron: &CronJob,
    spec: &CronJobSpec,
    schedule: &Schedule,
    zone: &TimeZone,
    now: Timestamp,
) -> Option<Timestamp> {
    let last = cron.status.as_ref().and_then(|status| status.last_schedule_time.as_ref());
    let mut from = last.or(cron.metadata.creation_timestamp.as_ref()).map_or(now, |time| time.0);
    if let Some(seconds) = spec.starting_deadline_seconds {
        from = from.max(now.checked_sub(SignedDuration::from_secs(seconds)).ok()?);
    }
    let mut due = None;
    for _ in 0..MOST_MISSED {
        match schedule.next(from, zone).filter(|next| *next <= now) {
            Some(next) => (due, from) = (Some(next), next),
            None => break,
        }
    }
    due
}

fn job(cron: &CronJob, spec: &CronJobSpec, due: Timestamp) -> Job {
    let metadata = spec.job_template.metadata.clone().unwrap_or_default();
    let mut annotations = metadata.annotations.unwrap_or_default();
    annotations.insert("batch.kubernetes.io/cronjob-scheduled-timestamp".to_owned(), due.to_string());
    Job {
        metadata: ObjectMeta {
            // One name a minute: a second controller could not start the same Job again.
            name: Some(format!("{}-{}", cron.name_any(), due.as_second() / 60)),
            namespace: cron.namespace(),
            labels: metadata.labels,
            annotations: Some(annotations),
            owner_references: Some(vec![ownership::controller_reference(cron)]),
            ..ObjectMeta::default()
        },
        spec: spec.job_template.spec.clone(),
        status: None,
    }
}

/// Ended Jobs beyond those that are kept, oldest first.
fn surplus(spec: &CronJobSpec, ended: &[Arc<Job>]) -> Vec<Arc<Job>> {
    let limits = [
        (true, spec.successful_jobs_history_limit.unwrap_or(3)),
        (false, spec.failed_jobs_history_limit.unwrap_or(1)),
    ];
    let mut surplus = Vec::new();
    for (well, limit) in limits {
        let mut jobs: Vec<_> = ended
            .iter()
            .filter(|job| finished_at(job).is_some_and(|(good, _)| good == well))
            .cloned()
            .collect();
        jobs.sort_by_key(|job| job.metadata.creation_timestamp.as_ref().map(|time| time.0));
        let keep = usize::try_from(limit).unwrap_or(0);
        jobs.truncate(jobs.len().saturating_sub(keep));
        surplus.extend(jobs);
    }
    surplus
}

fn zone(name: Option<&str>) -> Result<TimeZone, String> {
    let Some(name) = name.filter(|name| !name.is_empty() && *name != "UTC" && *name != "Etc/UTC") else {
        return Ok(TimeZone::UTC);
    };
    let unknown = || format!("time zone {name:?} is not known on this machine");
    if name.starts_with('/') || name.split('/').any(|part| part == "..") {
        return Err(unknown());
    }
    let data = std::fs::read(std::path::Path::new(ZONES).join(name)).map_err(|_| unknown())?;
    TimeZone::tzif(name, &data).map_err(|_| unknown())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn cron(extra: Value) -> CronJob {
        let mut cron = json!({
            "metadata": { "name": "tick", "namespace": "default", "uid": "c", "creationTimestamp": "2024-01-01T00:00:30Z" },
            "spec": { "schedule": "* * * * *", "jobTemplate": { "spec": { "template": {} } } },
        });
        for (key, value) in extra.as_object().unwrap() {
            cron["spec"][key] = value.clone();
        }
        serde_json::from_value(cron).unwrap()
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn running(name: &str, ended: Option<&str>) -> Arc<Job> {
        let conditions = ended.map(
            |kind| json!([{ "type": kind, "status": "True", "lastTransitionTime": "2024-01-01T00:00:00Z" }]),
        );
        Arc::new(
            serde_json::from_value(json!({
                "metadata": { "name": name, "ownerReferences": [
                    { "apiVersion": "batch/v1", "kind": "CronJob", "name": "tick", "uid": "c", "controller": true },
                ] },
                "status": { "conditions": conditions },
            }))
            .unwrap(),
        )
    }

    #[test]
    fn the_job_of_the_last_due_time_is_made_once() {
        let mut cron = cron(json!({}));
        assert!(plan(&cron, &[], at("2024-01-01T00:00:59Z")).unwrap().create.is_none());
        let due = plan(&cron, &[], at("2024-01-01T00:03:10Z")).unwrap();
        assert_eq!(
            due.create.unwrap().name_any(),
            format!("tick-{}", at("2024-01-01T00:03:00Z").as_second() / 60)
        );
        assert_eq!(due.again, Some(Duration::from_secs(50)));
        cron.status = Some(due.status);
        assert!(plan(&cron, &[], at("2024-01-01T00:03:20Z")).unwrap().create.is_none());
    }

    #[test]
    fn the_policy_decides_about_jobs_that_still_run() {
        let now = at("2024-01-01T00:01:01Z");
        let jobs = [running("tick-1", None)];
        let step = |policy: &str| plan(&cron(json!({ "concurrencyPolicy": policy })), &jobs, now).unwrap();
        assert!(step("Allow").create.is_some());
        assert!(step("Forbid").create.is_none());
        let replace = step("Replace");
        assert_eq!((replace.create.is_some(), replace.delete.len(), replace.status.active), (true, 1, None));
    }

    #[test]
    fn suspended_and_overdue_schedules_start_nothing() {
        let now = at("2024-01-01T00:01:40Z");
        assert!(plan(&cron(json!({ "suspend": true })), &[], now).unwrap().create.is_none());
        assert!(plan(&cron(json!({ "startingDeadlineSeconds": 30 })), &[], now).unwrap().create.is_none());
        assert!(plan(&cron(json!({ "startingDeadlineSeconds": 50 })), &[], now).unwrap().create.is_some());
    }

    #[test]
    fn old_jobs_are_forgotten_by_kind() {
        let names = ["a", "b", "c", "d"];
        let mut jobs: Vec<_> = names.iter().map(|name| running(name, Some("Complete"))).collect();
        jobs.extend([running("x", Some("Failed")), running("y", Some("Failed"))]);
        let gone = plan(&cron(json!({})), &jobs, at("2024-01-01T00:00:31Z")).unwrap().delete;
        assert_eq!(gone.iter().map(|job| job.name_any()).collect::<Vec<_>>(), ["a", "x"]);
    }

    #[test]
    fn unknown_zones_and_schedules_are_refused() {
        let now = at("2024-01-01T00:01:00Z");
        for bad in [
            json!({ "timeZone": "../../etc/passwd" }),
            json!({ "timeZone": "Mars/Base" }),
            json!({ "schedule": "x" }),
        ] {
            assert!(plan(&cron(bad), &[], now).is_err());
        }
    }
}
