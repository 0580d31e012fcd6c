//! The chart `base`: what the cluster needs once, whatever the number of control planes.

use serde_json::json;

use super::common::{ISTIO_GROUPS, namespace, release_labels, with};
use crate::template::{Condition, Document, Expr, Node, Piece, Template, values};

/// The chart's templates by file name.
pub fn templates() -> Vec<(&'static str, Template)> {
    vec![
        ("crds.yaml", Template::Definitions),
        ("clusterroles.yaml", Template::Once(vec![reader(), viewer(), editor()])),
        ("validation.yaml", Template::Once(vec![validation()])),
    ]
}

/// Reads the mesh without being able to change it: for tools such as dashboards.
fn reader() -> Document {
    Document::always(object! {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": object! {
            "name": Node::Text(vec![Piece::Plain("istio-reader-clusterrole-"), Piece::Value(Expr::Namespace)]),
            "labels": with(object! { "app": "istio-reader", }, release_labels("istio-reader")),
        },
        "rules": json!([
            { "apiGroups": ISTIO_GROUPS, "resources": ["*"], "verbs": ["get", "list", "watch"] },
            {
                "apiGroups": [""],
                "resources": ["endpoints", "pods", "services", "nodes", "namespaces", "replicationcontrollers"],
                "verbs": ["get", "list", "watch"],
            },
            { "apiGroups": ["apps"], "resources": ["replicasets"], "verbs": ["get", "list", "watch"] },
            { "apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["get", "list", "watch"] },
            {
                "apiGroups": ["apiextensions.k8s.io"],
                "resources": ["customresourcedefinitions"],
                "verbs": ["get", "list", "watch"],
            },
        ]),
    })
}

/// Lets those who may view a namespace see its Istio resources.
fn viewer() -> Document {
    aggregated("istio-view-", "rbac.authorization.k8s.io/aggregate-to-view", &["get", "list", "watch"])
}

/// Lets those who may edit a namespace write its Istio resources.
fn editor() -> Document {
    let verbs = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
    aggregated("istio-edit-", "rbac.authorization.k8s.io/aggregate-to-edit", &verbs)
}

fn aggregated(name: &'static str, label: &str, verbs: &[&str]) -> Document {
    Document::when(
        Condition::set("base.aggregateRoles"),
        object! {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": object! {
                "name": Node::Text(vec![Piece::Plain(name), Piece::Value(Expr::Namespace)]),
                "labels": with(json!({ label: "true" }).into(), release_labels("istio-base")),
            },
            "rules": json!([{ "apiGroups": ISTIO_GROUPS, "resources": ["*"], "verbs": verbs }]),
        },
    )
}

/// Checks resources that name no revision. It lets everything pass until the control plane closes it.
fn validation() -> Document {
    Document::when(
        Condition::set("defaultRevision"),
        object! {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingWebhookConfiguration",
            "metadata": object! {
                "name": "istiod-default-validator",
                "labels": with(json!({ "app": "istiod", "istio": "istiod" }).into(), release_labels("istio-base")),
            },
            "webhooks": list! { object! {
                "name": "validation.istio.io",
                "admissionReviewVersions": json!(["v1"]),
                "sideEffects": "None",
                "failurePolicy": "Ignore",
                "clientConfig": object! { "service": object! {
                    "name": Node::Text(vec![
                        Piece::Plain("istiod"),
                        Piece::When(
                            Condition::Is(values("defaultRevision"), "default").negated(),
                            vec![Piece::Plain("-"), Piece::Value(values("defaultRevision"))],
                        ),
                    ]),
                    "namespace": namespace(),
                    "path": "/validate",
                    "port": 443,
                }, },
                "objectSelector": json!({
                    "matchExpressions": [{ "key": "istio.io/rev", "operator": "DoesNotExist" }],
                }),
                "rules": super::istiod::validated(),
            }, },
        },
    )
}
