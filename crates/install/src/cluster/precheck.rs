use std::collections::BTreeMap;

use anyhow::{Context, Result};
use futures::StreamExt;
use futures::stream;
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use kube::Api;
use kube::api::PostParams;

use super::{Cluster, KINDS};

/// Oldest Kubernetes (minor of version 1) on which sidecars are native by default.
const NATIVE_SIDECARS: u32 = 29;
/// Oldest Kubernetes on which the charts work at all: `autoscaling/v2` and the CEL rules of the definitions.
const OLDEST: u32 = 25;
/// Questions to the API at a time.
const AT_ONCE: usize = 8;

/// How bad something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// As it should be.
    Good,
    /// Works, but not as one may expect.
    Warning,
    /// Installation will fail.
    Error,
}

/// Something that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub level: Level,
    /// What was found, and what to do.
    pub message: String,
    /// Whether `--force` installs all the same.
    pub forced: bool,
}

impl Finding {
    fn new(level: Level, message: impl Into<String>) -> Finding {
        Finding { level, message: message.into(), forced: false }
    }
}

impl Cluster {
    /// Looks whether the mesh can be installed: version of Kubernetes, rights, definitions of another Istio.
    ///
    /// # Errors
    /// The API does not answer.
    pub async fn precheck(&self, namespace: &str) -> Result<Vec<Finding>> {
        let version = self.client.apiserver_version().await.context("the Kubernetes API does not answer")?;
        let mut findings = vec![judge_version(&version.major, &version.minor, &version.git_version)];
        findings.push(self.rights(namespace).await?);
        let foreign = self.foreign_definitions().await?;
        findings.push(match foreign.as_slice() {
            [] => Finding::new(Level::Good, "no other Istio's definitions are installed"),
            names => Finding {
                level: Level::Error,
                message: format!(
                    "another Istio's definitions are installed ({}): remove them, or say --force to replace them by \
                     Lateen's (the resources stay)",
                    names.join(", ")
                ),
                forced: true,
            },
        });
        Ok(findings)
    }

    async fn rights(&self, namespace: &str) -> Result<Finding> {
        let api: Api<SelfSubjectAccessReview> = Api::all(self.client.clone());
        let definitions = ("apiextensions.k8s.io", "v1", "CustomResourceDefinition", false);
        let kinds = KINDS.iter().chain(std::iter::once(&definitions));
        let questions: Vec<_> = kinds
            .flat_map(|kind| ["create", "patch", "delete"].map(|verb| (kind, verb)))
            .map(|(kind, verb)| {
                let plural = super::resource(kind).plural;
                let review = review(kind.0, &plural, verb, kind.3.then_some(namespace));
                let api = api.clone();
                async move {
                    let answer = api.create(&PostParams::default(), &review).await?;
                    let allowed = answer.status.is_some_and(|status| status.allowed);
                    Ok::<_, kube::Error>((!allowed).then_some((plural, verb)))
                }
            })
            .collect();
        let answers: Vec<_> = stream::iter(questions).buffered(AT_ONCE).collect().await;
        let mut missing: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for answer in answers {
            if let Some((plural, verb)) = answer.context("cannot ask for the rights of this user")? {
                missing.entry(plural).or_default().push(verb);
            }
        }
        Ok(match missing.is_empty() {
            true => Finding::new(Level::Good, "this user has the rights that installation needs"),
            false => Finding::new(Level::Error, format!("this user lacks rights: {}", in_words(missing))),
        })
    }
}

/// Rights by resource, said once for all resources that lack the same: `create, patch: deployments, services`.
fn in_words(missing: BTreeMap<String, Vec<&str>>) -> String {
    let mut by_verbs: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (resource, verbs) in missing {
        by_verbs.entry(verbs.join(", ")).or_default().push(resource);
    }
    let parts = by_verbs.iter().map(|(verbs, resources)| format!("{verbs}: {}", resources.join(", ")));
    parts.collect::<Vec<_>>().join("; ")
}

fn review(group: &str, plural: &str, verb: &str, namespace: Option<&str>) -> SelfSubjectAccessReview {
    let resource_attributes = Some(ResourceAttributes {
        group: Some(group.to_owned()),
        namespace: namespace.map(str::to_owned),
        resource: Some(plural.to_owned()),
        verb: Some(verb.to_owned()),
        ..Default::default()
    });
    SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec { resource_attributes, ..Default::default() },
        ..Default::default()
    }
}

fn judge_version(major: &str, minor: &str, text: &str) -> Finding {
    let digits: String = minor.chars().take_while(char::is_ascii_digit).collect();
    match (major, digits.parse::<u32>()) {
        ("1", Ok(minor)) if minor < OLDEST => Finding::new(
            Level::Error,
            format!("Kubernetes {text} is too old: 1.{OLDEST} is needed, 1.{NATIVE_SIDECARS} recommended"),
        ),
        ("1", Ok(minor)) if minor < NATIVE_SIDECARS => Finding::new(
            Level::Warning,
            format!(
                "Kubernetes {text} has no native sidecars: install with \
                 --set sidecarInjectorWebhook.nativeSidecars=false, or upgrade to 1.{NATIVE_SIDECARS}"
            ),
        ),
        _ => Finding::new(Level::Good, format!("Kubernetes {text}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_rights_are_grouped() {
        let all = vec!["create", "patch", "delete"];
        let missing = [("services", all.clone()), ("deployments", all), ("configmaps", vec!["delete"])];
        let missing = missing.into_iter().map(|(resource, verbs)| (resource.to_owned(), verbs)).collect();
        assert_eq!(in_words(missing), "create, patch, delete: deployments, services; delete: configmaps");
    }

    #[test]
    fn old_versions_are_told_from_new_ones() {
        assert_eq!(judge_version("1", "24", "v1.24.3").level, Level::Error);
        assert_eq!(judge_version("1", "27+", "v1.27.3-x").level, Level::Warning);
        assert_eq!(judge_version("1", "34", "v1.34.4").level, Level::Good);
    }
}
