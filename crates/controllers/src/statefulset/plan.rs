//! What a StatefulSet has to do in this step, worked out from what there is.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;

use super::identity;
use crate::ownership::{self, Claim};
use crate::pods;

#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) adopt: Vec<Arc<Pod>>,
    pub(super) release: Vec<Arc<Pod>>,
    pub(super) create: Vec<Pod>,
    pub(super) delete: Vec<Arc<Pod>>,
    /// When a pod becomes available by time alone.
    pub(super) again: Option<Duration>,
}

/// The next step: first the pods that are missing, from the lowest; then those that are too many, from the highest;
/// then those of an old template, from the highest. Unless told otherwise, one at a time, and only while all others work.
pub(super) fn plan(set: &StatefulSet, pods: &[Arc<Pod>], now: Timestamp) -> Plan {
    let mut plan = Plan::default();
    let Some(spec) = &set.spec else { return plan };
    let mine = claim(set, pods, &mut plan);
    let ordered = spec.pod_management_policy.as_deref() != Some("Parallel");
    let seconds = spec.min_ready_seconds.unwrap_or(0);
    let mut all_work = true;
    for ordinal in identity::ordinals(set) {
        let works = match mine.get(&ordinal) {
            None => {
                plan.create.extend(identity::pod(set, ordinal));
                false
            }
            Some(pod) if pods::is_finished(pod) && !pods::is_terminating(pod) => {
                plan.delete.push(Arc::clone(pod));
                false
            }
            Some(pod) if pods::is_terminating(pod) => false,
            Some(pod) => match pods::availability(pod, seconds, now) {
                Ok(()) => true,
                Err(left) => {
                    plan.again = left.and_then(|left| Duration::try_from(left).ok());
                    false
                }
            },
        };
        all_work &= works;
        if ordered && !works {
            break;
        }
    }
    if ordered && !all_work {
        replace_broken(set, &mine, &mut plan);
        return plan;
    }
    if scale_down(set, &mine, ordered, &mut plan) || !all_work {
        return plan;
    }
    update(set, &mine, &mut plan);
    plan
}

fn claim(set: &StatefulSet, pods: &[Arc<Pod>], plan: &mut Plan) -> BTreeMap<i32, Arc<Pod>> {
    let selector = set.spec.as_ref().and_then(|spec| ownership::selector(&spec.selector));
    let mut mine = BTreeMap::new();
    for pod in pods {
        let Some(ordinal) = identity::ordinal(set, pod) else { continue };
        match ownership::claim(&set.metadata, selector.as_ref(), &pod.metadata) {
            Claim::Mine => drop(mine.insert(ordinal, Arc::clone(pod))),
            Claim::Adopt => {
                plan.adopt.push(Arc::clone(pod));
                mine.insert(ordinal, Arc::clone(pod));
            }
            Claim::Release => plan.release.push(Arc::clone(pod)),
            Claim::Foreign => {}
        }
    }
    mine
}

/// Deletes pods beyond the wanted ordinals; whether there were any.
fn scale_down(set: &StatefulSet, mine: &BTreeMap<i32, Arc<Pod>>, ordered: bool, plan: &mut Plan) -> bool {
    let wanted = identity::ordinals(set);
    let surplus: Vec<_> =
        mine.iter().rev().filter(|(ordinal, _)| !wanted.contains(ordinal)).map(|(_, pod)| pod).collect();
    for pod in &surplus {
        if !pods::is_terminating(pod) {
            plan.delete.push(Arc::clone(pod));
        }
        if ordered {
            break;
        }
    }
    !surplus.is_empty()
}

fn updates_itself(set: &StatefulSet) -> Option<i32> {
    let strategy = set.spec.as_ref().and_then(|spec| spec.update_strategy.as_ref());
    if strategy.and_then(|strategy| strategy.type_.as_deref()) == Some("OnDelete") {
        return None;
    }
    Some(strategy.and_then(|strategy| strategy.rolling_update.as_ref()?.partition).unwrap_or(0))
}

fn is_old(pod: &Pod, revision: &str) -> bool {
    pod.labels().get(identity::REVISION).map(String::as_str) != Some(revision)
}

/// Deletes the highest pod of an old template; its successor is made of the new one.
fn update(set: &StatefulSet, mine: &BTreeMap<i32, Arc<Pod>>, plan: &mut Plan) {
    let Some(partition) = updates_itself(set) else { return };
    let revision = identity::revision(set);
    let old = mine.range(partition..).rev().find(|(_, pod)| is_old(pod, &revision));
    plan.delete.extend(old.map(|(_, pod)| Arc::clone(pod)));
}

/// A pod of an old template that does not work would hold up its own repair for ever: it goes at once.
fn replace_broken(set: &StatefulSet, mine: &BTreeMap<i32, Arc<Pod>>, plan: &mut Plan) {
    let Some(partition) = updates_itself(set) else { return };
    if !plan.create.is_empty() || !plan.delete.is_empty() {
        return;
    }
    let revision = identity::revision(set);
    let ending = mine.values().any(|pod| pods::is_terminating(pod));
    let broken = mine.range(partition..).find(|(_, pod)| !pods::is_ready(pod) && is_old(pod, &revision));
    if let Some((_, pod)) = broken.filter(|_| !ending) {
        plan.delete.push(Arc::clone(pod));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn set(replicas: i32, image: &str, extra: Value) -> StatefulSet {
        let mut set = json!({
            "metadata": { "name": "db", "namespace": "default", "uid": "s" },
            "spec": {
                "replicas": replicas, "serviceName": "db", "selector": { "matchLabels": { "app": "db" } },
                "template": { "metadata": { "labels": { "app": "db" } },
                              "spec": { "containers": [{ "name": "db", "image": image }] } },
                "volumeClaimTemplates": [{ "metadata": { "name": "data" } }],
            },
        });
        for (key, value) in extra.as_object().unwrap() {
            set["spec"][key] = value.clone();
        }
        serde_json::from_value(set).unwrap()
    }

    fn pod(set: &StatefulSet, ordinal: i32, ready: bool) -> Arc<Pod> {
        let mut pod = identity::pod(set, ordinal).unwrap();
        let ready = if ready { "True" } else { "False" };
        pod.status = serde_json::from_value(
            json!({ "phase": "Running", "conditions": [{ "type": "Ready", "status": ready }] }),
        )
        .unwrap();
        Arc::new(pod)
    }

    fn step(set: &StatefulSet, pods: &[Arc<Pod>]) -> (Vec<String>, Vec<String>) {
        let plan = plan(set, pods, Timestamp::now());
        let created = plan.create.iter().map(ResourceExt::name_any).collect();
        (created, plan.delete.iter().map(|pod| pod.name_any()).collect())
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn pods_come_one_after_the_other_when_the_one_before_is_ready() {
        let set = set(3, "db:1", json!({}));
        assert_eq!(step(&set, &[]), (names(&["db-0"]), vec![]));
        assert_eq!(step(&set, &[pod(&set, 0, false)]), (vec![], vec![]));
        assert_eq!(step(&set, &[pod(&set, 0, true)]), (names(&["db-1"]), vec![]));
    }

    #[test]
    fn parallel_sets_come_and_go_at_once() {
        let three = set(3, "db:1", json!({ "podManagementPolicy": "Parallel" }));
        assert_eq!(step(&three, &[]).0, names(&["db-0", "db-1", "db-2"]));
        let one = set(1, "db:1", json!({ "podManagementPolicy": "Parallel" }));
        let pods = [pod(&one, 0, true), pod(&one, 1, true), pod(&one, 2, true)];
        assert_eq!(step(&one, &pods).1, names(&["db-2", "db-1"]));
    }

    #[test]
    fn scaling_down_takes_the_highest_first() {
        let set = set(1, "db:1", json!({}));
        assert_eq!(
            step(&set, &[pod(&set, 0, true), pod(&set, 1, true), pod(&set, 2, true)]).1,
            names(&["db-2"])
        );
    }

    #[test]
    fn updates_go_from_the_highest_down_to_the_partition() {
        let (old, new) = (set(3, "db:1", json!({})), set(3, "db:2", json!({})));
        let pods = [pod(&old, 0, true), pod(&old, 1, true), pod(&old, 2, true)];
        assert_eq!(step(&new, &pods), (vec![], names(&["db-2"])));
        let half = [pod(&old, 0, true), pod(&old, 1, true), pod(&new, 2, true)];
        assert_eq!(step(&new, &half).1, names(&["db-1"]));
        let partition = set(3, "db:2", json!({ "updateStrategy": { "rollingUpdate": { "partition": 2 } } }));
        assert_eq!(step(&partition, &half), (vec![], vec![]));
        let by_hand = set(3, "db:2", json!({ "updateStrategy": { "type": "OnDelete" } }));
        assert_eq!(step(&by_hand, &pods), (vec![], vec![]));
    }

    #[test]
    fn a_broken_pod_of_an_old_template_does_not_hold_up_its_repair() {
        let (old, new) = (set(2, "db:broken", json!({})), set(2, "db:2", json!({})));
        assert_eq!(step(&new, &[pod(&old, 0, false)]).1, names(&["db-0"]));
        assert_eq!(step(&new, &[pod(&new, 0, false)]), (vec![], vec![]));
    }

    #[test]
    fn a_pod_has_its_name_its_host_name_and_its_volume() {
        let set = set(1, "db:1", json!({ "ordinals": { "start": 5 } }));
        let pod = &plan(&set, &[], Timestamp::now()).create[0];
        let spec = pod.spec.as_ref().unwrap();
        assert_eq!((spec.hostname.as_deref(), spec.subdomain.as_deref()), (Some("db-5"), Some("db")));
        assert_eq!(pod.labels()["apps.kubernetes.io/pod-index"], "5");

        let claim = spec.volumes.as_ref().unwrap()[0].persistent_volume_claim.as_ref().unwrap();
        assert_eq!(claim.claim_name, "data-db-5");
        assert_eq!(identity::claims(&set, pod)[0].name_any(), "data-db-5");
    }
}
