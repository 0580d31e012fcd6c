//! What controllers ask of pods: are they ready, since when, and which of them goes first.

use std::cmp::Ordering;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

pub(crate) fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

/// Whether all containers have ended for good.
pub(crate) fn is_finished(pod: &Pod) -> bool {
    matches!(phase(pod), "Succeeded" | "Failed")
}

pub(crate) fn is_terminating(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

/// Whether a pod counts as a replica: neither ended nor ending.
pub(crate) fn is_active(pod: &Pod) -> bool {
    !is_finished(pod) && !is_terminating(pod)
}

fn ready_since(pod: &Pod) -> Option<Option<Timestamp>> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let ready =
        conditions.iter().find(|condition| condition.type_ == "Ready" && condition.status == "True")?;
    Some(ready.last_transition_time.as_ref().map(|time| time.0))
}

/// When the pod became ready or ceased to be.
pub(crate) fn changed_readiness(pod: &Pod) -> Option<Timestamp> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let ready = conditions.iter().find(|condition| condition.type_ == "Ready")?;
    ready.last_transition_time.as_ref().map(|time| time.0)
}

pub(crate) fn is_ready(pod: &Pod) -> bool {
    ready_since(pod).is_some()
}

/// Whether a pod has been ready for `seconds`; if not yet, how long until then.
pub(crate) fn availability(pod: &Pod, seconds: i32, now: Timestamp) -> Result<(), Option<SignedDuration>> {
    let since = ready_since(pod).ok_or(None)?;
    if seconds <= 0 {
        return Ok(());
    }
    let left = SignedDuration::from_secs(i64::from(seconds)) - now.duration_since(since.unwrap_or(now));
    if left <= SignedDuration::ZERO { Ok(()) } else { Err(Some(left)) }
}

/// A pod made of a template; the API server gives it its name if `name` ends in a dash.
pub(crate) fn from_template(
    template: &PodTemplateSpec,
    namespace: &str,
    name: &str,
    owner: OwnerReference,
) -> Pod {
    let source = template.metadata.clone().unwrap_or_default();
    let generated = name.ends_with('-');
    Pod {
        metadata: ObjectMeta {
            name: (!generated).then(|| name.to_owned()),
            generate_name: generated.then(|| name.to_owned()),
            namespace: Some(namespace.to_owned()),
            labels: source.labels,
            annotations: source.annotations,
            finalizers: source.finalizers,
            owner_references: Some(vec![owner]),
            ..ObjectMeta::default()
        },
        spec: template.spec.clone(),
        status: None,
    }
}

/// Kubernetes leaves zeros out of a status; a zero written out would differ from what comes back.
pub(crate) fn nonzero(count: i32) -> Option<i32> {
    (count != 0).then_some(count)
}

/// Which of two pods is deleted first when there are too many (Kubernetes' `ActivePodsWithRanks`).
pub(crate) fn deletion_order(a: &Pod, b: &Pod) -> Ordering {
    let assigned = |pod: &Pod| pod.spec.as_ref().and_then(|spec| spec.node_name.as_ref()).is_some();
    let stage = |pod: &Pod| match phase(pod) {
        "Running" => 2,
        "Unknown" => 1,
        _ => 0,
    };
    let restarts = |pod: &Pod| {
        let status = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
        status.into_iter().flatten().map(|status| status.restart_count).max().unwrap_or(0)
    };
    let created = |pod: &Pod| pod.metadata.creation_timestamp.as_ref().map(|time| time.0);
    assigned(a)
        .cmp(&assigned(b))
        .then_with(|| stage(a).cmp(&stage(b)))
        .then_with(|| is_ready(a).cmp(&is_ready(b)))
        .then_with(|| cost(a).cmp(&cost(b)))
        .then_with(|| ready_since(b).flatten().cmp(&ready_since(a).flatten()))
        .then_with(|| restarts(b).cmp(&restarts(a)))
        .then_with(|| created(b).cmp(&created(a)))
        .then_with(|| a.metadata.name.cmp(&b.metadata.name))
}

fn cost(pod: &Pod) -> i32 {
    let text = pod.metadata.annotations.as_ref().and_then(|notes| notes.get(DELETION_COST));
    text.and_then(|text| text.parse().ok()).unwrap_or(0)
}
