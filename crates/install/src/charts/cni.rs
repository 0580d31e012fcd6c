//! The chart `cni`: the CNI plugin's agent on every node.

use serde_json::json;

use super::common::{field_variable, image, namespace, pull_secrets, release_labels, with};
use crate::template::{Condition, Document, Entry, Expr, Node, Piece, Template, values};

const NAME: &str = "istio-cni";
const DAEMON_SET: &str = "istio-cni-node";

/// The chart's templates by file name.
pub fn templates() -> Vec<(&'static str, Template)> {
    vec![
        ("rbac.yaml", Template::Once(rights(None))),
        ("daemonset.yaml", Template::Once(vec![document(None, daemon_set())])),
    ]
}

/// The template of the chart `istio`, where the plugin is there if it is enabled.
pub fn beside_the_control_plane() -> (&'static str, Template) {
    let enabled = Condition::set("cni.enabled");
    let mut documents = rights(Some(&enabled));
    documents.push(document(Some(&enabled), daemon_set()));
    ("cni.yaml", Template::Once(documents))
}

fn document(when: Option<&Condition>, node: Node) -> Document {
    Document { when: when.cloned(), node }
}

fn labels() -> Node {
    with(json!({ "app": DAEMON_SET, "k8s-app": DAEMON_SET }).into(), release_labels(NAME))
}

fn cluster_name() -> Node {
    Node::Text(vec![Piece::Plain("istio-cni-"), Piece::Value(Expr::Namespace)])
}

/// Reads pods, mends them in the way that is asked for, and tells of it. In its own namespace it looks whether its
/// DaemonSet goes on, so that the plugin stays when only a pod of it ends.
fn rights(when: Option<&Condition>) -> Vec<Document> {
    let subjects =
        || list! { object! { "kind": "ServiceAccount", "name": NAME, "namespace": namespace(), }, };
    let repair =
        |mode: &str| Condition::All(vec![Condition::set("cni.repair.enabled"), Condition::set(mode)]);
    let role_ref = |kind: &'static str, name: Node| {
        object! { "apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name, }
    };
    let object = |kind: &'static str, metadata: Node, more: Vec<Entry>| {
        let first =
            object! { "apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "metadata": metadata, };
        document(when, with(first, more))
    };
    let field = |key: &str, node: Node| Entry::Field { key: key.to_owned(), when: None, node };
    let cluster = || object! { "name": cluster_name(), "labels": labels(), };
    let own = || object! { "name": NAME, "namespace": namespace(), "labels": labels(), };
    let rules = list! {
        json!({ "apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"] }),
        json!({ "apiGroups": ["", "events.k8s.io"], "resources": ["events"], "verbs": ["create", "patch"] }),
        if (repair("cni.repair.deletePods")) json!({ "apiGroups": [""], "resources": ["pods"], "verbs": ["delete"] }),
        if (repair("cni.repair.labelPods"))
            json!({ "apiGroups": [""], "resources": ["pods/status"], "verbs": ["patch"] }),
    };
    let own_rules = json!([
        { "apiGroups": ["apps"], "resources": ["daemonsets"], "resourceNames": [DAEMON_SET], "verbs": ["get"] },
    ]);
    vec![
        document(
            when,
            object! {
                "apiVersion": "v1",
                "kind": "ServiceAccount",
                if (Condition::set("global.imagePullSecrets")) "imagePullSecrets": pull_secrets(),
                "metadata": own(),
            },
        ),
        object("ClusterRole", cluster(), vec![field("rules", rules)]),
        object(
            "ClusterRoleBinding",
            cluster(),
            vec![field("roleRef", role_ref("ClusterRole", cluster_name())), field("subjects", subjects())],
        ),
        object("Role", own(), vec![field("rules", own_rules.into())]),
        object(
            "RoleBinding",
            own(),
            vec![field("roleRef", role_ref("Role", NAME.into())), field("subjects", subjects())],
        ),
    ]
}

fn daemon_set() -> Node {
    let set = Condition::set;
    object! {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": object! { "name": DAEMON_SET, "namespace": namespace(), "labels": labels(), },
        "spec": object! {
            "selector": json!({ "matchLabels": { "k8s-app": DAEMON_SET } }),
            "updateStrategy": json!({ "type": "RollingUpdate", "rollingUpdate": { "maxUnavailable": 1 } }),
            "template": object! {
                "metadata": object! {
                    "labels": with(
                        with(labels(), vec![Entry::Field {
                            key: "sidecar.istio.io/inject".into(), when: None, node: "false".into(),
                        }]),
                        vec![Entry::Spread(values("cni.podLabels"))],
                    ),
                    if (set("cni.podAnnotations")) "annotations": Node::Tree(values("cni.podAnnotations")),
                },
                "spec": object! {
                    "serviceAccountName": NAME,
                    "priorityClassName": "system-node-critical",
                    "terminationGracePeriodSeconds": 15,
                    if (set("cni.nodeSelector")) "nodeSelector": Node::Tree(values("cni.nodeSelector")),
                    if (set("cni.affinity")) "affinity": Node::Tree(values("cni.affinity")),
                    if (set("cni.tolerations")) "tolerations": Node::Tree(values("cni.tolerations")),
                    "containers": list! { container(), },
                    "volumes": list! {
                        host_path("cni-bin-dir", Node::Quoted(values("cni.cniBinDir"))),
                        host_path("cni-net-dir", Node::Quoted(values("cni.cniConfDir"))),
                        host_path("host-proc", "/proc".into()),
                    },
                },
            },
        },
    }
}

fn host_path(name: &'static str, path: Node) -> Node {
    object! { "name": name, "hostPath": object! { "path": path, }, }
}

/// Root, for the node's folders; SYS_ADMIN and SYS_PTRACE to enter the network of a pod that is mended, NET_ADMIN and
/// NET_RAW to capture there.
fn container() -> Node {
    object! {
        "name": "install-cni",
        "image": image("cni.image"),
        if (Condition::set("global.imagePullPolicy")) "imagePullPolicy": Node::Quoted(values("global.imagePullPolicy")),
        "args": arguments("install"),
        "env": list! {
            field_variable("NODE_NAME", "spec.nodeName"),
            field_variable("POD_NAMESPACE", "metadata.namespace"),
        },
        "readinessProbe": object! {
            "exec": object! { "command": program(arguments("ready")), },
            "initialDelaySeconds": 1,
            "periodSeconds": 5,
            "timeoutSeconds": 5,
        },
        if (Condition::set("cni.resources")) "resources": Node::Tree(values("cni.resources")),
        "securityContext": json!({
            "allowPrivilegeEscalation": false,
            "capabilities": { "drop": ["ALL"], "add": ["NET_ADMIN", "NET_RAW", "SYS_ADMIN", "SYS_PTRACE"] },
            "privileged": false,
            "readOnlyRootFilesystem": true,
            "runAsGroup": 0,
            "runAsNonRoot": false,
            "runAsUser": 0,
        }),
        "volumeMounts": json!([
            { "name": "cni-bin-dir", "mountPath": "/host/opt/cni/bin" },
            { "name": "cni-net-dir", "mountPath": "/host/etc/cni/net.d" },
            { "name": "host-proc", "mountPath": "/host/proc", "readOnly": true },
        ]),
    }
}

/// The probe asks the same program with the same arguments.
fn program(arguments: Node) -> Node {
    let Node::List(mut items) = arguments else { return arguments };
    items.insert(0, crate::template::Item::One { when: None, node: "/usr/local/bin/lateen".into() });
    Node::List(items)
}

fn arguments(verb: &'static str) -> Node {
    let flag = |name: &'static str, value: Expr| Node::Text(vec![Piece::Plain(name), Piece::Value(value)]);
    let repair =
        |mode: &str| Condition::All(vec![Condition::set("cni.repair.enabled"), Condition::set(mode)]);
    list! {
        "cni", verb,
        flag("--net-dir=", values("cni.cniConfDir")),
        if (Condition::set("cni.cniConfFileName")) flag("--conf-name=", values("cni.cniConfFileName")),
        if (Condition::set("cni.chained").negated()) "--unchained",
        flag("--exclude-namespaces=", Expr::Namespace),
        each (values("cni.excludeNamespaces")) flag("--exclude-namespaces=", Expr::Local("value", String::new())),
        if (repair("cni.repair.repairPods")) "--repair-pods",
        if (repair("cni.repair.deletePods")) "--repair-delete-pods",
        if (repair("cni.repair.labelPods")) "--repair-label-pods",
        flag("--broken-pod-label-key=", values("cni.repair.brokenPodLabelKey")),
        flag("--broken-pod-label-value=", values("cni.repair.brokenPodLabelValue")),
    }
}
