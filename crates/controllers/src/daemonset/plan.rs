//! What a DaemonSet has to do, worked out from what there is.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{DaemonSet, DaemonSetStatus};
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt;

use crate::deployment::scaled;
use crate::ownership::{self, Claim};
use crate::pods::{self, nonzero};
use crate::template_hash;

/// Label of a pod and of a revision that holds the hash of the template.
pub(super) const REVISION: &str = "controller-revision-hash";

#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) adopt: Vec<Arc<Pod>>,
    pub(super) release: Vec<Arc<Pod>>,
    pub(super) create: Vec<Pod>,
    pub(super) delete: Vec<Arc<Pod>>,
}

fn fits(set: &DaemonSet, node: &Node) -> bool {
    let selector = set.spec.as_ref().and_then(|spec| spec.template.spec.as_ref()?.node_selector.as_ref());
    selector.into_iter().flatten().all(|(key, value)| node.labels().get(key) == Some(value))
}

fn node_of(pod: &Pod) -> &str {
    pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or_default()
}

/// The hash of the present template.
pub(super) fn revision(set: &DaemonSet) -> String {
    set.spec.as_ref().map(|spec| template_hash::of(&spec.template, 0)).unwrap_or_default()
}

/// The pods to adopt, release, create and delete.
pub(super) fn plan(set: &DaemonSet, pods: &[Arc<Pod>], nodes: &[Arc<Node>], now: Timestamp) -> Plan {
    let mut plan = Plan::default();
    let Some(spec) = &set.spec else { return plan };
    let selector = ownership::selector(&spec.selector);
    let mut by_node: BTreeMap<&str, Vec<&Arc<Pod>>> = BTreeMap::new();
    for pod in pods {
        match ownership::claim(&set.metadata, selector.as_ref(), &pod.metadata) {
            Claim::Mine => by_node.entry(node_of(pod)).or_default().push(pod),
            Claim::Adopt => {
                plan.adopt.push(Arc::clone(pod));
                by_node.entry(node_of(pod)).or_default().push(pod);
            }
            Claim::Release => plan.release.push(Arc::clone(pod)),
            Claim::Foreign => {}
        }
    }
    let wanted: Vec<_> = nodes.iter().filter(|node| fits(set, node)).map(|node| node.name_any()).collect();
    for node in &wanted {
        match by_node.remove(node.as_str()) {
            None => plan.create.push(pod(set, node)),
            Some(mut there) => {
                plan.delete
                    .extend(there.iter().filter(|pod| pods::is_finished(pod)).map(|pod| Arc::clone(pod)));
                there.retain(|pod| pods::is_active(pod));
                // The oldest of several stays.
                there.sort_by_key(|pod| pod.metadata.creation_timestamp.as_ref().map(|time| time.0));
                plan.delete.extend(there.into_iter().skip(1).cloned());
            }
        }
    }
    plan.delete.extend(by_node.into_values().flatten().filter(|pod| !pods::is_terminating(pod)).cloned());
    if plan.create.is_empty() && plan.delete.is_empty() {
        update(set, pods, wanted.len(), now, &mut plan);
    }
    plan
}

fn pod(set: &DaemonSet, node: &str) -> Pod {
    let template = set.spec.as_ref().map(|spec| spec.template.clone()).unwrap_or_default();
    let name = format!("{}-", set.name_any());
    let namespace = set.namespace().unwrap_or_default();
    let mut pod = pods::from_template(&template, &namespace, &name, ownership::controller_reference(set));
    pod.metadata.labels.get_or_insert_default().insert(REVISION.to_owned(), revision(set));
    pod.spec.get_or_insert_default().node_name = Some(node.to_owned());
    pod
}

/// Deletes pods of an old template, as many as may be missing at a time.
fn update(set: &DaemonSet, pods: &[Arc<Pod>], wanted: usize, now: Timestamp, plan: &mut Plan) {
    let Some(spec) = &set.spec else { return };
    let strategy = spec.update_strategy.as_ref();
    if strategy.and_then(|strategy| strategy.type_.as_deref()) == Some("OnDelete") {
        return;
    }
    let most = strategy.and_then(|strategy| strategy.rolling_update.as_ref()?.max_unavailable.clone());
    let wanted = i32::try_from(wanted).unwrap_or(i32::MAX);
    let most = scaled(&most.unwrap_or(IntOrString::Int(1)), wanted, true).max(1);
    let uid = set.metadata.uid.as_deref();
    let seconds = spec.min_ready_seconds.unwrap_or(0);
    let mine: Vec<_> = pods.iter().filter(|pod| ownership::is_controlled_by(&pod.metadata, uid)).collect();
    let works = |pod: &Pod| pods::is_active(pod) && pods::availability(pod, seconds, now).is_ok();
    let available = mine.iter().filter(|pod| works(pod)).count();
    let mut spare = most - (wanted - i32::try_from(available).unwrap_or(i32::MAX));
    let revision = revision(set);
    let old = mine.iter().filter(|pod| pods::is_active(pod) && pod.labels().get(REVISION) != Some(&revision));
    for pod in old {
        // One that does not work is not missed.
        if works(pod) {
            if spare <= 0 {
                continue;
            }
            spare -= 1;
        }
        plan.delete.push(Arc::clone(pod));
    }
}

/// The status that tells what there is, and when it changes by time alone.
pub(super) fn status(
    set: &DaemonSet,
    pods: &[Arc<Pod>],
    nodes: &[Arc<Node>],
    now: Timestamp,
) -> (DaemonSetStatus, Option<Duration>) {
    let uid = set.metadata.uid.as_deref();
    let seconds = set.spec.as_ref().and_then(|spec| spec.min_ready_seconds).unwrap_or(0);
    let revision = revision(set);
    let wanted: Vec<_> = nodes.iter().filter(|node| fits(set, node)).map(|node| node.name_any()).collect();
    let mut status = DaemonSetStatus {
        desired_number_scheduled: i32::try_from(wanted.len()).unwrap_or(i32::MAX),
        observed_generation: set.metadata.generation,
        ..DaemonSetStatus::default()
    };
    let (mut available, mut updated) = (0, 0);
    let mut again: Option<Duration> = None;
    for pod in
        pods.iter().filter(|pod| ownership::is_controlled_by(&pod.metadata, uid) && pods::is_active(pod))
    {
        if !wanted.iter().any(|node| node == node_of(pod)) {
            status.number_misscheduled += 1;
            continue;
        }
        status.current_number_scheduled += 1;
        status.number_ready += i32::from(pods::is_ready(pod));
        updated += i32::from(pod.labels().get(REVISION) == Some(&revision));
        match pods::availability(pod, seconds, now) {
            Ok(()) => available += 1,
            Err(left) => {
                again =
                    [again, left.and_then(|left| Duration::try_from(left).ok())].into_iter().flatten().min();
            }
        }
    }
    status.updated_number_scheduled = nonzero(updated);
    status.number_available = nonzero(available);
    status.number_unavailable = nonzero(status.desired_number_scheduled - available);
    (status, again)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn set(image: &str) -> DaemonSet {
        serde_json::from_value(json!({
            "metadata": { "name": "agent", "namespace": "default", "uid": "ds" },
            "spec": {
                "selector": { "matchLabels": { "app": "agent" } },
                "template": {
                    "metadata": { "labels": { "app": "agent" } },
                    "spec": { "nodeSelector": { "disk": "fast" }, "containers": [{ "name": "a", "image": image }] },
                },
            },
        }))
        .unwrap()
    }

    fn node(name: &str, disk: &str) -> Arc<Node> {
        Arc::new(
            serde_json::from_value(json!({ "metadata": { "name": name, "labels": { "disk": disk } } }))
                .unwrap(),
        )
    }

    fn running(set: &DaemonSet, node: &str) -> Arc<Pod> {
        let mut pod = pod(set, node);
        pod.metadata.name = Some(format!("agent-{node}"));
        pod.status = serde_json::from_value(
            json!({ "phase": "Running", "conditions": [{ "type": "Ready", "status": "True" }] }),
        )
        .unwrap();
        Arc::new(pod)
    }

    #[test]
    fn each_node_that_fits_gets_one_pod_and_others_lose_theirs() {
        let set = set("a:1");
        let nodes = [node("n1", "fast"), node("n2", "slow"), node("n3", "fast")];
        let plan = plan(&set, &[running(&set, "n1"), running(&set, "n2")], &nodes, Timestamp::now());
        let created: Vec<_> = plan.create.iter().map(node_of).collect();
        assert_eq!(created, ["n3"]);
        assert_eq!(plan.delete.iter().map(|pod| node_of(pod)).collect::<Vec<_>>(), ["n2"]);
    }

    #[test]
    fn an_update_takes_one_pod_at_a_time() {
        let nodes = [node("n1", "fast"), node("n2", "fast")];
        let (old, new) = (set("a:1"), set("a:2"));
        let pods = [running(&old, "n1"), running(&old, "n2")];
        assert_eq!(plan(&new, &pods, &nodes, Timestamp::now()).delete.len(), 1);
        let (status, _) = status(&new, &pods, &nodes, Timestamp::now());
        assert_eq!(
            (status.desired_number_scheduled, status.number_ready, status.updated_number_scheduled),
            (2, 2, None)
        );
    }
}
