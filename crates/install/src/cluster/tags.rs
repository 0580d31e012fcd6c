//! Revision tags: names that namespaces are labelled with, and that lead to one revision or another
//! (<https://istio.io/latest/docs/setup/upgrade/canary/#stable-revision-labels>). A tag is a webhook configuration.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::core::v1::{Namespace, Service};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use super::{Cluster, FIELD_MANAGER, refusal};
use crate::charts::Chart;
use crate::release::{Manifest, Release};

const REVISION: &str = "istio.io/rev";
const TAG: &str = "istio.io/tag";
const INJECTION: &str = "istio-injection";
const DEFAULT: &str = "default";
const WEBHOOK: &str = "MutatingWebhookConfiguration";

/// A tag, where it leads and who uses it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag {
    /// Its name.
    pub name: String,
    /// The revision that it leads to.
    pub revision: String,
    /// Namespaces whose pods it leads there.
    pub namespaces: Vec<String>,
}

impl Manifest {
    /// What makes a tag lead to a revision whose control plane runs in `namespace`.
    ///
    /// # Errors
    /// The tag or the revision cannot be a label.
    pub fn tag(tag: &str, revision: &str, namespace: &str) -> Result<Manifest> {
        // The selectors of a tag are those of a revision of its name; those of the default are wider.
        let mut release = Release::new(Chart::istiod(), &format!("istio-tag-{tag}"), namespace)?;
        if tag != DEFAULT {
            release.values().set(&format!("revision={tag}"))?;
        }
        let objects = release.manifest()?.objects.into_iter();
        let mut objects: Vec<Value> = objects.filter(|object| object["kind"] == WEBHOOK).collect();
        for object in &mut objects {
            object["metadata"]["name"] = json!(webhook_name(tag, namespace));
            object["metadata"]["labels"][REVISION] = json!(revision);
            object["metadata"]["labels"][TAG] = json!(tag);
            for hook in object["webhooks"].as_array_mut().into_iter().flatten() {
                hook["clientConfig"]["service"]["name"] = json!(service_of(revision));
            }
        }
        if tag == DEFAULT {
            let mut base = Release::new(Chart::base(), "istio-tag-default", namespace)?;
            base.values().set(&format!("defaultRevision={revision}"))?;
            let validating = base.manifest()?.objects.into_iter();
            objects.extend(validating.filter(|object| object["kind"] == "ValidatingWebhookConfiguration"));
        }
        Ok(Manifest { objects, namespace: namespace.to_owned() })
    }
}

fn webhook_name(tag: &str, namespace: &str) -> String {
    match namespace {
        "istio-system" => format!("istio-revision-tag-{tag}"),
        other => format!("istio-revision-tag-{tag}-{other}"),
    }
}

fn service_of(revision: &str) -> String {
    if revision == DEFAULT { "istiod".to_owned() } else { format!("istiod-{revision}") }
}

impl Cluster {
    /// Lets a tag lead to a revision.
    ///
    /// # Errors
    /// There is no such revision, the tag leads elsewhere and `overwrite` is not set, or a revision has its name.
    pub async fn set_tag(&self, tag: &str, revision: &str, namespace: &str, overwrite: bool) -> Result<()> {
        let revisions = self.revisions(namespace).await?;
        if !revisions.contains(revision) {
            let known = revisions.into_iter().collect::<Vec<_>>().join(", ");
            bail!(
                "there is no control plane of revision {revision:?} in namespace {namespace}; there is: {known}"
            );
        }
        ensure!(
            tag == DEFAULT || !revisions.contains(tag),
            "{tag:?} is a revision: a tag of that name would select both"
        );
        let there = self.tags().await?.into_iter().find(|other| other.name == tag);
        if let Some(there) = there.filter(|there| there.revision != revision && !overwrite) {
            bail!(
                "tag {tag:?} leads to revision {:?} already; say --overwrite to change that",
                there.revision
            );
        }
        if tag == DEFAULT {
            self.deactivate_default(namespace).await?;
        }
        self.apply(&Manifest::tag(tag, revision, namespace)?, true, &mut |_| {}).await?;
        Ok(())
    }

    /// The tags of the cluster by name.
    ///
    /// # Errors
    /// The API refuses.
    pub async fn tags(&self) -> Result<Vec<Tag>> {
        let api: Api<MutatingWebhookConfiguration> = Api::all(self.client.clone());
        let listed = api.list(&ListParams::default().labels(TAG)).await.map_err(refusal);
        let webhooks = listed.context("cannot list webhook configurations")?;
        let namespaces = self.selecting_namespaces().await?;
        let mut tags: Vec<Tag> = webhooks
            .items
            .iter()
            .map(|webhook| {
                let label = |name: &str| webhook.labels().get(name).cloned().unwrap_or_default();
                let (name, revision) = (label(TAG), label(REVISION));
                Tag { namespaces: namespaces.get(&name).cloned().unwrap_or_default(), name, revision }
            })
            .collect();
        tags.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(tags)
    }

    /// Removes a tag.
    ///
    /// # Errors
    /// There is none of that name, or the API refuses.
    pub async fn remove_tag(&self, tag: &str) -> Result<()> {
        let api: Api<MutatingWebhookConfiguration> = Api::all(self.client.clone());
        let named = ListParams::default().labels(&format!("{TAG}={tag}"));
        let found = api.list(&named).await.map_err(refusal).context("cannot list webhook configurations")?;
        ensure!(!found.items.is_empty(), "there is no tag {tag:?}");
        for webhook in found {
            api.delete(&webhook.name_any(), &DeleteParams::default()).await.map_err(refusal)?;
        }
        Ok(())
    }

    /// The revisions whose control planes are in a namespace.
    async fn revisions(&self, namespace: &str) -> Result<BTreeSet<String>> {
        let api: Api<Service> = Api::namespaced(self.client.clone(), namespace);
        let listed = api.list(&ListParams::default().labels("app=istiod")).await.map_err(refusal);
        let services = listed.context("cannot list the control planes")?;
        Ok(services.items.iter().filter_map(|service| service.labels().get(REVISION).cloned()).collect())
    }

    /// Namespaces by the tag or revision that they select.
    async fn selecting_namespaces(&self) -> Result<BTreeMap<String, Vec<String>>> {
        let api: Api<Namespace> = Api::all(self.client.clone());
        let listed =
            api.list(&ListParams::default()).await.map_err(refusal).context("cannot list namespaces")?;
        let mut by_tag: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for namespace in listed {
            let labels = namespace.labels();
            let selected = match labels.get(INJECTION).map(String::as_str) {
                Some("enabled") => Some(DEFAULT.to_owned()),
                Some(_) => None,
                None => labels.get(REVISION).cloned(),
            };
            if let Some(selected) = selected {
                by_tag.entry(selected).or_default().push(namespace.name_any());
            }
        }
        Ok(by_tag)
    }

    /// Of two injectors that select the same pods only one may stay: where the tag `default` leads to another revision,
    /// the webhooks of the control plane without a revision select nothing any more (as `istioctl` does it). Installing
    /// that control plane again brings them back.
    async fn deactivate_default(&self, namespace: &str) -> Result<()> {
        let api: Api<MutatingWebhookConfiguration> = Api::all(self.client.clone());
        let own = ListParams::default().labels(&format!("{REVISION}={DEFAULT},!{TAG}"));
        let listed = api.list(&own).await.map_err(refusal).context("cannot list webhook configurations")?;
        let nobody = json!({ "matchLabels": { "istio.io/deactivated": "never-match" } });
        for webhook in listed {
            let ours = |hook: &k8s_openapi::api::admissionregistration::v1::MutatingWebhook| {
                hook.client_config.service.as_ref().is_some_and(|service| service.namespace == namespace)
            };
            let hooks: Vec<Value> = (webhook.webhooks.iter().flatten().filter(|hook| ours(hook)))
                .map(|hook| json!({ "name": hook.name, "namespaceSelector": nobody, "objectSelector": nobody }))
                .collect();
            let patch = Patch::Strategic(json!({ "webhooks": hooks }));
            let parameters =
                PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
            api.patch(&webhook.name_any(), &parameters, &patch).await.map_err(refusal)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_selects_by_its_name_and_leads_to_the_revision() {
        let manifest = Manifest::tag("prod", "canary", "istio-system").unwrap();
        let [webhook] = &manifest.objects[..] else { panic!("{:?}", manifest.objects) };
        assert_eq!(webhook["metadata"]["name"], "istio-revision-tag-prod");
        assert_eq!(webhook["metadata"]["labels"][REVISION], "canary");
        assert_eq!(webhook["metadata"]["labels"][TAG], "prod");
        let hooks = webhook["webhooks"].as_array().unwrap();
        assert_eq!(hooks.len(), 2);
        for hook in hooks {
            assert_eq!(hook["clientConfig"]["service"]["name"], "istiod-canary");
            let text = hook.to_string();
            assert!(text.contains(r#""key":"istio.io/rev","operator":"In","values":["prod"]"#), "{text}");
        }
    }

    #[test]
    fn the_tag_default_selects_what_the_label_enabled_does() {
        let manifest = Manifest::tag("default", "canary", "mesh").unwrap();
        let [webhook, validating] = &manifest.objects[..] else { panic!("{:?}", manifest.objects) };
        assert_eq!(webhook["metadata"]["name"], "istio-revision-tag-default-mesh");
        assert!(
            webhook["webhooks"]
                .to_string()
                .contains(r#""key":"istio-injection","operator":"In","values":["enabled"]"#)
        );
        assert_eq!(validating["webhooks"][0]["clientConfig"]["service"]["name"], "istiod-canary");
        assert!(Manifest::tag("No Label", "canary", "mesh").is_err());
    }
}
