use serde_json::json;

use crate::charts::common::{
    dash_revision, field_variable, image, istiod, namespace, release_labels, restricted, revision_label, with,
};
use crate::template::{Condition, Document, Expr, Node, Piece, values};

fn role_label() -> Node {
    Node::Text(vec![
        Piece::When(Condition::set("revision"), vec![Piece::Plain("istiod")]),
        Piece::When(Condition::set("revision").negated(), vec![Piece::Plain("pilot")]),
    ])
}

fn labels() -> Node {
    with(
        object! { "app": "istiod", "istio": role_label(), "istio.io/rev": revision_label(), },
        release_labels("istiod"),
    )
}

fn selector() -> Node {
    object! { "app": "istiod", "istio.io/rev": revision_label(), }
}

/// The control plane's Service, by the ports that Istio's tools know.
pub fn service() -> Document {
    Document::always(object! {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": object! {
            "name": istiod(),
            "namespace": namespace(),
            "labels": labels(),
            if (Condition::set("pilot.serviceAnnotations")) "annotations": Node::Tree(values("pilot.serviceAnnotations")),
        },
        "spec": object! {
            if (Condition::set("pilot.ipFamilyPolicy")) "ipFamilyPolicy": Node::Quoted(values("pilot.ipFamilyPolicy")),
            if (Condition::set("pilot.ipFamilies")) "ipFamilies": Node::Tree(values("pilot.ipFamilies")),
            "selector": selector(),
            "ports": json!([
                { "name": "grpc-xds", "port": 15010, "protocol": "TCP" },
                { "name": "https-dns", "port": 15012, "protocol": "TCP" },
                { "name": "https-webhook", "port": 443, "targetPort": 15017, "protocol": "TCP" },
                { "name": "http-monitoring", "port": 15014, "protocol": "TCP" },
            ]),
        },
    })
}

/// The control plane.
pub fn deployment() -> Document {
    Document::always(object! {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": object! {
            "name": istiod(),
            "namespace": namespace(),
            "labels": with(labels(), vec![crate::template::Entry::Spread(values("pilot.deploymentLabels"))]),
        },
        "spec": object! {
            if (Condition::set("pilot.autoscaleEnabled").negated()) "replicas": Node::Scalar(values("pilot.replicaCount")),
            "strategy": object! { "rollingUpdate": object! {
                "maxSurge": Node::Scalar(values("pilot.rollingMaxSurge")),
                "maxUnavailable": Node::Scalar(values("pilot.rollingMaxUnavailable")),
            }, },
            "selector": object! { "matchLabels": selector(), },
            "template": object! {
                "metadata": object! {
                    "labels": with(
                        with(labels(), vec![]),
                        vec![
                            crate::template::Entry::Field {
                                key: "sidecar.istio.io/inject".into(), when: None, node: "false".into(),
                            },
                            crate::template::Entry::Spread(values("pilot.podLabels")),
                        ],
                    ),
                    "annotations": with(
                        json!({ "prometheus.io/port": "15014", "prometheus.io/scrape": "true" }).into(),
                        vec![crate::template::Entry::Spread(values("pilot.podAnnotations"))],
                    ),
                },
                "spec": pod(),
            },
        },
    })
}

fn pod() -> Node {
    object! {
        "serviceAccountName": istiod(),
        if (Condition::set("global.priorityClassName")) "priorityClassName": Node::Quoted(values("global.priorityClassName")),
        if (Condition::set("pilot.nodeSelector")) "nodeSelector": Node::Tree(values("pilot.nodeSelector")),
        if (Condition::set("pilot.affinity")) "affinity": Node::Tree(values("pilot.affinity")),
        if (Condition::set("pilot.tolerations")) "tolerations": Node::Tree(values("pilot.tolerations")),
        if (Condition::set("pilot.topologySpreadConstraints")) "topologySpreadConstraints":
            Node::Tree(values("pilot.topologySpreadConstraints")),
        "securityContext": json!({ "fsGroup": 1337 }),
        "containers": list! { container(), },
    }
}

fn container() -> Node {
    object! {
        "name": "discovery",
        "image": image("pilot.image"),
        if (Condition::set("global.imagePullPolicy")) "imagePullPolicy": Node::Quoted(values("global.imagePullPolicy")),
        "args": json!(["control"]),
        "env": list! {
            object! { "name": "REVISION", "value": revision_label(), },
            field_variable("POD_NAME", "metadata.name"),
            field_variable("POD_NAMESPACE", "metadata.namespace"),
            field_variable("SERVICE_ACCOUNT", "spec.serviceAccountName"),
            object! { "name": "CLUSTER_ID", "value": Node::Quoted(values("global.multiCluster.clusterName")), },
            object! { "name": "DOMAIN_SUFFIX", "value": Node::Quoted(values("global.proxy.clusterDomain")), },
            object! { "name": "MESH_CONFIG_MAP", "value": Node::Text(vec![Piece::Plain("istio"), dash_revision()]), },
            object! {
                "name": "INJECTION_CONFIG_MAP",
                "value": Node::Text(vec![Piece::Plain("istio-sidecar-injector"), dash_revision()]),
            },
            each (values("pilot.env")) object! {
                "name": Node::Quoted(Expr::Local("key", String::new())),
                "value": Node::Quoted(Expr::Local("value", String::new())),
            },
        },
        "ports": json!([
            { "containerPort": 8080, "name": "http-debug", "protocol": "TCP" },
            { "containerPort": 15010, "name": "grpc-xds", "protocol": "TCP" },
            { "containerPort": 15012, "name": "tls-xds", "protocol": "TCP" },
            { "containerPort": 15014, "name": "http-monitoring", "protocol": "TCP" },
            { "containerPort": 15017, "name": "https-webhooks", "protocol": "TCP" },
        ]),
        "readinessProbe": json!({
            "httpGet": { "path": "/ready", "port": 8080 }, "periodSeconds": 1, "timeoutSeconds": 5,
        }),
        if (Condition::set("pilot.resources")) "resources": Node::Tree(values("pilot.resources")),
        "securityContext": restricted(),
    }
}
