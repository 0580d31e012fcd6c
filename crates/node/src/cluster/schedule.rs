//! The scheduler of a cluster with one node.

use k8s_openapi::api::core::v1::{Binding, NodeSelectorRequirement, NodeSelectorTerm, ObjectReference, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt};
use std::collections::BTreeMap;

use super::{Events, NODE_NAME, register};
use crate::pod::Severity;

const COMPONENT: &str = "default-scheduler";

/// Binds a pod to the node, or says why it stays pending.
pub(crate) async fn schedule(client: Client, events: Events, pod: Pod) {
    let api: Api<Pod> = Api::namespaced(client, &pod.namespace().unwrap_or_default());
    let name = pod.name_any();
    if let Err(reason) = fits(&pod, &register::labels()) {
        let message = format!("0/1 nodes are available: {reason}.");
        events.report(&pod, None, COMPONENT, Severity::Warning, "FailedScheduling", message.clone());
        let condition = serde_json::json!({
            "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message});
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

/// Whether a node with these labels may run the pod; if not, why, in the scheduler's words.
fn fits(pod: &Pod, labels: &BTreeMap<String, String>) -> Result<(), &'static str> {
    const UNMATCHED: &str = "1 node(s) didn't match Pod's node affinity/selector";
    let Some(spec) = &pod.spec else { return Ok(()) };
    if spec.node_selector.iter().flatten().any(|(key, value)| labels.get(key) != Some(value)) {
        return Err(UNMATCHED);
    }
    let required = spec
        .affinity
        .as_ref()
        .and_then(|a| a.node_affinity.as_ref()?.required_during_scheduling_ignored_during_execution.as_ref());
    match required {
        Some(selector) if !selector.node_selector_terms.iter().any(|term| matches(term, labels)) => {
            Err(UNMATCHED)
        }
        _ => Ok(()),
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
        fits(&pod(spec), &labels).is_ok()
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
