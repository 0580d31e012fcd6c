use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};
use lateen_inject::{InjectConfig, Target, admission_patch};

use super::notice;
use super::review::{Answer, Request};
use crate::hub::Hub;
use crate::metrics::{Injection, Metrics};
use crate::source::{self, Namespaces};

/// How long to wait for the API's word on a namespace before the last known labels decide.
const PATIENCE: Duration = Duration::from_secs(2);

/// The revision tags of a revision: they stand on the webhooks that `istioctl tag set` makes. Asked for at the moment of
/// use, since a pod may be made right after its tag.
async fn tags(client: &Client, revision: &str) -> Vec<String> {
    let api: Api<MutatingWebhookConfiguration> = Api::all(client.clone());
    let ours = ListParams::default().labels(&format!("istio.io/tag,istio.io/rev={revision}"));
    match tokio::time::timeout(PATIENCE, api.list(&ours)).await {
        Ok(Ok(list)) => {
            list.items.iter().filter_map(|webhook| webhook.labels().get("istio.io/tag").cloned()).collect()
        }
        Ok(Err(error)) => {
            tracing::warn!(%error, "cannot read the revision tags");
            Vec::new()
        }
        Err(_) => {
            tracing::warn!("cannot read the revision tags: the API does not answer");
            Vec::new()
        }
    }
}

/// Injects sidecars into pods that are being created.
#[derive(Clone)]
pub struct Injector {
    /// How pods are injected.
    pub config: source::Injection,
    /// The mesh, for its ProxyConfigs.
    pub hub: Arc<Hub>,
    /// The last known labels of namespaces.
    pub namespaces: Namespaces,
    /// The API to ask for a namespace's labels now: a watch may be a moment behind.
    pub client: Option<Client>,
}

impl Injector {
    pub(super) async fn inject(&self, request: &Request, metrics: &Metrics) -> Answer {
        let namespace = match (request.namespace.as_str(), request.object.pointer("/metadata/namespace")) {
            ("", Some(namespace)) => namespace.as_str().unwrap_or_default(),
            (namespace, _) => namespace,
        };
        let labels = self.labels(namespace).await;
        let target = Target { namespace, namespace_labels: Some(&labels) };
        let config = self.config_for(request, &labels).await;
        let name = request
            .object
            .pointer("/metadata/name")
            .or_else(|| request.object.pointer("/metadata/generateName"));
        let pod = name.and_then(|name| name.as_str()).unwrap_or_default();
        let (decision, patch) = match admission_patch(&request.object, &target, &config) {
            Ok(done) => done,
            Err(error) => {
                metrics.on_injection(Injection::Failed);
                tracing::warn!(namespace, pod, %error, "cannot inject the sidecar");
                return Answer::refuse(format!("cannot inject the sidecar: {error}"), Vec::new());
            }
        };
        tracing::info!(namespace, pod, injected = decision.inject, reason = decision.reason, "injection");
        let Some(patch) = patch else {
            metrics.on_injection(Injection::Skipped);
            if let Some(client) = self.client.clone().filter(|_| decision.impossible && !request.dry_run) {
                notice::spawn(client, namespace, &request.object, decision.reason);
            }
            return Answer::allow();
        };
        match Answer::patch(&patch) {
            Ok(answer) => {
                metrics.on_injection(Injection::Injected);
                answer
            }
            Err(error) => {
                metrics.on_injection(Injection::Failed);
                Answer::refuse(format!("cannot write the patch: {error}"), Vec::new())
            }
        }
    }

    /// The settings of the moment, with the cluster's ProxyConfigs.
    fn config(&self) -> InjectConfig {
        let proxy_configs = self.hub.mesh().proxy_configs.clone();
        InjectConfig { proxy_configs, ..(*self.config.config()).clone() }
    }

    /// The settings for a request, with the revision tags that lead here if the labels name another revision than ours.
    async fn config_for(&self, request: &Request, labels: &BTreeMap<String, String>) -> InjectConfig {
        let mut config = self.config();
        let pod = request.object.pointer("/metadata/labels/istio.io~1rev").and_then(|label| label.as_str());
        let named = labels.get("istio.io/rev").map(String::as_str).or(pod);
        let own = if config.revision.is_empty() { "default" } else { &config.revision };
        if named.is_some_and(|named| named == own) || (named.is_none() && own == "default") {
            return config;
        }
        if let Some(client) = &self.client {
            config.tags = tags(client, own).await;
        }
        config
    }

    async fn labels(&self, namespace: &str) -> BTreeMap<String, String> {
        if let Some(client) = &self.client {
            let api: Api<Namespace> = Api::all(client.clone());
            match tokio::time::timeout(PATIENCE, api.get_opt(namespace)).await {
                Ok(Ok(found)) => return found.and_then(|n| n.metadata.labels).unwrap_or_default(),
                Ok(Err(error)) => tracing::debug!(namespace, %error, "cannot read the namespace"),
                Err(_) => tracing::debug!(namespace, "the API does not answer"),
            }
        }
        self.namespaces.labels(namespace).unwrap_or_default()
    }
}
