//! What a ReplicaSet has to do, worked out from what there is.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetCondition, ReplicaSetStatus};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::ownership::{self, Claim};
use crate::pods::{self, nonzero};

#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) adopt: Vec<Arc<Pod>>,
    pub(super) release: Vec<Arc<Pod>>,
    pub(super) create: usize,
    pub(super) delete: Vec<Arc<Pod>>,
}

/// The pods to adopt, release, create and delete.
pub(super) fn plan(set: &ReplicaSet, pods: &[Arc<Pod>]) -> Plan {
    let mut plan = Plan::default();
    let Some(spec) = &set.spec else { return plan };
    let selector = ownership::selector(&spec.selector);
    let mut mine = Vec::new();
    for pod in pods.iter().filter(|pod| !pods::is_finished(pod)) {
        match ownership::claim(&set.metadata, selector.as_ref(), &pod.metadata) {
            Claim::Mine => mine.push(Arc::clone(pod)),
            Claim::Adopt => {
                plan.adopt.push(Arc::clone(pod));
                mine.push(Arc::clone(pod));
            }
            Claim::Release => plan.release.push(Arc::clone(pod)),
            Claim::Foreign => {}
        }
    }
    mine.retain(|pod| pods::is_active(pod));
    let wanted = usize::try_from(spec.replicas.unwrap_or(1)).unwrap_or(0);
    if mine.len() > wanted {
        mine.sort_by(|a, b| pods::deletion_order(a, b));
        mine.truncate(mine.len() - wanted);
        plan.delete = mine;
    } else {
        plan.create = wanted - mine.len();
    }
    plan
}

/// The status that tells what there is, and when it changes by time alone.
pub(super) fn status(
    set: &ReplicaSet,
    pods: &[Arc<Pod>],
    failure: Option<String>,
    now: Timestamp,
) -> (ReplicaSetStatus, Option<Duration>) {
    let uid = set.metadata.uid.as_deref();
    let spec = set.spec.as_ref();
    let seconds = spec.and_then(|spec| spec.min_ready_seconds).unwrap_or(0);
    let labels = spec.and_then(|spec| spec.template.as_ref()?.metadata.as_ref()?.labels.as_ref());
    let (mut replicas, mut labelled, mut ready, mut available) = (0, 0, 0, 0);
    let mut again: Option<Duration> = None;
    let mine =
        pods.iter().filter(|pod| ownership::is_controlled_by(&pod.metadata, uid) && pods::is_active(pod));
    for pod in mine {
        replicas += 1;
        let own = pod.metadata.labels.as_ref();
        let full =
            labels.into_iter().flatten().all(|(key, value)| own.and_then(|own| own.get(key)) == Some(value));
        labelled += i32::from(full);
        ready += i32::from(pods::is_ready(pod));
        match pods::availability(pod, seconds, now) {
            Ok(()) => available += 1,
            Err(left) => {
                let left = left.and_then(|left| Duration::try_from(left).ok());
                again = [again, left].into_iter().flatten().min();
            }
        }
    }
    let status = ReplicaSetStatus {
        replicas,
        fully_labeled_replicas: nonzero(labelled),
        ready_replicas: nonzero(ready),
        available_replicas: nonzero(available),
        terminating_replicas: None,
        observed_generation: set.metadata.generation,
        conditions: conditions(set, failure, now),
    };
    (status, again)
}

fn conditions(set: &ReplicaSet, failure: Option<String>, now: Timestamp) -> Option<Vec<ReplicaSetCondition>> {
    let old = set.status.as_ref().and_then(|status| status.conditions.clone());
    let Some(message) = failure else {
        let rest: Vec<_> = old?.into_iter().filter(|condition| condition.type_ != "ReplicaFailure").collect();
        return (!rest.is_empty()).then_some(rest);
    };
    let mut conditions = old.unwrap_or_default();
    let same = |condition: &ReplicaSetCondition| {
        condition.type_ == "ReplicaFailure" && condition.message.as_deref() == Some(message.as_str())
    };
    if !conditions.iter().any(same) {
        conditions.retain(|condition| condition.type_ != "ReplicaFailure");
        conditions.push(ReplicaSetCondition {
            type_: "ReplicaFailure".into(),
            status: "True".into(),
            reason: Some("FailedCreate".into()),
            message: Some(message),
            last_transition_time: Some(Time(now)),
        });
    }
    Some(conditions)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn set(replicas: i32, extra: Value) -> ReplicaSet {
        let mut set = json!({
            "metadata": { "name": "web", "namespace": "default", "uid": "rs", "generation": 3 },
            "spec": {
                "replicas": replicas, "selector": { "matchLabels": { "app": "web" } },
                "template": { "metadata": { "labels": { "app": "web" } } },
            },
        });
        for (key, value) in extra.as_object().unwrap() {
            set["spec"][key] = value.clone();
        }
        serde_json::from_value(set).unwrap()
    }

    fn pod(name: &str, owned: bool, status: Value) -> Arc<Pod> {
        let owners = owned.then(|| json!([{ "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "rs", "controller": true }]));
        Arc::new(
            serde_json::from_value(json!({
                "metadata": { "name": name, "labels": { "app": "web" }, "ownerReferences": owners },
                "spec": { "nodeName": "n", "containers": [] },
                "status": status,
            }))
            .unwrap(),
        )
    }

    fn running(ready: bool, since: &str) -> Value {
        let ready = if ready { "True" } else { "False" };
        json!({ "phase": "Running", "conditions": [{ "type": "Ready", "status": ready, "lastTransitionTime": since }] })
    }

    const LONG_AGO: &str = "2020-01-01T00:00:00Z";

    #[test]
    fn missing_pods_are_created_and_finished_ones_do_not_count() {
        let pods = [pod("a", true, running(true, LONG_AGO)), pod("b", true, json!({ "phase": "Failed" }))];
        assert_eq!(plan(&set(3, json!({})), &pods).create, 2);
    }

    #[test]
    fn surplus_pods_go_unready_first() {
        let pods = [pod("a", true, running(true, LONG_AGO)), pod("b", true, running(false, LONG_AGO))];
        let plan = plan(&set(1, json!({})), &pods);
        assert_eq!((plan.create, plan.delete[0].metadata.name.as_deref()), (0, Some("b")));
    }

    #[test]
    fn orphans_are_adopted_and_count() {
        let plan = plan(&set(1, json!({})), &[pod("a", false, running(true, LONG_AGO))]);
        assert_eq!((plan.adopt.len(), plan.create, plan.delete.len()), (1, 0, 0));
    }

    #[test]
    fn a_pod_that_lost_its_label_is_released_and_replaced() {
        let mut stray = Pod::clone(&pod("a", true, running(true, LONG_AGO)));
        stray.metadata.labels = None;
        let plan = plan(&set(1, json!({})), &[Arc::new(stray)]);
        assert_eq!((plan.release.len(), plan.create), (1, 1));
    }

    #[test]
    fn a_ready_pod_becomes_available_after_its_time() {
        let now: Timestamp = "2024-01-01T00:00:10Z".parse().unwrap();
        let pods = [pod("a", true, running(true, "2024-01-01T00:00:05Z"))];
        let (early, again) = status(&set(1, json!({ "minReadySeconds": 30 })), &pods, None, now);
        assert_eq!((early.ready_replicas, early.available_replicas), (Some(1), None));
        assert_eq!(again, Some(Duration::from_secs(25)));
        let later = now + Duration::from_secs(25);
        let (late, again) = status(&set(1, json!({ "minReadySeconds": 30 })), &pods, None, later);
        assert_eq!((late.available_replicas, again, late.observed_generation), (Some(1), None, Some(3)));
    }

    #[test]
    fn a_failure_to_create_is_a_condition_until_it_ends() {
        let mut set = set(1, json!({}));
        let (failed, _) = status(&set, &[], Some("quota".into()), Timestamp::now());
        assert_eq!(failed.conditions.as_ref().unwrap()[0].type_, "ReplicaFailure");
        set.status = Some(failed.clone());
        let (again, _) = status(&set, &[], Some("quota".into()), Timestamp::now());
        assert_eq!(again, failed, "an unchanged failure causes no write");
        assert_eq!(status(&set, &[], None, Timestamp::now()).0.conditions, None);
    }
}
