//! A Deployment's conditions: Available, Progressing and ReplicaFailure.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::{Deployment, DeploymentCondition, DeploymentStatus, ReplicaSet};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;

/// Seconds without progress after which a rollout counts as stuck, where the Deployment does not say.
const DEADLINE: i32 = 600;

/// Sets a condition; its times change only with what it says.
fn set(
    list: &mut Vec<DeploymentCondition>,
    kind: &str,
    status: &str,
    reason: &str,
    message: String,
    now: Timestamp,
) {
    let old = list.iter().position(|condition| condition.type_ == kind).map(|at| list.remove(at));
    let same_status = old.as_ref().is_some_and(|old| old.status == status);
    if let Some(old) = &old
        && same_status
        && old.reason.as_deref() == Some(reason)
        && old.message.as_deref() == Some(&message)
    {
        list.push(old.clone());
        return;
    }
    let since = old.filter(|_| same_status).and_then(|old| old.last_transition_time);
    list.push(DeploymentCondition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message),
        last_transition_time: Some(since.unwrap_or(Time(now))),
        last_update_time: Some(Time(now)),
    });
}

pub(super) fn available(list: &mut Vec<DeploymentCondition>, enough: bool, now: Timestamp) {
    let (reason, message) = if enough {
        ("MinimumReplicasAvailable", "Deployment has minimum availability.")
    } else {
        ("MinimumReplicasUnavailable", "Deployment does not have minimum availability.")
    };
    set(list, "Available", if enough { "True" } else { "False" }, reason, message.to_owned(), now);
}

/// Tells whether the rollout is done, under way or stuck; returns when it would count as stuck.
pub(super) fn progressing(
    list: &mut Vec<DeploymentCondition>,
    deployment: &Deployment,
    current: Option<&ReplicaSet>,
    (old, new): (&DeploymentStatus, &DeploymentStatus),
    now: Timestamp,
) -> Option<Duration> {
    let spec = deployment.spec.as_ref()?;
    let name = current.map_or_else(|| deployment.name_any(), ResourceExt::name_any);
    let what = if current.is_some() { "ReplicaSet" } else { "Deployment" };
    if spec.paused.unwrap_or(false) {
        // Kubernetes says Unknown here: the rollout neither moves nor is it stuck.
        set(list, "Progressing", "Unknown", "DeploymentPaused", "Deployment is paused".to_owned(), now);
        return None;
    }
    let wanted = spec.replicas.unwrap_or(1);
    let count = |value: Option<i32>| value.unwrap_or(0);
    let complete = count(new.updated_replicas) == wanted
        && count(new.replicas) == wanted
        && count(new.available_replicas) == wanted;
    if complete && current.is_some() {
        let message = format!("{what} \"{name}\" has successfully progressed.");
        set(list, "Progressing", "True", "NewReplicaSetAvailable", message, now);
        return None;
    }
    let fewer_old = |status: &DeploymentStatus| count(status.replicas) - count(status.updated_replicas);
    let moved = count(new.updated_replicas) > count(old.updated_replicas)
        || fewer_old(new) < fewer_old(old)
        || count(new.ready_replicas) > count(old.ready_replicas)
        || count(new.available_replicas) > count(old.available_replicas);
    let last = list.iter().find(|condition| condition.type_ == "Progressing").cloned();
    let fresh = last.as_ref().is_none_or(|last| {
        last.reason.as_deref() == Some("NewReplicaSetAvailable") || last.status == "Unknown"
    });
    if moved || fresh {
        // Progress starts the deadline anew even if the words stay the same.
        list.retain(|condition| condition.type_ != "Progressing");
        let message = format!("{what} \"{name}\" is progressing.");
        set(list, "Progressing", "True", "ReplicaSetUpdated", message, now);
        if let (Some(condition), Some(last)) = (list.last_mut(), last.filter(|last| last.status == "True")) {
            condition.last_transition_time = last.last_transition_time;
        }
        return deadline(deployment, Some(now), now);
    }
    let since = last.as_ref().and_then(|last| last.last_update_time.as_ref()).map(|time| time.0);
    let left = deadline(deployment, since, now);
    if left.is_none() && last.is_some_and(|last| last.status == "True") {
        let message = format!("{what} \"{name}\" has timed out progressing.");
        set(list, "Progressing", "False", "ProgressDeadlineExceeded", message, now);
    }
    left
}

fn deadline(deployment: &Deployment, since: Option<Timestamp>, now: Timestamp) -> Option<Duration> {
    let seconds =
        deployment.spec.as_ref().and_then(|spec| spec.progress_deadline_seconds).unwrap_or(DEADLINE);
    if seconds == i32::MAX {
        // Kubernetes' way to say "no deadline".
        return Some(Duration::from_secs(u64::from(u32::MAX)));
    }
    let left = SignedDuration::from_secs(i64::from(seconds)) - now.duration_since(since?);
    Duration::try_from(left).ok().filter(|left| !left.is_zero())
}

/// Hands a ReplicaSet's failure to create pods on to the Deployment.
pub(super) fn failure(list: &mut Vec<DeploymentCondition>, owned: &[Arc<ReplicaSet>], now: Timestamp) {
    let failed = owned.iter().find_map(|replica_set| {
        let conditions = replica_set.status.as_ref()?.conditions.as_ref()?;
        conditions
            .iter()
            .find(|condition| condition.type_ == "ReplicaFailure" && condition.status == "True")
            .cloned()
    });
    match failed {
        Some(failed) => {
            let reason = failed.reason.unwrap_or_default();
            set(list, "ReplicaFailure", "True", &reason, failed.message.unwrap_or_default(), now);
        }
        None => list.retain(|condition| condition.type_ != "ReplicaFailure"),
    }
}
