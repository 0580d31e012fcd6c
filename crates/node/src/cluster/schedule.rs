//! The scheduler of a cluster with one node.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    Binding, Node, NodeSelectorRequirement, NodeSelectorTerm, ObjectReference, Pod, Taint, Toleration,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt};
use std::collections::BTreeMap;

use super::{Events, NODE_NAME, register};
use crate::pod::Severity;

/// Who schedules.
pub(super) const COMPONENT: &str = "default-scheduler";
/// The taint that stands for a node which is closed to new pods.
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";

/// What of a node decides which pods it may run.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Openness {
    labels: BTreeMap<String, String>,
    taints: Vec<Taint>,
}

impl Default for Openness {
    fn default() -> Self {
        Self { labels: register::labels(), taints: Vec::new() }
    }
}

impl Openness {
    /// As the Node object says.
    pub fn of(node: &Node) -> Self {
        let spec = node.spec.as_ref();
        let mut taints = spec.and_then(|spec| spec.taints.clone()).unwrap_or_default();
        if spec.and_then(|spec| spec.unschedulable) == Some(true) {
            let closed =
                Taint { key: UNSCHEDULABLE.to_owned(), effect: "NoSchedule".to_owned(), ..Taint::default() };
            taints.retain(|taint| taint.key != UNSCHEDULABLE);
            taints.insert(0, closed);
        }
        Self { labels: node.labels().clone(), taints }
    }
}

/// Binds a pod to the node, or says why it stays pending.
pub(crate) async fn schedule(client: Client, events: Events, pod: Pod, node: Openness) {
    let api: Api<Pod> = Api::namespaced(client, &pod.namespace().unwrap_or_default());
    let name = pod.name_any();
    if let Err(reason) = fits(&pod, &node) {
        let message = format!(
            "0/1 nodes are available: {reason}. no new claims to deallocate, preemption: 0/1 nodes are available: 1 \
             Preemption is not helpful for scheduling."
        );
        events.report(&pod, None, COMPONENT, Severity::Warning, "FailedScheduling", message.clone());
        let condition = serde_json::json!({
            "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message,
            "observedGeneration": pod.metadata.generation, "lastTransitionTime": Time(Timestamp::now())});
        let patch =
            serde_json::json!({"metadata": {"uid": pod.metadata.uid}, "status": {"conditions": [condition]}});
        if let Err(error) = api.patch_status(&name, &PatchParams::default(), &Patch::Merge(patch)).await {
            tracing::debug!(pod = name, %error, "condition not written");
        }
        return;
    }
    let binding = Binding {
        metadata: ObjectMeta {
            name: Some(name.clone()),
            uid: pod.metadata.uid.clone(),
            ..Default::default()
        },
        target: ObjectReference {
            api_version: Some("v1".into()),
            kind: Some("Node".into()),
            name: Some(NODE_NAME.into()),
            ..Default::default()
        },
    };
    let bound: Result<serde_json::Value, _> =
        api.create_subresource("binding", &name, &PostParams::default(), &binding).await;
    match bound {
        Ok(_) => {
            let message = format!(
                "Successfully assigned {}/{name} to {NODE_NAME}",
                pod.namespace().unwrap_or_default()
            );
            events.report(&pod, None, COMPONENT, Severity::Normal, "Scheduled", message);
        }
        Err(kube::Error::Api(answer)) if matches!(answer.code, 404 | 409) => {}
        Err(error) => {
            events.report(
                &pod,
                None,
                COMPONENT,
                Severity::Warning,
                "FailedScheduling",
                format!("binding: {error}"),
            );
        }
    }
}

/// Whether the pod asks for the scheduler now.
pub(crate) fn wants(pod: &Pod) -> bool {
    let Some(spec) = &pod.spec else { return false };
    spec.node_name.as_deref().unwrap_or_default().is_empty()
        && pod.metadata.deletion_timestamp.is_none()
        && spec.scheduling_gates.as_deref().unwrap_or_default().is_empty()
        && spec.scheduler_name.as_deref().is_none_or(|name| name == COMPONENT)
}

/// Whether the node may run the pod; if not, why, in the scheduler's words.
fn fits(pod: &Pod, node: &Openness) -> Result<(), String> {
    const UNMATCHED: &str = "1 node(s) didn't match Pod's node affinity/selector";
    let Some(spec) = &pod.spec else { return Ok(()) };
    let labels = &node.labels;
    let tolerations = spec.tolerations.as_deref().unwrap_or_default();
    let bars = |taint: &&Taint| matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute");
    let untolerated = |taint: &&Taint| !tolerations.iter().any(|toleration| tolerates(toleration, taint));
    if let Some(taint) = node.taints.iter().filter(bars).find(untolerated) {
        if taint.key == UNSCHEDULABLE {
            return Err("1 node(s) were unschedulable".to_owned());
        }
        let value = taint.value.as_deref().unwrap_or_default();
        return Err(format!("1 node(s) had untolerated taint {{{}: {value}}}", taint.key));
    }
    if spec.node_selector.iter().flatten().any(|(key, value)| labels.get(key) != Some(value)) {
        return Err(UNMATCHED.to_owned());
    }
    let required = spec
        .affinity
        .as_ref()
        .and_then(|a| a.node_affinity.as_ref()?.required_during_scheduling_ignored_during_execution.as_ref());
    match required {
        Some(selector) if !selector.node_selector_terms.iter().any(|term| matches(term, labels)) => {
            Err(UNMATCHED.to_owned())
        }
        _ => Ok(()),
    }
}

/// Kubernetes' `Toleration.ToleratesTaint`.
fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let effect = toleration.effect.as_deref().unwrap_or_default();
    let key = toleration.key.as_deref().unwrap_or_default();
    if (!effect.is_empty() && effect != taint.effect) || (!key.is_empty() && key != taint.key) {
        return false;
    }
    match toleration.operator.as_deref() {
        Some("Exists") => true,
        _ => toleration.value.as_deref().unwrap_or_default() == taint.value.as_deref().unwrap_or_default(),
    }
}

fn matches(term: &NodeSelectorTerm, labels: &BTreeMap<String, String>) -> bool {
    let expressions = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    // An empty term matches nothing.
    if expressions.is_empty() && fields.is_empty() {
        return false;
    }
    let name = BTreeMap::from([("metadata.name".to_owned(), NODE_NAME.to_owned())]);
    expressions.iter().all(|e| holds(e, labels)) && fields.iter().all(|f| holds(f, &name))
}

fn holds(requirement: &NodeSelectorRequirement, labels: &BTreeMap<String, String>) -> bool {
    let value = labels.get(&requirement.key);
    let values = requirement.values.as_deref().unwrap_or_default();
    let compare = |ordered: fn(&i64, &i64) -> bool| {
        let wanted = values.first().and_then(|v| v.parse().ok());
        let own = value.and_then(|v| v.parse().ok());
        own.zip(wanted).is_some_and(|(own, wanted)| ordered(&own, &wanted))
    };
    match requirement.operator.as_str() {
        "In" => value.is_some_and(|v| values.contains(v)),
        "NotIn" => value.is_none_or(|v| !values.contains(v)),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => compare(i64::gt),
        "Lt" => compare(i64::lt),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(spec: serde_json::Value) -> Pod {
        serde_json::from_value(serde_json::json!({"metadata": {"name": "p"}, "spec": spec})).unwrap()
    }

    fn fits_on(spec: serde_json::Value) -> bool {
        let labels =
            BTreeMap::from([("kubernetes.io/os".to_owned(), "linux".to_owned()), ("n".into(), "5".into())]);
        fits(&pod(spec), &Openness { labels, taints: Vec::new() }).is_ok()
    }

    #[test]
    fn taints_keep_pods_away_that_do_not_tolerate_them() {
        let node = |spec: serde_json::Value| {
            Openness::of(&serde_json::from_value(serde_json::json!({"metadata": {}, "spec": spec})).unwrap())
        };
        let plain = pod(serde_json::json!({"containers": []}));
        let closed = node(serde_json::json!({"unschedulable": true}));
        assert_eq!(fits(&plain, &closed).unwrap_err(), "1 node(s) were unschedulable");
        let taint = serde_json::json!({"key": "a", "value": "b", "effect": "NoSchedule"});
        let tainted = node(serde_json::json!({"taints": [taint]}));
        assert_eq!(fits(&plain, &tainted).unwrap_err(), "1 node(s) had untolerated taint {a: b}");
        for toleration in [
            serde_json::json!({"operator": "Exists"}),
            serde_json::json!({"key": "a", "value": "b", "effect": "NoSchedule"}),
        ] {
            let tolerant = pod(serde_json::json!({"containers": [], "tolerations": [toleration]}));
            assert_eq!(fits(&tolerant, &tainted), Ok(()));
        }
        let soft = serde_json::json!({"key": "a", "effect": "PreferNoSchedule"});
        assert_eq!(fits(&plain, &node(serde_json::json!({"taints": [soft]}))), Ok(()));
    }

    #[test]
    fn selectors_and_affinity_decide() {
        assert!(fits_on(
            serde_json::json!({"containers": [], "nodeSelector": {"kubernetes.io/os": "linux"}})
        ));
        assert!(!fits_on(serde_json::json!({"containers": [], "nodeSelector": {"disk": "ssd"}})));
        for (operator, values, expected) in [
            ("In", vec!["windows", "linux"], true),
            ("NotIn", vec!["linux"], false),
            ("Exists", vec![], true),
            ("DoesNotExist", vec![], false),
        ] {
            let term = serde_json::json!({"matchExpressions": [
                {"key": "kubernetes.io/os", "operator": operator, "values": values}]});
            let affinity = serde_json::json!({"nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}});
            assert_eq!(
                fits_on(serde_json::json!({"containers": [], "affinity": affinity})),
                expected,
                "{operator}"
            );
        }
    }

    #[test]
    fn bound_gated_and_foreign_pods_are_left_alone() {
        assert!(wants(&pod(serde_json::json!({"containers": []}))));
        assert!(!wants(&pod(serde_json::json!({"containers": [], "nodeName": "lateen"}))));
        assert!(!wants(&pod(serde_json::json!({"containers": [], "schedulingGates": [{"name": "wait"}]}))));
        assert!(!wants(&pod(serde_json::json!({"containers": [], "schedulerName": "mine"}))));
    }
}
