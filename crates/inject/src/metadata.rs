//! Labels and annotations of an injected pod.

use std::collections::BTreeMap;

use serde_json::json;

use crate::annotations::{REVISION, STATUS};
use crate::settings::Settings;

const TLS_MODE: &str = "security.istio.io/tlsMode";
const CANONICAL_NAME: &str = "service.istio.io/canonical-name";
const CANONICAL_REVISION: &str = "service.istio.io/canonical-revision";
/// Longest value of a label.
const LABEL_LIMIT: usize = 63;

/// What injection added, by name: the content of the annotation `sidecar.istio.io/status`.
#[derive(Default)]
pub(crate) struct Added {
    pub(crate) init_containers: Vec<String>,
    pub(crate) containers: Vec<String>,
    pub(crate) volumes: Vec<String>,
    pub(crate) image_pull_secrets: Vec<String>,
}

/// Adds Istio's labels; what the pod says itself stays.
pub(crate) fn labels(settings: &Settings<'_>, labels: &mut BTreeMap<String, String>) {
    // The canonical service: https://istio.io/latest/docs/concepts/observability/#canonical-service
    let first = |names: &[&str], labels: &BTreeMap<String, String>| {
        names.iter().find_map(|name| labels.get(*name).filter(|value| !value.is_empty()).cloned())
    };
    let name = first(&["app.kubernetes.io/name", "app"], labels)
        .unwrap_or_else(|| label_value(&settings.workload.name));
    let revision =
        first(&["app.kubernetes.io/version", "version"], labels).unwrap_or_else(|| "latest".to_owned());
    labels.entry(TLS_MODE.to_owned()).or_insert_with(|| "istio".to_owned());
    labels.entry(CANONICAL_NAME.to_owned()).or_insert(name);
    labels.entry(CANONICAL_REVISION.to_owned()).or_insert(revision);
}

fn label_value(name: &str) -> String {
    let cut: String = name.chars().take(LABEL_LIMIT).collect();
    cut.trim_end_matches(|c: char| !c.is_ascii_alphanumeric()).to_owned()
}

/// Adds the annotations that say what was injected and which container `kubectl logs` shows.
pub(crate) fn annotations(
    settings: &Settings<'_>,
    added: &Added,
    annotations: &mut BTreeMap<String, String>,
) {
    let revision = if settings.config.revision.is_empty() { "default" } else { &settings.config.revision };
    annotations.entry(REVISION.to_owned()).or_insert_with(|| revision.to_owned());
    let app =
        settings.pod.spec.iter().flat_map(|spec| &spec.containers).find(|c| c.name != crate::PROXY_CONTAINER);
    if let Some(app) = app {
        for name in
            ["kubectl.kubernetes.io/default-container", "kubectl.kubernetes.io/default-logs-container"]
        {
            annotations.entry(name.to_owned()).or_insert_with(|| app.name.clone());
        }
    }
    // Istio writes null where there are none.
    let secrets = (!added.image_pull_secrets.is_empty()).then_some(&added.image_pull_secrets);
    let status = json!({
        "version": version(settings),
        "initContainers": added.init_containers,
        "containers": added.containers,
        "volumes": added.volumes,
        "imagePullSecrets": secrets,
        "revision": revision,
    });
    annotations.insert(STATUS.to_owned(), status.to_string());
}

/// A fingerprint of what the injector was configured with, so that old sidecars can be told from new ones.
fn version(settings: &Settings<'_>) -> String {
    let text = serde_json::to_string(settings.config).unwrap_or_default();
    // FNV-1a: stable over releases and machines, which the standard library's hasher does not promise.
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    format!("{hash:016x}")
}
