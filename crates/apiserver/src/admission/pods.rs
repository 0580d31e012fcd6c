//! The ServiceAccount plugin: every pod runs as a service account and gets its token, as on a cluster.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::context::Context;
use crate::object;
use crate::status::{ApiError, Result};
use crate::tokens::{Claims, ISSUER};

const MOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// As Kubernetes: an hour and seven seconds, by which its own tokens are told from others.
const SECONDS: i64 = 3607;
/// Tokens in Secrets are meant to last.
const LONG: i64 = 10 * 365 * 24 * 3600;

/// Names the pod's service account and mounts its token.
///
/// # Errors
/// 403 when the account does not exist.
pub fn inject_account(context: &Context, namespace: &str, pod: &mut Value) -> Result<()> {
    let name = object::name(pod).to_owned();
    let spec = object::map_mut(pod, &["spec"]);
    object::default(spec, "serviceAccountName", "default");
    if spec.get("serviceAccountName").and_then(Value::as_str) == Some("") {
        spec.insert("serviceAccountName".into(), "default".into());
    }
    let account_name = spec.get("serviceAccountName").and_then(Value::as_str).unwrap_or_default().to_owned();
    spec.insert("serviceAccount".into(), account_name.as_str().into());
    let Some(account) = context.get("/serviceaccounts", namespace, &account_name) else {
        let why = format!(
            "error looking up service account {namespace}/{account_name}: serviceaccount \"{account_name}\" not found"
        );
        return Err(ApiError::forbidden("", "pods", &name, &why));
    };
    let own = spec.get("automountServiceAccountToken").and_then(Value::as_bool);
    let wanted =
        own.or_else(|| account.get("automountServiceAccountToken").and_then(Value::as_bool)).unwrap_or(true);
    if wanted {
        mount(pod);
    }
    Ok(())
}

fn mount(pod: &mut Value) {
    let volume = crate::verbs::prepare::generate("kube-api-access-");
    let mut used = false;
    for list in ["initContainers", "containers"] {
        let containers = pod.pointer_mut(&format!("/spec/{list}")).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten() {
            let mounted = object::list(container, &["volumeMounts"]);
            if mounted.iter().any(|m| object::text(m, &["mountPath"]) == MOUNT) {
                continue;
            }
            let Some(container) = container.as_object_mut() else { continue };
            let mounts = container.entry("volumeMounts").or_insert_with(|| json!([]));
            if let Some(mounts) = mounts.as_array_mut() {
                mounts.push(json!({"name": volume, "readOnly": true, "mountPath": MOUNT}));
                used = true;
            }
        }
    }
    if !used {
        return;
    }
    let namespace =
        json!({"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}});
    let sources = json!([
        {"serviceAccountToken": {"expirationSeconds": SECONDS, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [namespace]}},
    ]);
    let volumes = object::map_mut(pod, &["spec"]).entry("volumes").or_insert_with(|| json!([]));
    if let Some(volumes) = volumes.as_array_mut() {
        volumes.push(json!({"name": volume, "projected": {"sources": sources, "defaultMode": 0o644}}));
    }
}

/// The DefaultTolerationSeconds plugin: a pod stays five minutes on a node that does not answer.
pub fn tolerate_short_outages(pod: &mut Value) {
    let spec = object::map_mut(pod, &["spec"]);
    let tolerations = spec.entry("tolerations").or_insert_with(|| json!([]));
    let Some(tolerations) = tolerations.as_array_mut() else { return };
    for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
        let covers = |toleration: &Value| {
            matches!(object::text(toleration, &["key"]), "" | "*")
                && object::text(toleration, &["operator"]) == "Exists"
                || object::text(toleration, &["key"]) == key
        };
        let concerns = |toleration: &Value| matches!(object::text(toleration, &["effect"]), "" | "NoExecute");
        if !tolerations.iter().any(|toleration| covers(toleration) && concerns(toleration)) {
            tolerations.push(
                json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}),
            );
        }
    }
}

/// Puts the token of its account into a Secret that was made for one.
pub fn fill_token_secret(context: &Context, secret: &mut Value) {
    if object::text(secret, &["type"]) != "kubernetes.io/service-account-token" {
        return;
    }
    let namespace = object::namespace(secret).to_owned();
    let name =
        object::text(secret, &["metadata", "annotations", "kubernetes.io/service-account.name"]).to_owned();
    let Some(account) = context.get("/serviceaccounts", &namespace, &name) else { return };
    let uid = object::meta(&account, "uid").to_owned();
    let claims = Claims {
        namespace: namespace.clone(),
        name,
        uid: uid.clone(),
        audiences: vec![ISSUER.into()],
        pod: None,
    };
    let (token, _) = context.tokens.sign(&claims, LONG);
    let annotations = object::map_mut(secret, &["metadata", "annotations"]);
    annotations.insert("kubernetes.io/service-account.uid".into(), uid.into());
    let data = object::map_mut(secret, &["data"]);
    data.insert("token".into(), STANDARD.encode(token).into());
    data.insert("namespace".into(), STANDARD.encode(namespace).into());
    data.insert("ca.crt".into(), STANDARD.encode(context.pki.ca_pem()).into());
}
