//! Which controllers have to look at what when an object changes.

use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::{Endpoints, Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use kube::{Resource, ResourceExt};

use crate::context::Context;
use crate::store::{Change, Key};
use crate::{endpoints, ownership};

impl<K> Change<K> {
    /// What the object was and what it is.
    pub(crate) fn both(&self) -> impl Iterator<Item = &K> {
        self.old.as_deref().into_iter().chain(self.new.as_deref())
    }
}

/// The key of whichever object is there.
pub(crate) fn own_key<K: Resource>(change: &Change<K>) -> Option<Key> {
    change.both().last().map(Key::of)
}

/// A pod concerns its controller, the Services that select it and the workloads that might adopt it.
pub(crate) fn pod(context: &Context, change: &Change<Pod>) {
    for pod in change.both() {
        let namespace = pod.namespace().unwrap_or_default();
        match ownership::controller(&pod.metadata) {
            Some(owner) => controller(context, &owner.kind, &namespace, &owner.name),
            None => adopters(context, &namespace, &pod.metadata),
        }
        for service in context.stores.services.in_namespace(&namespace) {
            if endpoints::selects(&service, pod.metadata.labels.as_ref()) {
                context.queues.endpoints.add(Key::of(&*service));
            }
        }
        for budget in context.stores.budgets.in_namespace(&namespace) {
            context.queues.budgets.add(Key::of(&*budget));
        }
    }
}

fn controller(context: &Context, kind: &str, namespace: &str, name: &str) {
    let key = Key::new(namespace, name);
    let queues = &context.queues;
    match kind {
        "ReplicaSet" => {
            // Recreate waits for the old pods to be gone, which only the Deployment knows.
            if let Some(set) = context.stores.replica_sets.get(&key) {
                replica_set_owner(context, &set);
            }
            queues.replica_sets.add(key);
        }
        "StatefulSet" => queues.stateful_sets.add(key),
        "DaemonSet" => queues.daemon_sets.add(key),
        "Job" => queues.jobs.add(key),
        _ => {}
    }
}

fn adopters(context: &Context, namespace: &str, pod: &ObjectMeta) {
    let fits = |selector: Option<&LabelSelector>| {
        selector.and_then(ownership::selector).is_some_and(|selector| ownership::selects(&selector, pod))
    };
    for set in context.stores.replica_sets.in_namespace(namespace) {
        if fits(set.spec.as_ref().map(|spec| &spec.selector)) {
            context.queues.replica_sets.add(Key::of(&*set));
        }
    }
    for set in context.stores.stateful_sets.in_namespace(namespace) {
        if fits(set.spec.as_ref().map(|spec| &spec.selector)) {
            context.queues.stateful_sets.add(Key::of(&*set));
        }
    }
    for set in context.stores.daemon_sets.in_namespace(namespace) {
        if fits(set.spec.as_ref().map(|spec| &spec.selector)) {
            context.queues.daemon_sets.add(Key::of(&*set));
        }
    }
}

/// A ReplicaSet concerns itself, its Deployment and Deployments that might adopt it.
pub(crate) fn replica_set(context: &Context, change: &Change<ReplicaSet>) {
    context.queues.replica_sets.add_some(own_key(change));
    for set in change.both() {
        replica_set_owner(context, set);
    }
}

fn replica_set_owner(context: &Context, set: &ReplicaSet) {
    let namespace = set.namespace().unwrap_or_default();
    match ownership::controller(&set.metadata) {
        Some(owner) if owner.kind == "Deployment" => {
            context.queues.deployments.add(Key::new(namespace, owner.name.clone()));
        }
        Some(_) => {}
        None => {
            for deployment in context.stores.deployments.in_namespace(&namespace) {
                context.queues.deployments.add(Key::of(&*deployment));
            }
        }
    }
}

/// A revision that someone has deleted is written again.
pub(crate) fn revision(context: &Context, change: &Change<ControllerRevision>) {
    if change.new.is_some() {
        return;
    }
    for revision in change.both() {
        if let Some(owner) = ownership::controller(&revision.metadata) {
            let namespace = revision.namespace().unwrap_or_default();
            controller(context, &owner.kind, &namespace, &owner.name);
        }
    }
}

/// A Service concerns its slices and Endpoints.
pub(crate) fn service(context: &Context, change: &Change<Service>) {
    context.queues.endpoints.add_some(own_key(change));
    context.queues.mirrors.add_some(own_key(change));
}

/// Endpoints that someone else has changed are put right, or mirrored if they are the user's.
pub(crate) fn endpoints(context: &Context, change: &Change<Endpoints>) {
    context.queues.endpoints.add_some(own_key(change));
    context.queues.mirrors.add_some(own_key(change));
}

/// A slice that someone else has changed is put right.
pub(crate) fn slice(context: &Context, change: &Change<EndpointSlice>) {
    for slice in change.both() {
        if let Some(service) = slice.labels().get(endpoints::SERVICE_NAME) {
            let key = Key::new(slice.namespace().unwrap_or_default(), service.clone());
            context.queues.mirrors.add(key.clone());
            context.queues.endpoints.add(key);
        }
    }
}

/// A node that came or went concerns every DaemonSet; its zone stands in the slices of its pods.
pub(crate) fn node(context: &Context, change: &Change<Node>) {
    let same = match (&change.old, &change.new) {
        (Some(old), Some(new)) => old.metadata.labels == new.metadata.labels && old.spec == new.spec,
        _ => false,
    };
    // Heartbeats change a node's status only, and concern nobody here.
    if same {
        return;
    }
    for set in context.stores.daemon_sets.all() {
        context.queues.daemon_sets.add(Key::of(&*set));
    }
    for service in context.stores.services.all() {
        context.queues.endpoints.add(Key::of(&*service));
    }
}

/// A Deployment concerns itself and the autoscalers that are for it.
pub(crate) fn deployment(context: &Context, change: &Change<Deployment>) {
    context.queues.deployments.add_some(own_key(change));
    autoscalers(context, own_key(change));
}

/// A StatefulSet concerns itself and the autoscalers that are for it.
pub(crate) fn stateful_set(context: &Context, change: &Change<StatefulSet>) {
    context.queues.stateful_sets.add_some(own_key(change));
    autoscalers(context, own_key(change));
}

fn autoscalers(context: &Context, target: Option<Key>) {
    let Some(target) = target else { return };
    for scaler in context.stores.autoscalers.in_namespace(&target.namespace) {
        if scaler.spec.as_ref().is_some_and(|spec| spec.scale_target_ref.name == target.name) {
            context.queues.autoscalers.add(Key::of(&*scaler));
        }
    }
}

/// A Job concerns itself and the CronJob that started it.
pub(crate) fn job(context: &Context, change: &Change<Job>) {
    context.queues.jobs.add_some(own_key(change));
    for job in change.both() {
        if let Some(owner) = ownership::controller(&job.metadata)
            && owner.kind == "CronJob"
        {
            context.queues.cron_jobs.add(Key::new(job.namespace().unwrap_or_default(), owner.name.clone()));
        }
    }
}

/// A DaemonSet concerns itself.
pub(crate) fn daemon_set(context: &Context, change: &Change<DaemonSet>) {
    context.queues.daemon_sets.add_some(own_key(change));
}

/// A CronJob concerns itself.
pub(crate) fn cron_job(context: &Context, change: &Change<CronJob>) {
    context.queues.cron_jobs.add_some(own_key(change));
}

/// A PodDisruptionBudget concerns itself.
pub(crate) fn budget(context: &Context, change: &Change<PodDisruptionBudget>) {
    context.queues.budgets.add_some(own_key(change));
}

/// A HorizontalPodAutoscaler concerns itself.
pub(crate) fn autoscaler(context: &Context, change: &Change<HorizontalPodAutoscaler>) {
    context.queues.autoscalers.add_some(own_key(change));
}
