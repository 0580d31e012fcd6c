//! Waits for what the start depends on, by watching.

use std::time::Duration;

use anyhow::{Context, Result};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::apps::v1::Deployment;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, ResourceExt};

/// How long the control plane and the pods may take before `up` gives up.
const LIMIT: Duration = Duration::from_secs(60);

/// Waits until the control plane has signed the injection webhook: from then on pods are injected.
pub async fn injection(client: &Client) -> Result<()> {
    let api: Api<MutatingWebhookConfiguration> = Api::all(client.clone());
    until(api, "istio-sidecar-injector", "the control plane's webhook", |webhook| {
        let mut hooks = webhook.webhooks.iter().flatten().peekable();
        hooks.peek().is_some() && hooks.all(|hook| hook.client_config.ca_bundle.is_some())
    })
    .await
}

/// Waits until a deployment has all its replicas available.
pub async fn deployment(client: &Client, namespace: &str, name: &str) -> Result<()> {
    let api: Api<Deployment> = Api::namespaced(client.clone(), namespace);
    until(api, name, &format!("deployment {namespace}/{name}"), |deployment| {
        let wanted = deployment.spec.as_ref().and_then(|s| s.replicas).unwrap_or(1);
        let status = deployment.status.as_ref();
        status.is_some_and(|s| {
            s.observed_generation == deployment.metadata.generation
                && s.available_replicas.unwrap_or(0) >= wanted
        })
    })
    .await
}

async fn until<K>(api: Api<K>, name: &str, what: &str, done: impl Fn(&K) -> bool) -> Result<()>
where
    K: kube::Resource + Clone + std::fmt::Debug + Send + serde::de::DeserializeOwned + 'static,
{
    let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let mut objects = watcher(api, config).default_backoff().applied_objects().boxed();
    let wait = async {
        while let Some(object) = objects.try_next().await? {
            if object.name_any() == name && done(&object) {
                return Ok(());
            }
        }
        anyhow::bail!("the watch ended")
    };
    tokio::time::timeout(LIMIT, wait).await.with_context(|| format!("{what} is not ready after {LIMIT:?}"))?
}
