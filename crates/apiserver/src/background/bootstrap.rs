//! Objects that every cluster has.

use std::sync::Arc;

use http::StatusCode;
use serde_json::{Value, json};

use crate::authorize;
use crate::context::Context;
use crate::status::{ApiError, Result};
use crate::verbs::{self, Call};

const NAMESPACES: &[&str] = &["default", "kube-system", "kube-public", "kube-node-lease"];

/// Priorities of what a cluster cannot do without, as Kubernetes has them.
const PRIORITIES: [(&str, i64, &str); 2] = [
    (
        "system-cluster-critical",
        2_000_000_000,
        "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
    ),
    (
        "system-node-critical",
        2_000_001_000,
        "Used for system critical pods that must not be moved from their current node.",
    ),
];

/// Makes namespaces, the `kubernetes` service and the roles that users expect, where they are missing.
///
/// # Errors
/// When the store cannot be written.
pub async fn bootstrap(context: &Arc<Context>) -> Result<()> {
    for name in NAMESPACES {
        make(context, "", "v1", "namespaces", "", json!({"metadata": {"name": name}})).await?;
        furnish(context, name).await;
    }
    let labels = json!({"component": "apiserver", "provider": "kubernetes"});
    let spec = json!({
        "clusterIP": "10.96.0.1", "type": "ClusterIP",
        "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": 443}],
    });
    let service = json!({"metadata": {"name": "kubernetes", "labels": labels}, "spec": spec});
    make(context, "", "v1", "services", "default", service).await?;
    for (name, value, text) in PRIORITIES {
        let class = json!({"metadata": {"name": name}, "value": value, "description": text});
        make(context, "scheduling.k8s.io", "v1", "priorityclasses", "", class).await?;
    }
    for role in authorize::default_roles() {
        make(context, authorize::GROUP, "v1", "clusterroles", "", role).await?;
    }
    for binding in authorize::default_bindings() {
        make(context, authorize::GROUP, "v1", "clusterrolebindings", "", binding).await?;
    }
    Ok(())
}

/// Gives a namespace its default service account and the certificate that its pods trust.
pub async fn furnish(context: &Arc<Context>, namespace: &str) {
    let account = json!({"metadata": {"name": "default"}});
    let description = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal \
        endpoints such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across \
        distributions of Kubernetes clusters.";
    let bundle = json!({
        "metadata": {"name": "kube-root-ca.crt", "annotations": {"kubernetes.io/description": description}},
        "data": {"ca.crt": context.pki.ca_pem()},
    });
    for (plural, object) in [("serviceaccounts", account), ("configmaps", bundle)] {
        if let Err(error) = make(context, "", "v1", plural, namespace, object).await
            && error.reason != "Forbidden"
        {
            tracing::warn!(namespace, error = error.message, "cannot furnish a namespace");
        }
    }
}

async fn make(
    context: &Arc<Context>,
    group: &str,
    version: &str,
    plural: &str,
    namespace: &str,
    object: Value,
) -> Result<()> {
    let served =
        context.catalog.snapshot().find(group, version, plural).ok_or_else(ApiError::no_such_resource)?;
    let mut call = Call::internal(context, served, namespace);
    // `create` furnishes namespaces, which creates: the future is boxed to be finite.
    match Box::pin(verbs::create(&mut call, object, None)).await {
        Err(error) if error.code != StatusCode::CONFLICT => Err(error),
        _ => Ok(()),
    }
}
