use std::time::Duration;

use anyhow::{Context, Result, bail};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use kube::api::{Patch, PatchParams};
use kube::core::DynamicObject;
use kube::runtime::wait::{await_condition, conditions};
use serde_json::Value;

use super::{Cluster, FIELD_MANAGER, KINDS, Progress, refusal};
use crate::release::{Manifest, OWN};

/// How long the API may take to serve a new kind.
const ESTABLISHED: Duration = Duration::from_secs(30);

/// What an installation wrote.
#[derive(Clone, Debug, Default)]
pub struct Applied {
    /// Objects that were written.
    pub objects: usize,
    /// Deployments as namespace and name.
    pub deployments: Vec<(String, String)>,
    /// DaemonSets likewise.
    pub daemon_sets: Vec<(String, String)>,
}

impl Cluster {
    /// Writes a manifest (server-side apply): what is there already is brought to what the manifest asks for.
    ///
    /// # Errors
    /// Definitions of another Istio are there and `force` is not set, or the API refuses an object, which is named.
    /// What was written before stays: the same call goes on from there.
    pub async fn apply(&self, manifest: &Manifest, force: bool, progress: Progress<'_>) -> Result<Applied> {
        let foreign = if force { Vec::new() } else { self.foreign_definitions().await? };
        if !foreign.is_empty() {
            bail!(
                "another Istio's definitions are installed: {}; remove them, or say --force to replace them by \
                 Lateen's (the resources stay)",
                foreign.join(", ")
            );
        }
        let mut applied = Applied::default();
        let mut definitions = Vec::new();
        for object in &manifest.objects {
            if kind_of(object) == "CustomResourceDefinition" {
                self.apply_one(object).await?;
                definitions.push(name_of(object).to_owned());
                applied.objects += 1;
            }
        }
        if !definitions.is_empty() {
            self.established(&definitions).await?;
            progress(&format!("{} custom resource definitions", definitions.len()));
        }
        for object in &manifest.objects {
            let kind = kind_of(object);
            if kind == "CustomResourceDefinition" {
                continue;
            }
            self.apply_one(object).await?;
            applied.objects += 1;
            let name = name_of(object);
            let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default();
            match kind {
                "Deployment" => applied.deployments.push((namespace.to_owned(), name.to_owned())),
                "DaemonSet" => applied.daemon_sets.push((namespace.to_owned(), name.to_owned())),
                _ => {}
            }
            if matches!(kind, "DaemonSet" | "Deployment" | "Service" | "MutatingWebhookConfiguration") {
                progress(&format!("{kind} {name}"));
            }
        }
        Ok(applied)
    }

    async fn apply_one(&self, object: &Value) -> Result<()> {
        let (kind, name) = (kind_of(object), name_of(object));
        let typed: DynamicObject = serde_json::from_value(object.clone())
            .with_context(|| format!("{kind} {name} is no Kubernetes object"))?;
        let extra = [
            ("", "v1", "Namespace", false),
            ("apiextensions.k8s.io", "v1", "CustomResourceDefinition", false),
        ];
        let known = KINDS
            .iter()
            .chain(&extra)
            .find(|known| known.2 == kind)
            .with_context(|| format!("{kind} {name}: this kind is not installed by Lateen"))?;
        let api = self.beside(known, typed.metadata.namespace.as_deref());
        let parameters = PatchParams::apply(FIELD_MANAGER).force();
        api.patch(name, &parameters, &Patch::Apply(&typed))
            .await
            .map_err(refusal)
            .with_context(|| format!("cannot write {kind} {name}"))?;
        Ok(())
    }

    /// Definitions of Istio's kinds that are not Lateen's own.
    pub async fn foreign_definitions(&self) -> Result<Vec<String>> {
        let api: Api<CustomResourceDefinition> = Api::all(self.client.clone());
        let ours: Vec<String> = lateen_api::crds().into_iter().filter_map(|crd| crd.metadata.name).collect();
        let there = api
            .list(&Default::default())
            .await
            .map_err(refusal)
            .context("cannot list custom resource definitions")?;
        let foreign = there.items.into_iter().map(|crd| crd.metadata).filter(|metadata| {
            let label = metadata.labels.as_ref().and_then(|labels| labels.get(OWN.0));
            label.is_none_or(|value| value != OWN.1)
        });
        Ok(foreign.filter_map(|metadata| metadata.name).filter(|name| ours.contains(name)).collect())
    }

    async fn established(&self, names: &[String]) -> Result<()> {
        let api: Api<CustomResourceDefinition> = Api::all(self.client.clone());
        let waits = names.iter().map(|name| {
            let wait = await_condition(api.clone(), name, conditions::is_crd_established());
            async move {
                let waited = tokio::time::timeout(ESTABLISHED, wait).await;
                waited.with_context(|| format!("the API does not serve {name} after {ESTABLISHED:?}"))??;
                anyhow::Ok(())
            }
        });
        futures::future::try_join_all(waits).await?;
        Ok(())
    }
}

fn kind_of(object: &Value) -> &str {
    object["kind"].as_str().unwrap_or_default()
}

fn name_of(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}
