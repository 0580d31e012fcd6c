//! What several charts share: names, labels, images, security.

use serde_json::json;

use crate::template::{Condition, Entry, Expr, Node, Piece, values};

/// Group of the kinds that a webhook of the mesh validates.
pub const ISTIO_GROUPS: [&str; 5] = [
    "networking.istio.io",
    "security.istio.io",
    "telemetry.istio.io",
    "extensions.istio.io",
    "authentication.istio.io",
];

/// `-<revision>` where the control plane has one.
pub fn dash_revision() -> Piece {
    Piece::When(Condition::set("revision"), vec![Piece::Plain("-"), Piece::Value(values("revision"))])
}

/// `istiod`, or `istiod-<revision>`.
pub fn istiod() -> Node {
    Node::Text(vec![Piece::Plain("istiod"), dash_revision()])
}

/// A name of a cluster's object: the words, the revision, the namespace.
pub fn cluster_name(word: &'static str) -> Node {
    Node::Text(vec![Piece::Plain(word), dash_revision(), Piece::Plain("-"), Piece::Value(Expr::Namespace)])
}

/// The revision as labels have it: `default` where there is none.
pub fn revision_label() -> Node {
    Node::Text(vec![
        Piece::When(Condition::set("revision"), vec![Piece::Value(values("revision"))]),
        Piece::When(Condition::set("revision").negated(), vec![Piece::Plain("default")]),
    ])
}

/// The namespace of the release.
pub fn namespace() -> Node {
    Node::Quoted(Expr::Namespace)
}

/// Labels that every object of a release carries, by which it is found again.
pub fn release_labels(name: &'static str) -> Vec<Entry> {
    let field = |key: &str, node: Node| Entry::Field { key: key.to_owned(), when: None, node };
    vec![
        field("app.kubernetes.io/name", name.into()),
        field("app.kubernetes.io/instance", Node::Quoted(Expr::Release)),
        field("app.kubernetes.io/managed-by", Node::Quoted(Expr::Service)),
        field("app.kubernetes.io/part-of", "istio".into()),
    ]
}

/// A map with more entries behind its own.
pub fn with(first: Node, more: Vec<Entry>) -> Node {
    match first {
        Node::Object(mut entries) => {
            entries.extend(more);
            Node::Object(entries)
        }
        other => other,
    }
}

/// `hub/image:tag`.
pub fn image(name: &str) -> Node {
    Node::Text(vec![
        Piece::Value(values("global.hub")),
        Piece::Plain("/"),
        Piece::Value(values(name)),
        Piece::Plain(":"),
        Piece::Value(values("global.tag")),
    ])
}

/// A field of the pod as an environment variable.
pub fn field_variable(name: &str, path: &str) -> Node {
    json!({ "name": name, "valueFrom": { "fieldRef": { "fieldPath": path } } }).into()
}

/// The container's security context that the `restricted` Pod Security level asks for.
pub fn restricted() -> Node {
    json!({
        "allowPrivilegeEscalation": false,
        "capabilities": { "drop": ["ALL"] },
        "readOnlyRootFilesystem": true,
        "runAsNonRoot": true,
        "runAsUser": 1337,
        "runAsGroup": 1337,
        "seccompProfile": { "type": "RuntimeDefault" },
    })
    .into()
}

/// An autoscaler's only metric: CPU use against the request.
pub fn cpu_metric(target: Expr) -> Node {
    list! { object! {
        "type": "Resource",
        "resource": object! {
            "name": "cpu",
            "target": object! { "type": "Utilization", "averageUtilization": Node::Scalar(target), },
        },
    }, }
}

/// `imagePullSecrets` of a pod or an account: Istio's values hold only the names.
pub fn pull_secrets() -> Node {
    list! { each (values("global.imagePullSecrets")) object! {
        "name": Node::Quoted(Expr::Local("value", String::new())),
    }, }
}
