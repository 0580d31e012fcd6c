use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod, Secret};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DeleteParams, ListParams};
use kube::runtime::wait::await_condition;
use kube::{Api, ResourceExt};

use super::{Cluster, KINDS, Kind, Progress, refusal};
use crate::presets::GATEWAY_NAMESPACE;
use crate::release::OWN;

/// What `lateen` writes carries this, what Helm writes does not.
const INSTALLED: &str = "app.kubernetes.io/managed-by=lateen,app.kubernetes.io/part-of=istio";

/// How long what is removed may take to end, and how often is looked.
const ENDING: Duration = Duration::from_secs(40);
const LOOK_AGAIN: Duration = Duration::from_millis(300);

/// Name of the ConfigMap with the root certificate, which the control plane puts into every namespace.
const ROOT: &str = "istio-ca-root-cert";

/// Secrets and leases that the control plane itself makes.
const SECRETS: [&str; 2] = ["istio-ca-secret", "istio-ca-trust"];

/// How much was removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Objects.
    pub objects: usize,
}

impl Cluster {
    /// Removes everything that `lateen install` and `lateen gateway enable` wrote, and what the control plane made
    /// itself. Resources of users stay; with `purge`, Istio's definitions go with all of their
    /// resources, and so do the namespaces of the control plane and of the external and internal gateways.
    ///
    /// # Errors
    /// The API refuses; what was removed before stays removed.
    pub async fn uninstall(&self, namespace: &str, purge: bool, progress: Progress<'_>) -> Result<Removed> {
        let mut removed = self.remove_labelled(INSTALLED, progress).await?;
        // A control plane that still runs would write again what it made; the CNI plugin tidies up its nodes.
        self.ended(namespace, "app in (istiod,istio-cni-node)").await?;
        removed.objects += self.remove_made(namespace).await?;
        if purge {
            let api: Api<CustomResourceDefinition> = Api::all(self.client.clone());
            let own = ListParams::default().labels(&format!("{}={}", OWN.0, OWN.1));
            for crd in api.list(&own).await.context("cannot list custom resource definitions")? {
                api.delete(&crd.name_any(), &DeleteParams::background()).await?;
                removed.objects += 1;
            }
            progress("custom resource definitions");
            let namespaces: Api<Namespace> = Api::all(self.client.clone());
            for namespace in [namespace, GATEWAY_NAMESPACE] {
                gone(namespaces.delete(namespace, &DeleteParams::background()).await.map(drop))?;
            }
            for namespace in [namespace, GATEWAY_NAMESPACE] {
                let removed = await_condition(namespaces.clone(), namespace, |found: Option<&Namespace>| {
                    found.is_none()
                });
                // What somebody else's finalizer holds up goes when that lets go.
                drop(tokio::time::timeout(ENDING, removed).await);
                progress(&format!("Namespace {namespace}"));
            }
        }
        Ok(removed)
    }

    /// Waits until the pods that a selector selects have ended, or half a minute is over.
    async fn ended(&self, namespace: &str, selector: &str) -> Result<()> {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let selected = ListParams::default().labels(selector);
        let end = tokio::time::Instant::now() + ENDING;
        while tokio::time::Instant::now() < end {
            if api.list(&selected).await.map_err(refusal)?.items.is_empty() {
                break;
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        Ok(())
    }

    /// Removes one release by its name; what another release wrote stays.
    ///
    /// # Errors
    /// As [`Cluster::uninstall`].
    pub async fn remove_release(&self, release: &str, progress: Progress<'_>) -> Result<Removed> {
        let selector = format!("{INSTALLED},app.kubernetes.io/instance={release}");
        self.remove_labelled(&selector, progress).await
    }

    /// Whether objects of a release are there.
    ///
    /// # Errors
    /// The API refuses.
    pub async fn has_release(&self, release: &str) -> Result<bool> {
        let selector = format!("{INSTALLED},app.kubernetes.io/instance={release}");
        let kind = KINDS.iter().find(|kind| kind.2 == "Deployment").context("Deployments are a kind")?;
        let found = self.all(kind).list(&ListParams::default().labels(&selector).limit(1)).await?;
        Ok(!found.items.is_empty())
    }

    async fn remove_labelled(&self, selector: &str, progress: Progress<'_>) -> Result<Removed> {
        let mut removed = Removed::default();
        for kind in &KINDS {
            let what = || format!("cannot remove {}s", kind.2);
            let listed = self
                .all(kind)
                .list(&ListParams::default().labels(selector))
                .await
                .map_err(refusal)
                .with_context(what)?;
            for object in listed.items {
                let name = object.name_any();
                self.delete(kind, object.namespace().as_deref(), &name).await.with_context(what)?;
                removed.objects += 1;
                progress(&format!("{} {name}", kind.2));
            }
        }
        Ok(removed)
    }

    async fn delete(&self, kind: &Kind, namespace: Option<&str>, name: &str) -> Result<()> {
        let api = self.beside(kind, namespace);
        gone(api.delete(name, &DeleteParams::background()).await.map(drop))
    }

    /// What the control plane made without a manifest.
    async fn remove_made(&self, namespace: &str) -> Result<usize> {
        let mut count = 0;
        let maps: Api<ConfigMap> = Api::all(self.client.clone());
        for map in maps.list(&ListParams::default().fields(&format!("metadata.name={ROOT}"))).await?.items {
            let api: Api<ConfigMap> =
                Api::namespaced(self.client.clone(), &map.namespace().unwrap_or_default());
            gone(api.delete(ROOT, &DeleteParams::background()).await.map(drop))?;
            count += 1;
        }
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
        for name in SECRETS {
            gone(secrets.delete(name, &DeleteParams::background()).await.map(drop))?;
        }
        let leases: Api<Lease> = Api::namespaced(self.client.clone(), namespace);
        for lease in leases.list(&ListParams::default()).await?.items {
            let name = lease.name_any();
            if name.starts_with("istio-") {
                gone(leases.delete(&name, &DeleteParams::background()).await.map(drop))?;
                count += 1;
            }
        }
        Ok(count)
    }
}

/// Something that is gone already need not be removed.
fn gone(outcome: Result<(), kube::Error>) -> Result<()> {
    match outcome {
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        other => other.map_err(refusal),
    }
}
