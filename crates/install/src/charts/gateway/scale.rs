use super::fields::{Fields, name};
use super::service::{labels, selector};
use super::workload::deployment_name;
use crate::charts::common::{cpu_metric, namespace};
use crate::template::{Condition, Document, Entry, Node};

/// Scales the gateway by its CPU use.
pub fn autoscaler(fields: &Fields) -> Document {
    Document::when(
        Condition::Set(fields.autoscale()),
        object! {
            "apiVersion": "autoscaling/v2",
            "kind": "HorizontalPodAutoscaler",
            "metadata": object! { "name": deployment_name(fields), "namespace": namespace(), "labels": labels(), },
            "spec": object! {
                "minReplicas": Node::Scalar(fields.autoscale_min()),
                "maxReplicas": Node::Scalar(fields.autoscale_max()),
                "scaleTargetRef": object! {
                    "apiVersion": "apps/v1", "kind": "Deployment", "name": deployment_name(fields),
                },
                "metrics": cpu_metric(fields.autoscale_cpu()),
            },
        },
    )
}

/// Keeps one running while nodes are drained.
pub fn budget(fields: &Fields) -> Document {
    Document::when(
        Condition::Set(fields.budget()),
        object! {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": object! { "name": Node::Quoted(name()), "namespace": namespace(), "labels": labels(), },
            "spec": Node::Object(vec![
                Entry::Field { key: "selector".into(), when: None, node: object! { "matchLabels": selector(), } },
                Entry::Spread(fields.budget()),
            ]),
        },
    )
}
