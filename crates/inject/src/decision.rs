//! Whether a pod gets a sidecar, and why.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use crate::annotations::{self, INJECT, INJECTION, REVISION};
use crate::{InjectConfig, Policy};

/// Namespaces of Kubernetes itself; nothing in them is ever injected.
const IGNORED_NAMESPACES: [&str; 3] = ["kube-system", "kube-public", "kube-node-lease"];
const DEFAULT_REVISION: &str = "default";

/// Where a pod will run.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// Name of the pod's namespace.
    pub namespace: &'a str,
    /// The namespace's labels; `None` for manual injection, where the user has asked and labels do not matter.
    pub namespace_labels: Option<&'a BTreeMap<String, String>>,
}

/// The outcome for one pod, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Whether the pod gets a sidecar.
    pub inject: bool,
    /// The rule that decided.
    pub reason: String,
    /// Whether the pod was meant for the mesh but cannot be in it: its owner should be told.
    pub impossible: bool,
}

impl Decision {
    pub(crate) fn yes(reason: impl Into<String>) -> Self {
        Self { inject: true, reason: reason.into(), impossible: false }
    }

    pub(crate) fn no(reason: impl Into<String>) -> Self {
        Self { inject: false, reason: reason.into(), impossible: false }
    }

    fn impossible(reason: impl Into<String>) -> Self {
        Self { impossible: true, ..Self::no(reason) }
    }
}

/// Decides by Istio's rules (<https://istio.io/latest/docs/ops/common-problems/injection/>): exemptions first, then
/// the namespace's and the pod's selection of this revision, then the pod's wish, selectors and the policy.
pub fn decide(pod: &Pod, target: &Target<'_>, config: &InjectConfig) -> Decision {
    if let Some(foreign) = crate::undo::foreign(pod, config) {
        return Decision::no(foreign);
    }
    if IGNORED_NAMESPACES.contains(&target.namespace) {
        return Decision::no(format!("namespace {} is never injected", target.namespace));
    }
    let selected = match target.namespace_labels {
        Some(labels) => match select(pod, target.namespace, labels, config) {
            Ok(reason) => reason,
            Err(reason) => return Decision::no(reason),
        },
        None => "injection was asked for by hand".to_owned(),
    };
    let decision = by_pod(pod, config, selected);
    match uncapturable(pod).filter(|_| decision.inject) {
        Some(reason) => Decision::impossible(reason),
        None => decision,
    }
}

/// Why the traffic of a pod cannot be led through a sidecar at all.
fn uncapturable(pod: &Pod) -> Option<&'static str> {
    let spec = pod.spec.as_ref()?;
    if spec.host_network.unwrap_or(false) {
        return Some("the pod uses the host's network, whose traffic is not the pod's alone");
    }
    let system = spec.os.as_ref().map(|os| os.name.as_str());
    let selected = || spec.node_selector.as_ref()?.get("kubernetes.io/os").map(String::as_str);
    (system.or_else(selected) == Some("windows")).then_some("the pod runs on Windows")
}

/// The rules of the webhook's namespace and object selectors; either way the reason.
fn select(
    pod: &Pod,
    namespace: &str,
    labels: &BTreeMap<String, String>,
    config: &InjectConfig,
) -> Result<String, String> {
    let wished = annotations::label(pod, INJECT).and_then(annotations::truth) == Some(true);
    let is_default = is_default(config);
    if namespace == config.root_namespace && !wished {
        return Err(format!("namespace {namespace} is the control plane's; label the pod {INJECT}=true"));
    }
    match labels.get(INJECTION).map(String::as_str) {
        Some("disabled") => return Err(format!("namespace {namespace} is labelled {INJECTION}=disabled")),
        Some("enabled") if is_default => {
            return Ok(format!("namespace {namespace} is labelled {INJECTION}=enabled"));
        }
        Some("enabled") => {
            return Err(format!(
                "namespace {namespace} is labelled {INJECTION}=enabled, which selects another revision"
            ));
        }
        _ => {}
    }
    let revision = labels.get(REVISION).map(|revision| ("namespace", revision.as_str()));
    match revision.or_else(|| annotations::label(pod, REVISION).map(|revision| ("pod", revision))) {
        Some((what, revision)) if selects(revision, config, is_default) => {
            Ok(format!("the {what} is labelled {REVISION}={revision}"))
        }
        Some((what, revision)) => {
            Err(format!("the {what} is labelled {REVISION}={revision}, another revision"))
        }
        None if wished && is_default => Ok(format!("the pod is labelled {INJECT}=true")),
        None if config.enable_namespaces_by_default && is_default => {
            Ok("namespaces are injected by default".into())
        }
        None => Err(format!("namespace {namespace} is not labelled {INJECTION}=enabled")),
    }
}

fn selects(revision: &str, config: &InjectConfig, is_default: bool) -> bool {
    let tagged = config.tags.iter().any(|tag| tag == revision);
    revision == config.revision || tagged || (is_default && revision == DEFAULT_REVISION)
}

/// Whether this control plane is the one that `istio-injection=enabled` selects: it has no revision, or the tag `default`.
fn is_default(config: &InjectConfig) -> bool {
    let tagged = config.tags.iter().any(|tag| tag == DEFAULT_REVISION);
    config.revision == DEFAULT_REVISION || config.revision.is_empty() || tagged
}

/// The pod's own label or annotation (the label wins), then selectors, then the policy.
fn by_pod(pod: &Pod, config: &InjectConfig, selected: String) -> Decision {
    let wish = annotations::label(pod, INJECT)
        .map(|value| ("label", value))
        .or_else(|| annotations::get(pod, INJECT).map(|value| ("annotation", value)))
        .filter(|(_, value)| !value.is_empty());
    if let Some((what, value)) = wish {
        let reason = format!("the pod's {what} {INJECT} is {value:?}");
        return match annotations::truth(value) {
            Some(true) => Decision::yes(reason),
            _ => Decision::no(reason),
        };
    }
    let empty = BTreeMap::new();
    let labels = pod.metadata.labels.as_ref().unwrap_or(&empty);
    if config.never_inject_selector.iter().any(|selector| matches(selector, labels)) {
        return Decision::no("the pod matches neverInjectSelector");
    }
    if config.always_inject_selector.iter().any(|selector| matches(selector, labels)) {
        return Decision::yes("the pod matches alwaysInjectSelector");
    }
    match config.policy {
        Policy::Enabled => Decision::yes(selected),
        Policy::Disabled => {
            Decision::no(format!("the policy is disabled and the pod has no label {INJECT}=true"))
        }
    }
}

/// Kubernetes' label selector, except that an empty one matches nothing (as Istio's injector has it).
fn matches(selector: &LabelSelector, labels: &BTreeMap<String, String>) -> bool {
    let equal = selector.match_labels.iter().flatten();
    let rules = selector.match_expressions.iter().flatten();
    if equal.clone().next().is_none() && rules.clone().next().is_none() {
        return false;
    }
    equal.clone().all(|(key, value)| labels.get(key) == Some(value))
        && rules.clone().all(|rule| {
            let value = labels.get(&rule.key);
            let listed = value.is_some_and(|value| rule.values.iter().flatten().any(|one| one == value));
            match rule.operator.as_str() {
                "In" => listed,
                "NotIn" => !listed,
                "Exists" => value.is_some(),
                "DoesNotExist" => value.is_none(),
                _ => false,
            }
        })
}
