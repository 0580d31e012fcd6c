use serde_json::json;

use crate::charts::common::{
    ISTIO_GROUPS, cluster_name, dash_revision, istiod, namespace, pull_secrets, release_labels,
    revision_label, with,
};
use crate::template::{Condition, Document, Node, Piece};

fn labels() -> Node {
    with(object! { "app": "istiod", "istio.io/rev": revision_label(), }, release_labels("istiod"))
}

/// The control plane's account.
pub fn account() -> Document {
    Document::always(object! {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        if (Condition::set("global.imagePullSecrets")) "imagePullSecrets": pull_secrets(),
        "metadata": object! { "name": istiod(), "namespace": namespace(), "labels": labels(), },
    })
}

/// What it may do anywhere: read the mesh, write the status of Istio's resources, hand the root certificate to every
/// namespace, keep its webhooks patched, and have tokens reviewed.
pub fn cluster_role() -> Document {
    let statuses: Vec<String> = lateen_api::crds()
        .iter()
        .filter(|crd| crd.spec.versions.iter().any(|version| version.subresources.is_some()))
        .map(|crd| format!("{}/status", crd.spec.names.plural))
        .collect();
    Document::always(object! {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": object! { "name": cluster_name("istiod-clusterrole"), "labels": labels(), },
        "rules": json!([
            { "apiGroups": ISTIO_GROUPS, "resources": ["*"], "verbs": ["get", "list", "watch"] },
            { "apiGroups": ISTIO_GROUPS, "resources": statuses, "verbs": ["get", "patch", "update"] },
            {
                "apiGroups": [""],
                "resources": ["pods", "nodes", "services", "namespaces", "endpoints", "serviceaccounts"],
                "verbs": ["get", "list", "watch"],
            },
            { "apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "list", "watch"] },
            { "apiGroups": [""], "resources": ["configmaps"], "verbs": ["create", "get", "list", "watch"] },
            {
                "apiGroups": [""],
                "resources": ["configmaps"],
                "resourceNames": ["istio-ca-root-cert"],
                "verbs": ["patch", "update"],
            },
            { "apiGroups": ["", "events.k8s.io"], "resources": ["events"], "verbs": ["create", "patch"] },
            { "apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["get", "list", "watch"] },
            {
                "apiGroups": ["apiextensions.k8s.io"],
                "resources": ["customresourcedefinitions"],
                "verbs": ["get", "list", "watch"],
            },
            {
                "apiGroups": ["admissionregistration.k8s.io"],
                "resources": ["mutatingwebhookconfigurations", "validatingwebhookconfigurations"],
                "verbs": ["get", "list", "watch", "patch", "update"],
            },
            { "apiGroups": ["authentication.k8s.io"], "resources": ["tokenreviews"], "verbs": ["create"] },
            { "apiGroups": ["authorization.k8s.io"], "resources": ["subjectaccessreviews"], "verbs": ["create"] },
        ]),
    })
}

/// Gives it that.
pub fn cluster_binding() -> Document {
    Document::always(object! {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": object! { "name": cluster_name("istiod-clusterrole"), "labels": labels(), },
        "roleRef": object! {
            "apiGroup": "rbac.authorization.k8s.io",
            "kind": "ClusterRole",
            "name": cluster_name("istiod-clusterrole"),
        },
        "subjects": subjects(),
    })
}

/// What it may do in its own namespace: keep the authority's key, and elect a leader.
pub fn role() -> Document {
    Document::always(object! {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": object! { "name": istiod(), "namespace": namespace(), "labels": labels(), },
        "rules": json!([
            { "apiGroups": [""], "resources": ["secrets"], "verbs": ["create"] },
            {
                "apiGroups": [""],
                "resources": ["secrets"],
                "resourceNames": ["istio-ca-secret", "istio-ca-trust", "cacerts"],
                "verbs": ["get", "list", "watch", "update", "patch", "delete"],
            },
            { "apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["create"] },
            {
                "apiGroups": ["coordination.k8s.io"],
                "resources": ["leases"],
                "verbs": ["get", "list", "watch", "update", "patch"],
            },
        ]),
    })
}

/// Gives it that.
pub fn binding() -> Document {
    Document::always(object! {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": object! { "name": istiod(), "namespace": namespace(), "labels": labels(), },
        "roleRef": object! {
            "apiGroup": "rbac.authorization.k8s.io",
            "kind": "Role",
            "name": Node::Text(vec![Piece::Plain("istiod"), dash_revision()]),
        },
        "subjects": subjects(),
    })
}

fn subjects() -> Node {
    list! { object! { "kind": "ServiceAccount", "name": istiod(), "namespace": namespace(), }, }
}
