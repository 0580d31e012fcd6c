use serde_json::json;

use crate::charts::common::{
    ISTIO_GROUPS, cluster_name, dash_revision, istiod, namespace, release_labels, revision_label, with,
};
use crate::template::{Condition, Document, Expr, Item, Node, Piece, values};

fn metadata(name: Node, app: &'static str) -> Node {
    object! {
        "name": name,
        "labels": with(object! { "app": app, "istio.io/rev": revision_label(), }, release_labels("istiod")),
    }
}

fn client(path: &'static str) -> Node {
    object! { "service": object! {
        "name": istiod(), "namespace": namespace(), "path": path, "port": 443,
    }, }
}

/// Which pods the injector sees, as Istio has it: by revision or by `istio-injection`, on the namespace or on the pod.
/// Namespaces without any of these labels are never concerned, so that a control plane that is down disturbs nobody else.
pub fn injection() -> Document {
    let default = || Condition::set("revision").negated();
    let everywhere =
        Condition::All(vec![default(), Condition::set("sidecarInjectorWebhook.enableNamespacesByDefault")]);
    let revision = || list! { revision_label(), };
    let hooks = vec![
        one(
            None,
            hook(
                "rev.namespace.sidecar-injector.istio.io",
                list! { expression("istio.io/rev", "In", Some(revision())), expression("istio-injection", "DoesNotExist", None), },
                list! { expression("sidecar.istio.io/inject", "NotIn", Some(list! { "false", })), },
            ),
        ),
        one(
            None,
            hook(
                "rev.object.sidecar-injector.istio.io",
                list! { expression("istio.io/rev", "DoesNotExist", None), expression("istio-injection", "DoesNotExist", None), },
                list! {
                    expression("sidecar.istio.io/inject", "NotIn", Some(list! { "false", })),
                    expression("istio.io/rev", "In", Some(revision())),
                },
            ),
        ),
        one(
            Some(default()),
            hook(
                "namespace.sidecar-injector.istio.io",
                list! { expression("istio-injection", "In", Some(list! { "enabled", })), },
                list! { expression("sidecar.istio.io/inject", "NotIn", Some(list! { "false", })), },
            ),
        ),
        one(
            Some(default()),
            hook(
                "object.sidecar-injector.istio.io",
                list! { expression("istio-injection", "DoesNotExist", None), expression("istio.io/rev", "DoesNotExist", None), },
                list! {
                    expression("sidecar.istio.io/inject", "In", Some(list! { "true", })),
                    expression("istio.io/rev", "DoesNotExist", None),
                },
            ),
        ),
        one(
            Some(everywhere),
            hook(
                "auto.sidecar-injector.istio.io",
                list! {
                    expression("istio-injection", "DoesNotExist", None),
                    expression("istio.io/rev", "DoesNotExist", None),
                    expression("kubernetes.io/metadata.name", "NotIn",
                        Some(list! { "kube-system", "kube-public", "kube-node-lease", "local-path-storage", namespace(), })),
                },
                list! {
                    expression("sidecar.istio.io/inject", "DoesNotExist", None),
                    expression("istio.io/rev", "DoesNotExist", None),
                },
            ),
        ),
    ];
    let name = Node::Text(vec![
        Piece::Plain("istio-sidecar-injector"),
        dash_revision(),
        Piece::When(
            Condition::Is(Expr::Namespace, "istio-system").negated(),
            vec![Piece::Plain("-"), Piece::Value(Expr::Namespace)],
        ),
    ]);
    Document::when(
        Condition::set("global.operatorManageWebhooks").negated(),
        object! {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "MutatingWebhookConfiguration",
            "metadata": metadata(name, "sidecar-injector"),
            "webhooks": Node::List(hooks),
        },
    )
}

fn one(when: Option<Condition>, node: Node) -> Item {
    Item::One { when, node }
}

fn expression(key: &'static str, operator: &'static str, values: Option<Node>) -> Node {
    let entries = object! { "key": key, "operator": operator, };
    let more = values.map(|node| crate::template::Entry::Field { key: "values".into(), when: None, node });
    with(entries, more.into_iter().collect())
}

fn hook(name: &'static str, namespaces: Node, pods: Node) -> Node {
    object! {
        "name": name,
        "admissionReviewVersions": json!(["v1"]),
        // An event tells of pods that cannot be injected; a dry run makes none.
        "sideEffects": "NoneOnDryRun",
        "failurePolicy": "Fail",
        "reinvocationPolicy": Node::Quoted(values("sidecarInjectorWebhook.reinvocationPolicy")),
        "clientConfig": client("/inject"),
        "namespaceSelector": object! { "matchExpressions": namespaces, },
        "objectSelector": object! { "matchExpressions": pods, },
        "rules": json!([
            { "operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"] },
        ]),
    }
}

/// What the validating webhooks see.
pub fn validated() -> Node {
    json!([{
        "operations": ["CREATE", "UPDATE"],
        "apiGroups": ISTIO_GROUPS,
        "apiVersions": ["*"],
        "resources": ["*"],
    }])
    .into()
}

/// Checks resources of this revision. It lets everything pass until the control plane closes it.
pub fn validation() -> Document {
    Document::when(
        Condition::set("global.configValidation"),
        object! {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingWebhookConfiguration",
            "metadata": metadata(cluster_name("istio-validator"), "istiod"),
            "webhooks": list! { object! {
                "name": "rev.validation.istio.io",
                "admissionReviewVersions": json!(["v1"]),
                "sideEffects": "None",
                "failurePolicy": "Ignore",
                "clientConfig": client("/validate"),
                "objectSelector": object! {
                    "matchExpressions": list! { expression("istio.io/rev", "In", Some(list! { revision_label(), })), },
                },
                "rules": validated(),
            }, },
        },
    )
}
