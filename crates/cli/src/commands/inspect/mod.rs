//! Verbs that look into proxies and the control plane: authn, authz, proxy-config, proxy-status. All go through the
//! Kubernetes API (port-forward), so that they work on any cluster.

pub mod authn;
pub mod authz;
mod dump;
mod forward;
pub mod proxy_config;
pub mod proxy_status;
mod table;

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::ListParams;
use serde_json::Value;

use super::resources::Session;

/// The port of a proxy's administration.
const ADMIN: u16 = 15000;

/// The port of the control plane's debug pages.
const DEBUG: u16 = 15014;

/// A pod by `NAME`, `NAME.NAMESPACE`, or `deploy/NAME` (one of its pods).
async fn pod(session: &Session, text: &str) -> Result<(String, String)> {
    if let Some((kind, name)) = text.split_once('/') {
        if !matches!(kind, "deploy" | "deployment" | "deployments") {
            bail!("{text:?}: name a pod, or a deployment as deploy/NAME");
        }
        let pods = Api::<Pod>::namespaced(session.client.clone(), &session.namespace);
        let list = pods.list(&ListParams::default()).await?;
        let owned = |pod: &Pod| {
            let names = pod.metadata.name.as_deref().and_then(|n| n.strip_prefix(name)?.strip_prefix('-'));
            names.is_some_and(|rest| rest.matches('-').count() == 1)
        };
        let found = list.items.into_iter().find(owned).and_then(|pod| pod.metadata.name);
        let found = found.with_context(|| format!("no pod of {text} in namespace {}", session.namespace))?;
        return Ok((found, session.namespace.clone()));
    }
    Ok(match text.rsplit_once('.') {
        Some((name, namespace)) => (name.to_owned(), namespace.to_owned()),
        None => (text.to_owned(), session.namespace.clone()),
    })
}

/// A page of a proxy's administration, as JSON.
async fn admin(session: &Session, text: &str, path: &str) -> Result<Value> {
    let (name, namespace) = pod(session, text).await?;
    let body = forward::get(session, &namespace, &name, ADMIN, path).await?;
    serde_json::from_slice(&body)
        .with_context(|| format!("{name}.{namespace} answered {path} with what is no JSON"))
}

/// A debug page of the control plane, as JSON.
async fn debug(session: &Session, root_namespace: &str, path: &str) -> Result<Value> {
    let pods = Api::<Pod>::namespaced(session.client.clone(), root_namespace);
    let list = pods.list(&ListParams::default().labels("app=istiod")).await?;
    let running = |pod: &&Pod| pod.status.as_ref().and_then(|s| s.phase.as_deref()) == Some("Running");
    let name = list.items.iter().find(running).and_then(|pod| pod.metadata.name.clone());
    let name = name.with_context(|| {
        format!(
            "no pod of istiod (label app=istiod) runs in {root_namespace}; --istioNamespace names another"
        )
    })?;
    let body = forward::get(session, root_namespace, &name, DEBUG, path).await?;
    serde_json::from_slice(&body).with_context(|| format!("istiod answered {path} with what is no JSON"))
}
