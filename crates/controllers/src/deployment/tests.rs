use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentStatus, ReplicaSet, ReplicaSetStatus};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;
use serde_json::{Value, json};

use super::rolling::Bounds;
use super::{plan, revision, status};
use crate::pods::nonzero;

fn deployment(replicas: i32, image: &str, strategy: Value) -> Deployment {
    serde_json::from_value(json!({
        "metadata": { "name": "web", "namespace": "default", "uid": "d", "generation": 1 },
        "spec": {
            "replicas": replicas, "strategy": strategy,
            "selector": { "matchLabels": { "app": "web" } },
            "template": {
                "metadata": { "labels": { "app": "web" } },
                "spec": { "containers": [{ "name": "web", "image": image }] },
            },
        },
    }))
    .unwrap()
}

fn rolling(surge: Value, unavailable: Value) -> Value {
    json!({ "type": "RollingUpdate", "rollingUpdate": { "maxSurge": surge, "maxUnavailable": unavailable } })
}

/// A cluster in which ReplicaSets do what they are asked to, one pod at a time.
struct Cluster {
    deployment: Deployment,
    sets: Vec<Arc<ReplicaSet>>,
    created: i64,
}

impl Cluster {
    fn new(deployment: Deployment) -> Self {
        Self { deployment, sets: Vec::new(), created: 0 }
    }

    /// One step of the controller; whether it did anything.
    fn step(&mut self) -> bool {
        let plan = plan::plan(&self.deployment, &self.sets, &self.pods());
        let acted = plan.create.is_some() || !plan.update.is_empty() || !plan.delete.is_empty();
        for (set, _) in plan.update {
            let at = self.sets.iter().position(|other| other.name_any() == set.name_any()).unwrap();
            self.sets[at] = Arc::new(set);
        }
        for set in plan.delete {
            self.sets.retain(|other| other.name_any() != set.name_any());
        }
        if let Some(mut set) = plan.create {
            self.created += 1;
            set.metadata.uid = Some(format!("rs{}", self.created));
            set.metadata.creation_timestamp = Some(Time(Timestamp::from_second(self.created).unwrap()));
            self.sets.push(Arc::new(set));
        }
        acted
    }

    /// One pod of one ReplicaSet comes (and works) or goes; whether any did.
    fn settle_one(&mut self, works: impl Fn(&ReplicaSet) -> bool) -> bool {
        for slot in &mut self.sets {
            let mut set = ReplicaSet::clone(slot);
            let wanted = plan::replicas(&set);
            let (has, good) = counts(&set);
            let works = works(&set);
            let next = match wanted.cmp(&has) {
                std::cmp::Ordering::Greater => (has + 1, good + i32::from(works)),
                std::cmp::Ordering::Less => (has - 1, if good < has { good } else { good - 1 }),
                std::cmp::Ordering::Equal if works && good < has => (has, good + 1),
                std::cmp::Ordering::Equal => continue,
            };
            set.status = Some(ReplicaSetStatus {
                replicas: next.0,
                ready_replicas: nonzero(next.1),
                available_replicas: nonzero(next.1),
                ..ReplicaSetStatus::default()
            });
            *slot = Arc::new(set);
            return true;
        }
        false
    }

    fn pods(&self) -> Vec<Arc<Pod>> {
        let pod = |set: &ReplicaSet| {
            let owner = json!([{ "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": set.name_any(),
                                 "uid": set.uid(), "controller": true }]);
            Arc::new(serde_json::from_value(json!({ "metadata": { "ownerReferences": owner } })).unwrap())
        };
        self.sets.iter().flat_map(|set| (0..counts(set).0).map(move |_| pod(set))).collect()
    }

    /// Runs until nothing moves, checking the bounds after each move.
    fn run(&mut self, works: impl Fn(&ReplicaSet) -> bool, check: impl Fn(i32, i32)) {
        for _ in 0..500 {
            let stepped = self.step();
            let settled = self.settle_one(&works);
            let total: i32 = self.sets.iter().map(|set| counts(set).0).sum();
            let available: i32 = self.sets.iter().map(|set| counts(set).1).sum();
            check(total, available);
            if !stepped && !settled {
                return;
            }
        }
        panic!("the rollout never came to rest");
    }

    fn sizes(&self) -> Vec<i32> {
        self.sets.iter().map(|set| plan::replicas(set)).collect()
    }

    fn edit(&mut self, edit: impl FnOnce(&mut k8s_openapi::api::apps::v1::DeploymentSpec)) {
        edit(self.deployment.spec.as_mut().unwrap());
    }

    fn set_image(&mut self, image: &str) {
        self.edit(|spec| spec.template.spec.as_mut().unwrap().containers[0].image = Some(image.to_owned()));
    }

    fn status(&self, now: Timestamp) -> (DeploymentStatus, Option<Duration>) {
        let owned = plan::owned(&self.deployment, &self.sets);
        let current = plan::current(&self.deployment, &owned);
        status::status(&self.deployment, &owned, current.as_deref(), now)
    }
}

fn counts(set: &ReplicaSet) -> (i32, i32) {
    let status = set.status.as_ref();
    (status.map_or(0, |s| s.replicas), status.and_then(|s| s.available_replicas).unwrap_or(0))
}

#[test]
fn a_rolling_update_keeps_within_its_bounds_and_ends_with_the_new_template() {
    let cases = [
        (4, rolling(json!("25%"), json!("25%")), 5, 3),
        (1, rolling(json!("25%"), json!("25%")), 2, 1),
        (5, rolling(json!(2), json!(0)), 7, 5),
        (5, rolling(json!(0), json!(2)), 5, 3),
        (3, rolling(json!("0%"), json!("0%")), 3, 2),
        (10, Value::Null, 13, 8),
    ];
    for (replicas, strategy, most, fewest) in cases {
        let mut cluster = Cluster::new(deployment(replicas, "web:1", strategy));
        cluster.run(|_| true, |total, _| assert!(total <= most));
        assert_eq!(cluster.sizes(), [replicas]);
        cluster.set_image("web:2");
        cluster.run(
            |_| true,
            |total, available| assert!(total <= most && available >= fewest, "{total} {available}"),
        );
        assert_eq!(cluster.sizes(), [0, replicas]);
    }
}

#[test]
fn a_broken_new_version_never_takes_the_old_one_below_the_bound() {
    let mut cluster = Cluster::new(deployment(4, "web:1", rolling(json!(1), json!(1))));
    cluster.run(|_| true, |_, _| {});
    cluster.set_image("web:broken");
    let works = |set: &ReplicaSet| {
        let template = set.spec.as_ref().unwrap().template.as_ref().unwrap();
        template.spec.as_ref().unwrap().containers[0].image.as_deref() != Some("web:broken")
    };
    cluster.run(works, |_, available| assert!(available >= 3));
    assert_eq!(cluster.sizes(), [3, 2]);
    cluster.set_image("web:1");
    cluster.run(works, |_, available| assert!(available >= 3));
    assert_eq!(cluster.sizes(), [4, 0], "undo goes back to the old ReplicaSet");
    assert_eq!(revision::of(&*cluster.sets[0]), Some(3));
}

#[test]
fn recreate_waits_until_all_old_pods_are_gone() {
    let mut cluster = Cluster::new(deployment(3, "web:1", json!({ "type": "Recreate" })));
    cluster.run(|_| true, |_, _| {});
    cluster.set_image("web:2");
    while counts(&cluster.sets[0]).0 > 0 {
        cluster.step();
        assert_eq!(cluster.sets.len(), 1, "an old pod is still there");
        cluster.settle_one(|_| true);
    }
    cluster.run(|_| true, |_, _| {});
    assert_eq!(cluster.sizes(), [0, 3]);
}

#[test]
fn a_paused_deployment_scales_but_does_not_roll() {
    let mut cluster = Cluster::new(deployment(2, "web:1", Value::Null));
    cluster.run(|_| true, |_, _| {});
    cluster.set_image("web:2");
    cluster.edit(|spec| {
        spec.paused = Some(true);
        spec.replicas = Some(5);
    });
    cluster.run(|_| true, |_, _| {});
    assert_eq!(cluster.sizes(), [5]);
    let (status, _) = cluster.status(Timestamp::now());
    cluster.deployment.status = Some(status.clone());
    assert_eq!(cluster.status(Timestamp::now()).0, status, "a paused Deployment causes no writes");
    cluster.edit(|spec| spec.paused = None);
    cluster.run(|_| true, |_, _| {});
    assert_eq!(cluster.sizes(), [0, 5]);
}

#[test]
fn scaling_in_the_midst_of_a_rollout_is_shared_in_proportion() {
    let mut cluster = Cluster::new(deployment(10, "web:1", rolling(json!(3), json!(2))));
    cluster.run(|_| true, |_, _| {});
    cluster.set_image("web:broken");
    let works = |set: &ReplicaSet| set.uid().as_deref() == Some("rs1");
    cluster.run(works, |_, _| {});
    assert_eq!(cluster.sizes(), [8, 5]);
    // The example of Kubernetes' documentation on proportional scaling.
    cluster.edit(|spec| spec.replicas = Some(15));
    cluster.step();
    assert_eq!(cluster.sizes(), [11, 7]);
}

#[test]
fn the_template_hash_names_set_selector_and_pods() {
    let mut cluster = Cluster::new(deployment(1, "web:1", Value::Null));
    cluster.step();
    let set = &cluster.sets[0];
    let hash = &set.labels()[crate::template_hash::LABEL];
    let spec = set.spec.as_ref().unwrap();
    assert_eq!(set.name_any(), format!("web-{hash}"));
    assert_eq!(&spec.selector.match_labels.as_ref().unwrap()[crate::template_hash::LABEL], hash);
    let labels = spec.template.as_ref().unwrap().metadata.as_ref().unwrap().labels.as_ref().unwrap();
    assert_eq!((&labels[crate::template_hash::LABEL], labels["app"].as_str()), (hash, "web"));
    assert!(!cluster.step(), "the same template makes no second ReplicaSet");
}

#[test]
fn history_is_cut_to_its_limit_oldest_first() {
    let mut cluster = Cluster::new(deployment(1, "web:0", Value::Null));
    cluster.edit(|spec| spec.revision_history_limit = Some(2));
    for image in ["web:1", "web:2", "web:3", "web:4"] {
        cluster.set_image(image);
        cluster.run(|_| true, |_, _| {});
    }
    let mut revisions: Vec<_> = cluster.sets.iter().map(|set| revision::of(&**set).unwrap()).collect();
    revisions.sort_unstable();
    assert_eq!(revisions, [2, 3, 4]);
}

#[test]
fn the_status_says_what_kubectl_waits_for() {
    let start: Timestamp = "2024-01-01T00:00:00Z".parse().unwrap();
    let mut cluster = Cluster::new(deployment(2, "web:1", Value::Null));
    cluster.step();
    let reason = |status: &DeploymentStatus, kind: &str| {
        let found =
            status.conditions.as_ref().unwrap().iter().find(|condition| condition.type_ == kind).unwrap();
        (found.status.clone(), found.reason.clone().unwrap())
    };
    let (status, again) = cluster.status(start);
    assert_eq!(reason(&status, "Available"), ("False".into(), "MinimumReplicasUnavailable".into()));
    assert_eq!(reason(&status, "Progressing"), ("True".into(), "ReplicaSetUpdated".into()));
    assert_eq!(again, Some(Duration::from_secs(600)));
    cluster.deployment.status = Some(status);

    let late = start + Duration::from_secs(601);
    let (stuck, again) = cluster.status(late);
    assert_eq!(reason(&stuck, "Progressing"), ("False".into(), "ProgressDeadlineExceeded".into()));
    assert_eq!(again, None);

    cluster.run(|_| true, |_, _| {});
    let (done, again) = cluster.status(start);
    assert_eq!(
        (done.updated_replicas, done.available_replicas, done.unavailable_replicas),
        (Some(2), Some(2), None)
    );
    assert_eq!(reason(&done, "Available"), ("True".into(), "MinimumReplicasAvailable".into()));
    assert_eq!(reason(&done, "Progressing"), ("True".into(), "NewReplicaSetAvailable".into()));
    assert_eq!(again, None);
    cluster.deployment.status = Some(done.clone());
    assert_eq!(cluster.status(late).0, done, "a finished rollout causes no writes");
}

#[test]
fn bounds_round_surge_up_and_unavailability_down() {
    let bounds = Bounds::of(&deployment(3, "web:1", rolling(json!("10%"), json!("40%"))));
    assert_eq!((bounds.surge, bounds.unavailable, bounds.most(), bounds.fewest()), (1, 1, 4, 2));
}
