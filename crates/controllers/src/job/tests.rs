use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use serde_json::{Value, json};

use super::finish;
use super::plan::plan;

fn now() -> Timestamp {
    "2024-01-01T00:01:00Z".parse().unwrap()
}

fn job(extra: Value) -> Job {
    let mut job = json!({
        "metadata": { "name": "sum", "namespace": "default", "uid": "j" },
        "spec": { "template": { "spec": { "restartPolicy": "Never", "containers": [{ "name": "c" }] } } },
    });
    for (key, value) in extra.as_object().unwrap() {
        job["spec"][key] = value.clone();
    }
    serde_json::from_value(job).unwrap()
}

fn pod(name: &str, phase: &str, index: Option<i32>) -> Arc<Pod> {
    let ended = json!([{ "name": "c", "image": "", "imageID": "", "ready": false, "restartCount": 0,
                         "state": { "terminated": { "exitCode": 1, "finishedAt": "2024-01-01T00:00:55Z" } } }]);
    let notes = index.map(|index| json!({ "batch.kubernetes.io/job-completion-index": index.to_string() }));
    Arc::new(
        serde_json::from_value(json!({
            "metadata": { "name": name, "annotations": notes, "ownerReferences": [
                { "apiVersion": "batch/v1", "kind": "Job", "name": "sum", "uid": "j", "controller": true },
            ] },
            "status": { "phase": phase, "containerStatuses": ended },
        }))
        .unwrap(),
    )
}

#[test]
fn as_many_pods_run_as_may_and_as_are_still_needed() {
    let job = job(json!({ "completions": 5, "parallelism": 3 }));
    assert_eq!(plan(&job, &[], now()).create.len(), 3);
    let done: Vec<_> = (0..4).map(|i| pod(&format!("p{i}"), "Succeeded", None)).collect();
    let last = plan(&job, &done, now());
    assert_eq!((last.create.len(), last.status.succeeded, last.status.active), (1, Some(4), Some(1)));
    assert_eq!(last.create[0].labels()["job-name"], "sum");
}

#[test]
fn a_job_completes_and_expires() {
    let mut job = job(json!({ "completions": 1, "ttlSecondsAfterFinished": 30 }));
    let end = plan(&job, &[pod("a", "Succeeded", None)], now());
    assert!(finish::holds(&end.status, "Complete") && end.status.completion_time.is_some());
    job.status = Some(end.status);
    let later = plan(&job, &[], now() + Duration::from_secs(10));
    assert_eq!((later.expired, later.again), (false, Some(Duration::from_secs(20))));
    assert!(plan(&job, &[], now() + Duration::from_secs(30)).expired);
}

#[test]
fn a_failed_pod_is_replaced_after_a_while() {
    let job = job(json!({ "completions": 1 }));
    let failed = [pod("a", "Failed", None)];
    let soon = plan(&job, &failed, now());
    assert_eq!((soon.create.len(), soon.again), (0, Some(Duration::from_secs(5))));
    assert_eq!(plan(&job, &failed, now() + Duration::from_secs(5)).create.len(), 1);
}

#[test]
fn too_many_failures_end_the_job() {
    let job = job(json!({ "completions": 1, "backoffLimit": 1 }));
    let pods = [pod("a", "Failed", None), pod("b", "Failed", None), pod("c", "Running", None)];
    let end = plan(&job, &pods, now());
    assert!(finish::holds(&end.status, "Failed"));
    assert_eq!(end.delete.len(), 1);
    assert_eq!((end.status.failed, end.status.active), (Some(2), None));
}

#[test]
fn the_deadline_ends_the_job() {
    let mut job = job(json!({ "activeDeadlineSeconds": 60 }));
    job.status = serde_json::from_value(json!({ "startTime": "2024-01-01T00:00:30Z" })).unwrap();
    assert_eq!(plan(&job, &[], now()).again, Some(Duration::from_secs(30)));
    let late = plan(&job, &[pod("a", "Running", None)], now() + Duration::from_secs(30));
    assert!(finish::holds(&late.status, "Failed"));
}

#[test]
fn suspension_stops_pods_and_resumption_starts_the_clock_anew() {
    let mut suspended = job(json!({ "suspend": true }));
    let stop = plan(&suspended, &[pod("a", "Running", None)], now());
    assert_eq!((stop.delete.len(), stop.create.len()), (1, 0));
    suspended.status = Some(stop.status);
    suspended.spec.as_mut().unwrap().suspend = None;
    let go = plan(&suspended, &[], now());
    assert!(!finish::holds(&go.status, "Suspended"));
    assert_eq!((go.create.len(), go.status.start_time.unwrap().0), (1, now()));
}

#[test]
fn indexed_jobs_give_each_pod_its_index() {
    let job = job(json!({ "completions": 4, "parallelism": 4, "completionMode": "Indexed" }));
    let pods = [pod("a", "Succeeded", Some(0)), pod("b", "Succeeded", Some(1)), pod("c", "Running", Some(3))];
    let step = plan(&job, &pods, now());
    assert_eq!(step.create.len(), 1);
    let env = &step.create[0].spec.as_ref().unwrap().containers[0].env.as_ref().unwrap()[0];
    assert_eq!((env.name.as_str(), env.value.as_deref()), ("JOB_COMPLETION_INDEX", Some("2")));
    assert_eq!(step.status.completed_indexes.as_deref(), Some("0-1"));
}

#[test]
fn an_unchanged_job_causes_no_writes() {
    let mut job = job(json!({ "completions": 2 }));
    let pods = [pod("a", "Running", None)];
    let first = plan(&job, &pods, now());
    job.status = Some(first.status.clone());
    assert_eq!(plan(&job, &pods, now() + Duration::from_secs(9)).status, first.status);
}
