//! The status that `kubectl rollout status` and `kubectl get deployments` read.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentStatus, ReplicaSet};

use super::condition;
use super::rolling::Bounds;
use crate::pods::nonzero;

/// The status that tells what there is, and when it changes by time alone.
pub(super) fn status(
    deployment: &Deployment,
    owned: &[Arc<ReplicaSet>],
    current: Option<&ReplicaSet>,
    now: Timestamp,
) -> (DeploymentStatus, Option<Duration>) {
    let old = deployment.status.clone().unwrap_or_default();
    let sum = |count: fn(&ReplicaSet) -> i32| owned.iter().map(|set| count(set)).sum::<i32>();
    let replicas = sum(actual);
    let available = sum(|set| set.status.as_ref().and_then(|status| status.available_replicas).unwrap_or(0));
    let ready = sum(|set| set.status.as_ref().and_then(|status| status.ready_replicas).unwrap_or(0));
    let asked = sum(super::plan::replicas);
    let mut new = DeploymentStatus {
        observed_generation: deployment.metadata.generation,
        replicas: nonzero(replicas),
        updated_replicas: nonzero(current.map_or(0, actual)),
        ready_replicas: nonzero(ready),
        available_replicas: nonzero(available),
        unavailable_replicas: nonzero((asked - available).max(0)),
        terminating_replicas: None,
        collision_count: old.collision_count,
        conditions: old.conditions.clone(),
    };
    let bounds = Bounds::of(deployment);
    let mut conditions = new.conditions.take().unwrap_or_default();
    condition::available(&mut conditions, available >= bounds.fewest(), now);
    let again = condition::progressing(&mut conditions, deployment, current, (&old, &new), now);
    condition::failure(&mut conditions, owned, now);
    new.conditions = Some(conditions);
    (new, again)
}

fn actual(set: &ReplicaSet) -> i32 {
    set.status.as_ref().map_or(0, |status| status.replicas)
}
