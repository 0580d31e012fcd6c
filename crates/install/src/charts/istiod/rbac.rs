use serde_json::json;

use crate::charts::common::{
    ISTIO_GROUPS, cluster_name, dash_revision, istiod, namespace, pull_secrets, release_labels,
    revision_label, with,
};
use crate::template::{Condition, Document, Node, Piece, values};

const READ: [&str; 3] = ["get", "list", "watch"];

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
/// namespace, keep its webhooks patched, have tokens reviewed, and no more.
pub fn cluster_role() -> Document {
    let statuses: Vec<String> = lateen_api::crds()
        .iter()
        .filter(|crd| crd.spec.versions.iter().any(|version| version.subresources.is_some()))
        .map(|crd| format!("{}/status", crd.spec.names.plural))
        .collect();
    let external = || Condition::set("pilot.env.EXTERNAL_CA");
    Document::always(object! {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": object! { "name": cluster_name("istiod-clusterrole"), "labels": labels(), },
        "rules": list! {
            json!({ "apiGroups": ISTIO_GROUPS, "resources": ["*"], "verbs": READ }),
            json!({ "apiGroups": ISTIO_GROUPS, "resources": statuses, "verbs": ["get", "patch", "update"] }),
            json!({ "apiGroups": [""], "resources": ["pods", "nodes", "services", "namespaces"], "verbs": READ }),
            json!({ "apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": READ }),
            // Certificates of gateways, which stand beside these.
            json!({ "apiGroups": [""], "resources": ["secrets"], "verbs": READ }),
            // Authorities that gateways and rules name; the mesh's own, in every namespace.
            json!({ "apiGroups": [""], "resources": ["configmaps"], "verbs": ["create", "get", "list", "watch"] }),
            json!({
                "apiGroups": [""],
                "resources": ["configmaps"],
                "resourceNames": ["istio-ca-root-cert"],
                "verbs": ["patch"],
            }),
            json!({ "apiGroups": ["", "events.k8s.io"], "resources": ["events"], "verbs": ["create", "patch"] }),
            json!({
                "apiGroups": ["admissionregistration.k8s.io"],
                "resources": ["mutatingwebhookconfigurations", "validatingwebhookconfigurations"],
                "verbs": ["get", "list", "watch", "patch"],
            }),
            json!({ "apiGroups": ["authentication.k8s.io"], "resources": ["tokenreviews"], "verbs": ["create"] }),
            if (external()) json!({
                "apiGroups": ["certificates.k8s.io"],
                "resources": ["certificatesigningrequests"],
                "verbs": ["create", "get", "list", "watch", "delete"],
            }),
            if (external()) json!({
                "apiGroups": ["certificates.k8s.io"],
                "resources": ["certificatesigningrequests/approval"],
                "verbs": ["patch", "update"],
            }),
            if (Condition::set("global.certSigners")) object! {
                "apiGroups": json!(["certificates.k8s.io"]),
                "resources": json!(["signers"]),
                "resourceNames": Node::Tree(values("global.certSigners")),
                "verbs": json!(["approve"]),
            },
        },
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

/// What it may do in its own namespace: read its configuration, keep the authority's keys, and elect a leader.
pub fn role() -> Document {
    Document::always(object! {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": object! { "name": istiod(), "namespace": namespace(), "labels": labels(), },
        "rules": json!([
            { "apiGroups": [""], "resources": ["configmaps"], "verbs": READ },
            { "apiGroups": [""], "resources": ["secrets"], "verbs": ["create"] },
            {
                "apiGroups": [""],
                "resources": ["secrets"],
                "resourceNames": ["istio-ca-secret", "istio-ca-trust"],
                "verbs": ["patch"],
            },
            { "apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["create", "get", "update"] },
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
