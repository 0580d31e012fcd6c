//! The roles and bindings that every cluster has.
//!
//! Source: Kubernetes, "Default roles and role bindings".

use serde_json::{Value, json};

use super::GROUP;

const READ: [&str; 3] = ["get", "list", "watch"];
const WRITE: [&str; 5] = ["create", "delete", "deletecollection", "patch", "update"];

/// What `view` reads: group and resources. Not secrets: they hold tokens of accounts with more rights.
fn viewed() -> Vec<(&'static str, Vec<&'static str>)> {
    vec![
        (
            "",
            vec![
                "bindings",
                "configmaps",
                "endpoints",
                "events",
                "limitranges",
                "namespaces",
                "namespaces/status",
                "persistentvolumeclaims",
                "persistentvolumeclaims/status",
                "pods",
                "pods/log",
                "pods/status",
                "replicationcontrollers",
                "replicationcontrollers/scale",
                "replicationcontrollers/status",
                "resourcequotas",
                "resourcequotas/status",
                "serviceaccounts",
                "services",
                "services/status",
            ],
        ),
        ("discovery.k8s.io", vec!["endpointslices"]),
        (
            "apps",
            vec![
                "controllerrevisions",
                "daemonsets",
                "daemonsets/status",
                "deployments",
                "deployments/scale",
                "deployments/status",
                "replicasets",
                "replicasets/scale",
                "replicasets/status",
                "statefulsets",
                "statefulsets/scale",
                "statefulsets/status",
            ],
        ),
        ("autoscaling", vec!["horizontalpodautoscalers", "horizontalpodautoscalers/status"]),
        ("batch", vec!["cronjobs", "cronjobs/status", "jobs", "jobs/status"]),
        ("policy", vec!["poddisruptionbudgets", "poddisruptionbudgets/status"]),
        ("networking.k8s.io", vec!["ingresses", "ingresses/status", "networkpolicies"]),
    ]
}

/// What `edit` writes as well.
fn edited() -> Vec<(&'static str, Vec<&'static str>)> {
    vec![
        (
            "",
            vec![
                "configmaps",
                "events",
                "persistentvolumeclaims",
                "pods",
                "pods/attach",
                "pods/eviction",
                "pods/exec",
                "pods/portforward",
                "pods/proxy",
                "replicationcontrollers",
                "replicationcontrollers/scale",
                "secrets",
                "serviceaccounts",
                "serviceaccounts/token",
                "services",
                "services/proxy",
            ],
        ),
        (
            "apps",
            vec![
                "daemonsets",
                "deployments",
                "deployments/rollback",
                "deployments/scale",
                "replicasets",
                "replicasets/scale",
                "statefulsets",
                "statefulsets/scale",
            ],
        ),
        ("autoscaling", vec!["horizontalpodautoscalers"]),
        ("batch", vec!["cronjobs", "jobs"]),
        ("policy", vec!["poddisruptionbudgets"]),
        ("networking.k8s.io", vec!["ingresses", "networkpolicies"]),
        ("coordination.k8s.io", vec!["leases"]),
    ]
}

fn rules(list: Vec<(&'static str, Vec<&'static str>)>, verbs: &[&str]) -> Vec<Value> {
    let rule = |(group, resources)| json!({"apiGroups": [group], "resources": resources, "verbs": verbs});
    list.into_iter().map(rule).collect()
}

/// A role that gathers others by label, its own rules among them.
fn gathered(name: &'static str, of: &[&str]) -> (String, Value, Value) {
    let label = |name: &str| format!("rbac.authorization.k8s.io/aggregate-to-{name}");
    let selectors: Vec<Value> = of.iter().map(|name| json!({"matchLabels": {label(name): "true"}})).collect();
    (name.to_owned(), json!({}), json!({"aggregationRule": {"clusterRoleSelectors": selectors}, "rules": []}))
}

fn gatherable(name: &'static str, into: &[&str], rules: Vec<Value>) -> (String, Value, Value) {
    let labels: serde_json::Map<String, Value> = into
        .iter()
        .map(|name| (format!("rbac.authorization.k8s.io/aggregate-to-{name}"), "true".into()))
        .collect();
    (name.to_owned(), labels.into(), json!({"rules": rules}))
}

fn plain(name: &'static str, rules: Value) -> (String, Value, Value) {
    (name.to_owned(), json!({}), json!({"rules": rules}))
}

/// The cluster roles.
pub fn roles() -> Vec<Value> {
    let mut edit = rules(edited(), &WRITE);
    edit.extend(rules(
        vec![("", vec!["secrets", "pods/exec", "pods/attach", "pods/portforward", "pods/proxy"])],
        &READ,
    ));
    edit.push(json!({"apiGroups": [""], "resources": ["serviceaccounts"], "verbs": ["impersonate"]}));
    let mut admin =
        rules(vec![(GROUP, vec!["rolebindings", "roles"])], &[READ.as_slice(), WRITE.as_slice()].concat());
    admin.push(json!({
        "apiGroups": ["authorization.k8s.io"], "resources": ["localsubjectaccessreviews"], "verbs": ["create"],
    }));
    let public = ["/healthz", "/livez", "/readyz", "/version", "/version/"];
    let discovery =
        [&public[..], &["/", "/api", "/api/*", "/apis", "/apis/*", "/openapi", "/openapi/*"]].concat();
    let everything = json!([
        {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}, {"nonResourceURLs": ["*"], "verbs": ["*"]},
    ]);
    let all = [
        plain("cluster-admin", everything),
        gathered("admin", &["admin", "edit", "view"]),
        gathered("edit", &["edit", "view"]),
        gathered("view", &["view"]),
        gatherable("system:aggregate-to-admin", &["admin"], admin),
        gatherable("system:aggregate-to-edit", &["edit"], edit),
        gatherable("system:aggregate-to-view", &["view"], rules(viewed(), &READ)),
        plain("system:discovery", json!([{"nonResourceURLs": discovery, "verbs": ["get"]}])),
        plain("system:public-info-viewer", json!([{"nonResourceURLs": public, "verbs": ["get"]}])),
        plain(
            "system:basic-user",
            json!([
                {
                    "apiGroups": ["authorization.k8s.io"], "verbs": ["create"],
                    "resources": ["selfsubjectaccessreviews", "selfsubjectrulesreviews"],
                },
                {"apiGroups": ["authentication.k8s.io"], "resources": ["selfsubjectreviews"], "verbs": ["create"]},
            ]),
        ),
        plain(
            "system:service-account-issuer-discovery",
            json!([{
                "nonResourceURLs": ["/.well-known/openid-configuration", "/.well-known/openid-configuration/",
                    "/openid/v1/jwks", "/openid/v1/jwks/"],
                "verbs": ["get"],
            }]),
        ),
        plain(
            "system:auth-delegator",
            json!([
                {"apiGroups": ["authentication.k8s.io"], "resources": ["tokenreviews"], "verbs": ["create"]},
                {"apiGroups": ["authorization.k8s.io"], "resources": ["subjectaccessreviews"], "verbs": ["create"]},
            ]),
        ),
    ];
    all.into_iter().map(|(name, labels, content)| object(&name, labels, content)).collect()
}

fn object(name: &str, mut labels: Value, content: Value) -> Value {
    labels["kubernetes.io/bootstrapping"] = "rbac-defaults".into();
    let annotations = json!({"rbac.authorization.kubernetes.io/autoupdate": "true"});
    let mut object = json!({"metadata": {"name": name, "labels": labels, "annotations": annotations}});
    if let (Some(object), Value::Object(content)) = (object.as_object_mut(), content) {
        object.extend(content);
    }
    object
}

/// The cluster role bindings.
pub fn bindings() -> Vec<Value> {
    let groups: [(&str, &[&str]); 5] = [
        ("cluster-admin", &["system:masters"]),
        ("system:discovery", &["system:authenticated"]),
        ("system:public-info-viewer", &["system:authenticated", "system:unauthenticated"]),
        ("system:basic-user", &["system:authenticated"]),
        ("system:service-account-issuer-discovery", &["system:serviceaccounts"]),
    ];
    let binding = |(name, groups): &(&str, &[&str])| {
        let subjects: Vec<Value> =
            groups.iter().map(|group| json!({"apiGroup": GROUP, "kind": "Group", "name": group})).collect();
        let role = json!({"apiGroup": GROUP, "kind": "ClusterRole", "name": name});
        object(name, json!({}), json!({"roleRef": role, "subjects": subjects}))
    };
    groups.iter().map(binding).collect()
}
