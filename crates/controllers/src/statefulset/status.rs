//! A StatefulSet's status.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{StatefulSet, StatefulSetStatus};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;

use super::identity;
use crate::ownership;
use crate::pods::{self, nonzero};

pub(super) fn status(set: &StatefulSet, pods: &[Arc<Pod>], now: Timestamp) -> StatefulSetStatus {
    let uid = set.metadata.uid.as_deref();
    let update = identity::revision(set);
    let old = set.status.as_ref();
    let current = old.and_then(|old| old.current_revision.clone()).unwrap_or_else(|| update.clone());
    let seconds = set.spec.as_ref().and_then(|spec| spec.min_ready_seconds).unwrap_or(0);
    let mut status = StatefulSetStatus::default();
    let (mut ready, mut available, mut currents, mut updated) = (0, 0, 0, 0);
    let mine =
        pods.iter().filter(|pod| ownership::is_controlled_by(&pod.metadata, uid) && !pods::is_finished(pod));
    for pod in mine {
        status.replicas += 1;
        if pods::is_terminating(pod) {
            continue;
        }
        ready += i32::from(pods::is_ready(pod));
        available += i32::from(pods::availability(pod, seconds, now).is_ok());
        let revision = pod.labels().get(identity::REVISION);
        currents += i32::from(revision == Some(&current));
        updated += i32::from(revision == Some(&update));
    }
    let wanted = set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    let done = updated == wanted && status.replicas == wanted && ready == wanted;
    status.current_revision = Some(if done { update.clone() } else { current });
    status.current_replicas = nonzero(if done { updated } else { currents });
    status.update_revision = Some(update);
    status.updated_replicas = nonzero(updated);
    status.ready_replicas = nonzero(ready);
    status.available_replicas = nonzero(available);
    status.observed_generation = set.metadata.generation;
    status.collision_count = Some(old.and_then(|old| old.collision_count).unwrap_or(0));
    status
}
