//! Injection into the manifests that users apply: what `lateen kube-inject` does.

use k8s_openapi::api::core::v1::Pod;
use serde_json::{Map, Value, json};

use crate::pod::inject_as;
use crate::workload::Workload;
use crate::{Decision, InjectConfig, InjectError, Target, patch};

/// What became of one resource of a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestDecision {
    /// Kind and name, like `Deployment/reviews-v1`.
    pub resource: String,
    /// Whether it was injected, and why.
    pub decision: Decision,
}

/// An injected manifest.
#[derive(Clone, Debug)]
pub struct ManifestOutcome {
    /// The manifest; documents that were not changed are as the user wrote them, comments included.
    pub yaml: String,
    /// One entry for each resource that has pods.
    pub decisions: Vec<ManifestDecision>,
}

/// Injects every pod and pod template of a manifest (YAML or JSON, several documents, lists). Resources without a
/// namespace are taken to be in `namespace`.
///
/// # Errors
/// A document is no YAML, a pod template does not have the shape of one, or as [`crate::inject`].
pub fn inject_manifest(
    text: &str,
    namespace: &str,
    config: &InjectConfig,
) -> Result<ManifestOutcome, InjectError> {
    let mut outcome = ManifestOutcome { yaml: String::with_capacity(text.len() * 2), decisions: Vec::new() };
    let mut index = 0;
    for (separator, body) in documents(text) {
        outcome.yaml.push_str(separator);
        if is_blank(body) {
            outcome.yaml.push_str(body);
            continue;
        }
        index += 1;
        let document = Document { index, namespace, config };
        let mut value: Value = serde_saphyr::from_str(body).map_err(|error| document.error(None, error))?;
        if document.visit(&mut value, &mut outcome.decisions)? {
            let yaml = serde_saphyr::to_string(&value).map_err(|error| document.error(None, error))?;
            outcome.yaml.push_str(&yaml);
            if !yaml.ends_with('\n') {
                outcome.yaml.push('\n');
            }
        } else {
            outcome.yaml.push_str(body);
        }
    }
    Ok(outcome)
}

/// Cuts the text at document markers; each piece is the marker's line (if any) and the text after it.
fn documents(text: &str) -> Vec<(&str, &str)> {
    let mut pieces = Vec::new();
    let (mut separator, mut start, mut offset) = ("", 0, 0);
    for line in text.split_inclusive('\n') {
        let bare = line.trim_end();
        // YAML keeps column 0 for the marker alone, even inside block scalars.
        if bare == "---" || bare.starts_with("--- #") || bare.starts_with("---\t#") {
            pieces.push((separator, &text[start..offset]));
            (separator, start) = (line, offset + line.len());
        }
        offset += line.len();
    }
    pieces.push((separator, &text[start..]));
    pieces
}

fn is_blank(body: &str) -> bool {
    body.lines()
        .all(|line| line.trim().is_empty() || line.trim_start().starts_with('#') || line.trim_end() == "...")
}

struct Document<'a> {
    index: usize,
    namespace: &'a str,
    config: &'a InjectConfig,
}

impl Document<'_> {
    fn error(&self, name: Option<String>, reason: impl ToString) -> InjectError {
        InjectError::Manifest { index: self.index, name, reason: reason.to_string() }
    }

    /// Injects a resource in place; whether it changed.
    fn visit(
        &self,
        resource: &mut Value,
        decisions: &mut Vec<ManifestDecision>,
    ) -> Result<bool, InjectError> {
        let kind = resource.get("kind").and_then(Value::as_str).unwrap_or_default().to_owned();
        if kind == "List" || (kind.ends_with("List") && resource.get("items").is_some()) {
            let items = resource.get_mut("items").and_then(Value::as_array_mut);
            let mut changed = false;
            for item in items.into_iter().flatten() {
                changed |= self.visit(item, decisions)?;
            }
            return Ok(changed);
        }
        let path = match kind.as_str() {
            "Pod" => "",
            "Deployment"
            | "ReplicaSet"
            | "StatefulSet"
            | "DaemonSet"
            | "Job"
            | "ReplicationController"
            | "DeploymentConfig" => "/spec/template",
            "CronJob" => "/spec/jobTemplate/spec/template",
            _ => return Ok(false),
        };
        let name = resource.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default().to_owned();
        let label = format!("{kind}/{name}");
        let namespace = resource
            .pointer("/metadata/namespace")
            .and_then(Value::as_str)
            .unwrap_or(self.namespace)
            .to_owned();
        let target = Target { namespace: &namespace, namespace_labels: None };
        let version = resource.get("apiVersion").and_then(Value::as_str).unwrap_or("v1");
        let mut workload = Workload::new(&name, version, &kind);
        let Some(template) = resource.pointer_mut(path) else {
            return Err(self.error(
                Some(label),
                format!("{} is missing", path.trim_start_matches('/').replace('/', ".")),
            ));
        };
        if kind == "Pod" {
            workload = Workload::of_pod(&self.pod(template, &label)?);
        }
        let decision = self.inject_template(template, &label, &target, workload)?;
        let changed = decision.inject;
        decisions.push(ManifestDecision { resource: label, decision });
        Ok(changed)
    }

    fn pod(&self, template: &Value, label: &str) -> Result<Pod, InjectError> {
        if !template.is_object() {
            return Err(
                self.error(Some(label.to_owned()), "the pod template must be a map with metadata and spec")
            );
        }
        let mut pod = Map::new();
        for field in ["metadata", "spec"] {
            pod.insert(field.to_owned(), template.get(field).cloned().unwrap_or_else(|| json!({})));
        }
        serde_json::from_value(Value::Object(pod)).map_err(|error| self.error(Some(label.to_owned()), error))
    }

    /// Only the difference is applied, so that fields which the types do not know stay as they were.
    fn inject_template(
        &self,
        template: &mut Value,
        label: &str,
        target: &Target<'_>,
        workload: Workload,
    ) -> Result<Decision, InjectError> {
        let pod = self.pod(template, label)?;
        let named = |error: InjectError| match error {
            error @ InjectError::Manifest { .. } => error,
            error => self.error(Some(label.to_owned()), error),
        };
        let injection = inject_as(&pod, target, workload, self.config).map_err(named)?;
        if injection.decision.inject {
            for field in ["metadata", "spec"] {
                let slot = template.as_object_mut().and_then(|template| template.get_mut(field));
                if slot.is_none_or(|slot| slot.is_null()) {
                    template[field] = json!({});
                }
            }
            let patch = patch(&pod, &injection.pod).map_err(named)?;
            json_patch::patch(template, &patch.0)
                .map_err(|error| self.error(Some(label.to_owned()), error))?;
        }
        Ok(injection.decision)
    }
}
