use crate::charts::common::{cpu_metric, istiod, namespace, release_labels, revision_label, with};
use crate::template::{Condition, Document, Node, values};

fn metadata() -> Node {
    object! {
        "name": istiod(),
        "namespace": namespace(),
        "labels": with(object! { "app": "istiod", "istio.io/rev": revision_label(), }, release_labels("istiod")),
    }
}

/// Scales the control plane by its CPU use.
pub fn autoscaler() -> Document {
    Document::when(
        Condition::set("pilot.autoscaleEnabled"),
        object! {
            "apiVersion": "autoscaling/v2",
            "kind": "HorizontalPodAutoscaler",
            "metadata": metadata(),
            "spec": object! {
                "minReplicas": Node::Scalar(values("pilot.autoscaleMin")),
                "maxReplicas": Node::Scalar(values("pilot.autoscaleMax")),
                "scaleTargetRef": object! {
                    "apiVersion": "apps/v1", "kind": "Deployment", "name": istiod(),
                },
                "metrics": cpu_metric(values("pilot.cpu.targetAverageUtilization")),
                if (Condition::set("pilot.autoscaleBehavior")) "behavior": Node::Tree(values("pilot.autoscaleBehavior")),
            },
        },
    )
}

/// Keeps one running while nodes are drained.
pub fn budget() -> Document {
    Document::when(
        Condition::set("global.defaultPodDisruptionBudget.enabled"),
        object! {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": metadata(),
            "spec": object! {
                "minAvailable": 1,
                "unhealthyPodEvictionPolicy": "AlwaysAllow",
                "selector": object! {
                    "matchLabels": object! { "app": "istiod", "istio.io/rev": revision_label(), },
                },
            },
        },
    )
}
