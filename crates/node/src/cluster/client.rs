//! The cluster as pods see it, over the API.

use std::sync::Arc;

use anyhow::{Context, Result};
use futures::FutureExt;
use futures::future::BoxFuture;
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret, Service, ServiceAccount};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt};
use tokio::sync::watch;

use super::{Catalog, Events};
use crate::pod::{Objects, Severity};

/// API client, watched objects and event writer.
pub(crate) struct Cluster {
    /// Client.
    pub client: Client,
    /// Watched objects.
    pub catalog: Arc<Catalog>,
    /// Event writer.
    pub events: Events,
}

impl Objects for Cluster {
    fn config_map(&self, namespace: &str, name: &str) -> Option<Arc<ConfigMap>> {
        self.catalog.config_map(namespace, name)
    }

    fn secret(&self, namespace: &str, name: &str) -> Option<Arc<Secret>> {
        self.catalog.secret(namespace, name)
    }

    fn services(&self, namespace: &str) -> Vec<Arc<Service>> {
        self.catalog.services().into_iter().filter(|s| s.namespace().as_deref() == Some(namespace)).collect()
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.catalog.config_changes()
    }

    fn token<'a>(
        &'a self,
        pod: &'a Pod,
        audience: Option<&'a str>,
        seconds: i64,
    ) -> BoxFuture<'a, Result<String>> {
        async move {
            let namespace = pod.namespace().unwrap_or_default();
            let account = pod.spec.as_ref().and_then(|s| s.service_account_name.clone());
            let account = account.unwrap_or_else(|| "default".into());
            let request = TokenRequest {
                spec: TokenRequestSpec {
                    audiences: audience.map(str::to_owned).into_iter().collect(),
                    expiration_seconds: Some(seconds),
                    bound_object_ref: Some(BoundObjectReference {
                        api_version: Some("v1".into()),
                        kind: Some("Pod".into()),
                        name: pod.metadata.name.clone(),
                        uid: pod.metadata.uid.clone(),
                    }),
                },
                ..Default::default()
            };
            let api: Api<ServiceAccount> = Api::namespaced(self.client.clone(), &namespace);
            let answer = api
                .create_token_request(&account, &PostParams::default(), &request)
                .await
                .with_context(|| format!("failed to fetch token of serviceaccount {namespace}/{account}"))?;
            Ok(answer.status.context("the API gave no token")?.token)
        }
        .boxed()
    }

    fn annotate(&self, pod: &Pod, key: &'static str, value: String) {
        if pod.annotations().get(key) == Some(&value) {
            return;
        }
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &pod.namespace().unwrap_or_default());
        let name = pod.name_any();
        tokio::spawn(async move {
            let patch = serde_json::json!({"metadata": {"annotations": {key: value}}});
            if let Err(error) = api.patch(&name, &PatchParams::default(), &Patch::Merge(patch)).await {
                tracing::warn!(pod = name, key, %error, "annotation not written");
            }
        });
    }

    fn event(
        &self,
        pod: &Pod,
        container: Option<&str>,
        severity: Severity,
        reason: &'static str,
        message: String,
    ) {
        let spec = pod.spec.as_ref();
        let inits = spec.into_iter().flat_map(|s| s.init_containers.iter().flatten());
        let field = container.map(|name| {
            let list =
                if inits.into_iter().any(|c| c.name == name) { "initContainers" } else { "containers" };
            format!("spec.{list}{{{name}}}")
        });
        self.events.report(pod, field, "kubelet", severity, reason, message);
    }
}
