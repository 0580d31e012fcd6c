use serde_json::json;

use super::fields::{Fields, gateway, name};
use super::service::{labels, selector};
use crate::charts::XDS_ADDRESS_END;
use crate::charts::common::{
    dash_revision, field_variable, image, namespace, pull_secrets, restricted, revision_label, with,
};
use crate::template::{Condition, Document, Entry, Expr, Node, Piece, values};

fn account_name() -> Node {
    Node::Text(vec![Piece::Value(name()), Piece::Plain("-service-account")])
}

/// The Deployment's name; with the revision behind it where revisions stand side by side behind one Service.
pub fn deployment_name(fields: &Fields) -> Node {
    let mut pieces = vec![Piece::Value(name())];
    if !fields.beside {
        pieces.push(Piece::When(Condition::set("perRevision"), vec![dash_revision()]));
    }
    Node::Text(pieces)
}

/// The gateway's account, its identity in the mesh.
pub fn account(_: &Fields) -> Document {
    Document::always(object! {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        if (Condition::set("global.imagePullSecrets")) "imagePullSecrets": pull_secrets(),
        "metadata": object! { "name": account_name(), "namespace": namespace(), "labels": labels(), },
    })
}

/// The gateway itself.
pub fn deployment(fields: &Fields) -> Document {
    let mut selected = selector();
    if !fields.beside {
        let revision = Entry::Field {
            key: "istio.io/rev".into(),
            when: Some(Condition::set("perRevision")),
            node: revision_label(),
        };
        selected = with(selected, vec![revision]);
    }
    let set = |path: &str| Condition::Set(gateway(path));
    Document::always(object! {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": object! { "name": deployment_name(fields), "namespace": namespace(), "labels": labels(), },
        "spec": object! {
            if (Condition::Set(fields.autoscale()).negated()) "replicas": Node::Scalar(gateway("replicaCount")),
            "strategy": json!({ "rollingUpdate": { "maxSurge": "100%", "maxUnavailable": "25%" } }),
            "selector": object! { "matchLabels": selected, },
            "template": object! {
                "metadata": object! {
                    "labels": pod_labels(),
                    "annotations": with(
                        json!({
                            "prometheus.io/path": "/stats/prometheus",
                            "prometheus.io/port": "15020",
                            "prometheus.io/scrape": "true",
                        }).into(),
                        vec![Entry::Spread(gateway("podAnnotations"))],
                    ),
                },
                "spec": object! {
                    "serviceAccountName": account_name(),
                    "terminationGracePeriodSeconds": Node::Scalar(gateway("terminationGracePeriodSeconds")),
                    if (set("nodeSelector")) "nodeSelector": Node::Tree(gateway("nodeSelector")),
                    if (set("affinity")) "affinity": Node::Tree(gateway("affinity")),
                    if (set("tolerations")) "tolerations": Node::Tree(gateway("tolerations")),
                    if (set("topologySpreadConstraints")) "topologySpreadConstraints":
                        Node::Tree(gateway("topologySpreadConstraints")),
                    "containers": list! { container(fields), },
                    "volumes": volumes(),
                },
            },
        },
    })
}

fn pod_labels() -> Node {
    let first = object! {
        "sidecar.istio.io/inject": "false",
        "istio.io/rev": revision_label(),
        "service.istio.io/canonical-name": Node::Quoted(name()),
        "service.istio.io/canonical-revision": "latest",
    };
    let Node::Object(mut entries) = labels() else { return first };
    let position = entries.len().saturating_sub(1);
    if let Node::Object(own) = first {
        entries.splice(position..position, own);
    }
    Node::Object(entries)
}

fn container(fields: &Fields) -> Node {
    object! {
        "name": "istio-proxy",
        "image": image("global.proxy.image"),
        if (Condition::set("global.imagePullPolicy")) "imagePullPolicy": Node::Quoted(values("global.imagePullPolicy")),
        "args": list! {
            "agent", "router", "--domain",
            Node::Text(vec![Piece::Plain("$(POD_NAMESPACE).svc."), Piece::Value(values("global.proxy.clusterDomain"))]),
            Node::Text(vec![Piece::Plain("--proxyLogLevel="), Piece::Value(values("global.proxy.logLevel"))]),
            Node::Text(vec![
                Piece::Plain("--discoveryAddress="),
                Piece::Plain("istiod"),
                dash_revision(),
                Piece::Plain("."),
                Piece::Value(fields.control_plane()),
                Piece::Plain(XDS_ADDRESS_END),
            ]),
        },
        "env": environment(fields),
        "ports": json!([
            { "containerPort": 15021, "name": "status-port", "protocol": "TCP" },
            { "containerPort": 8080, "name": "http2", "protocol": "TCP" },
            { "containerPort": 8443, "name": "https", "protocol": "TCP" },
            { "containerPort": 15090, "name": "http-envoy-prom", "protocol": "TCP" },
        ]),
        "startupProbe": json!({
            "httpGet": { "path": "/healthz/ready", "port": 15021 },
            "failureThreshold": 600, "periodSeconds": 1, "timeoutSeconds": 3,
        }),
        "readinessProbe": json!({
            "httpGet": { "path": "/healthz/ready", "port": 15021 },
            "failureThreshold": 4, "periodSeconds": 5, "timeoutSeconds": 3,
        }),
        if (Condition::Set(gateway("resources"))) "resources": Node::Tree(gateway("resources")),
        "securityContext": restricted(),
        "volumeMounts": json!([
            { "name": "workload-socket", "mountPath": "/var/run/secrets/workload-spiffe-uds" },
            { "name": "credential-socket", "mountPath": "/var/run/secrets/credential-uds" },
            { "name": "workload-certs", "mountPath": "/var/run/secrets/workload-spiffe-credentials" },
            { "name": "istiod-ca-cert", "mountPath": "/var/run/secrets/istio" },
            { "name": "istio-token", "mountPath": "/var/run/secrets/tokens", "readOnly": true },
            { "name": "istio-envoy", "mountPath": "/etc/istio/proxy" },
            { "name": "istio-data", "mountPath": "/var/lib/istio/data" },
            { "name": "podinfo", "mountPath": "/etc/istio/pod" },
        ]),
    }
}

fn environment(fields: &Fields) -> Node {
    let owner = vec![
        Piece::Plain("kubernetes://apis/apps/v1/namespaces/"),
        Piece::Value(Expr::Namespace),
        Piece::Plain("/deployments/"),
        Piece::Value(name()),
    ];
    list! {
        field_variable("POD_NAME", "metadata.name"),
        field_variable("POD_NAMESPACE", "metadata.namespace"),
        field_variable("INSTANCE_IP", "status.podIP"),
        field_variable("HOST_IP", "status.hostIP"),
        field_variable("SERVICE_ACCOUNT", "spec.serviceAccountName"),
        field_variable("ISTIO_META_NODE_NAME", "spec.nodeName"),
        object! { "name": "PILOT_CERT_PROVIDER", "value": "istiod", },
        object! { "name": "JWT_POLICY", "value": "third-party-jwt", },
        object! {
            "name": "CA_ADDR",
            "value": Node::Text(vec![
                Piece::Plain("istiod"), dash_revision(), Piece::Plain("."), Piece::Value(fields.control_plane()),
                Piece::Plain(XDS_ADDRESS_END),
            ]),
        },
        object! { "name": "PROXY_CONFIG", "value": Node::JsonText(fields.proxy_config()), },
        object! { "name": "ISTIO_META_CLUSTER_ID", "value": Node::Quoted(values("global.multiCluster.clusterName")), },
        object! { "name": "ISTIO_META_WORKLOAD_NAME", "value": Node::Quoted(name()), },
        object! { "name": "ISTIO_META_OWNER", "value": Node::Text(owner), },
        object! { "name": "ISTIO_META_MESH_ID", "value": mesh_id(fields), },
        object! { "name": "TRUST_DOMAIN", "value": trust_domain(fields), },
        if (Condition::set("global.network")) object! {
            "name": "ISTIO_META_NETWORK", "value": Node::Quoted(values("global.network")),
        },
        each (gateway("env")) object! {
            "name": Node::Quoted(Expr::Local("key", String::new())),
            "value": Node::Quoted(Expr::Local("value", String::new())),
        },
    }
}

fn trust_domain(fields: &Fields) -> Node {
    let path = if fields.beside { "meshConfig.trustDomain" } else { "global.trustDomain" };
    Node::Quoted(values(path))
}

/// The mesh's name: its trust domain unless it has one of its own.
fn mesh_id(fields: &Fields) -> Node {
    let domain = if fields.beside { "meshConfig.trustDomain" } else { "global.trustDomain" };
    Node::Text(vec![
        Piece::When(Condition::set("global.meshID"), vec![Piece::Value(values("global.meshID"))]),
        Piece::When(Condition::set("global.meshID").negated(), vec![Piece::Value(values(domain))]),
    ])
}

/// What the agent finds beside the proxy, as in an injected pod.
fn volumes() -> Node {
    json!([
        { "name": "workload-socket", "emptyDir": {} },
        { "name": "credential-socket", "emptyDir": {} },
        { "name": "workload-certs", "emptyDir": {} },
        // Not optional: the pod waits for it, where an empty volume would only be filled a minute later.
        { "name": "istiod-ca-cert", "configMap": { "name": "istio-ca-root-cert" } },
        {
            "name": "istio-token",
            "projected": { "sources": [{ "serviceAccountToken": {
                "audience": "istio-ca", "expirationSeconds": 43200, "path": "istio-token",
            } }] },
        },
        { "name": "istio-envoy", "emptyDir": {} },
        { "name": "istio-data", "emptyDir": {} },
        { "name": "podinfo", "downwardAPI": { "items": [
            { "path": "labels", "fieldRef": { "fieldPath": "metadata.labels" } },
            { "path": "annotations", "fieldRef": { "fieldPath": "metadata.annotations" } },
        ] } },
    ])
    .into()
}
