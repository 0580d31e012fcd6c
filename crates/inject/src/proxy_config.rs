//! The pod's effective ProxyConfig: the mesh's default, overlaid by ProxyConfig resources and the pod's annotation.

use k8s_openapi::api::core::v1::Pod;
use lateen_api::mesh_config::proxy::ProxyConfig as MeshProxyConfig;
use lateen_api::networking::proxy_config::ProxyConfigSpec;
use lateen_api::object::join;
use lateen_api::wire::field::Field;
use lateen_api::wire::names::json_name;
use lateen_api::{ProxyConfig, Report};
use serde_json::{Map, Value, json};

use crate::annotations::{self, PROXY_CONFIG};
use crate::{InjectConfig, InjectError};

/// Fields whose maps are added to; every other field is replaced whole (Istio's `mesh.ApplyProxyConfig`).
const MERGED_MAPS: [&str; 2] = ["proxyMetadata", "runtimeValues"];

/// Which pods a ProxyConfig resource is for; the narrower counts more.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Mesh,
    Namespace,
    Workload,
}

/// Merges from the least to the most important: the mesh's default, the root namespace's ProxyConfig, the namespace's,
/// the pod's annotation, and ProxyConfigs that select the pod.
///
/// Source: Istio, ProxyConfig: "a ProxyConfig resource with a matching selector takes precedence over the annotation".
pub(crate) fn effective(
    pod: &Pod,
    namespace: &str,
    config: &InjectConfig,
) -> Result<Map<String, Value>, InjectError> {
    let mut result = config.default_config.clone();
    if !result.contains_key("discoveryAddress") {
        result.insert("discoveryAddress".into(), config.discovery_address.clone().into());
    }
    for level in [Level::Mesh, Level::Namespace] {
        overlay_resources(&mut result, pod, namespace, config, level);
    }
    if let Some(over) = annotated(pod)? {
        overlay(&mut result, over);
    }
    overlay_resources(&mut result, pod, namespace, config, Level::Workload);
    Ok(result)
}

fn annotated(pod: &Pod) -> Result<Option<Map<String, Value>>, InjectError> {
    let Some(text) = annotations::get(pod, PROXY_CONFIG).filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let over: Value = serde_saphyr::from_str(text)
        .map_err(|error| InjectError::annotation(PROXY_CONFIG, text, format!("is not YAML: {error}")))?;
    match over {
        Value::Object(over) => checked(over, text).map(Some),
        Value::Null => Ok(None),
        _ => Err(InjectError::annotation(PROXY_CONFIG, text, "must be a map of ProxyConfig's fields")),
    }
}

/// The fields under their JSON names, once all of them are ProxyConfig's and can be read.
fn checked(over: Map<String, Value>, text: &str) -> Result<Map<String, Value>, InjectError> {
    let mut report = Report::default();
    <MeshProxyConfig as Field>::decode(Value::Object(over.clone()), &mut report);
    let wrong: Vec<_> = report.errors.into_iter().chain(report.unknown).collect();
    if !wrong.is_empty() {
        return Err(InjectError::annotation(PROXY_CONFIG, text, join(&wrong)));
    }
    Ok(over.into_iter().map(|(name, value)| (json_name(&name), value)).collect())
}

fn overlay(result: &mut Map<String, Value>, over: Map<String, Value>) {
    for (field, value) in over {
        match (result.get_mut(&field), value) {
            (Some(Value::Object(below)), Value::Object(above)) if MERGED_MAPS.contains(&field.as_str()) => {
                below.extend(above);
            }
            (_, value) => {
                result.insert(field, value);
            }
        }
    }
}

/// Lays the ProxyConfigs of a level over what there is; of several the oldest counts most.
fn overlay_resources(
    result: &mut Map<String, Value>,
    pod: &Pod,
    namespace: &str,
    config: &InjectConfig,
    level: Level,
) {
    let applies = |p: &&ProxyConfig| level_of(p, pod, namespace, config) == Some(level);
    for resource in config.proxy_configs.iter().rev().filter(applies) {
        overlay(result, fields(&resource.spec));
    }
}

fn level_of(resource: &ProxyConfig, pod: &Pod, namespace: &str, config: &InjectConfig) -> Option<Level> {
    let home = resource.metadata.namespace.as_deref().unwrap_or_default();
    let selector = resource.spec.selector.as_ref().map(|s| &s.match_labels).filter(|s| !s.is_empty());
    match selector {
        Some(selector) => {
            let own = pod.metadata.labels.as_ref();
            let has = |(key, value)| own.and_then(|labels| labels.get(key)) == Some(value);
            (home == namespace && selector.iter().all(has)).then_some(Level::Workload)
        }
        None if home == config.root_namespace => Some(Level::Mesh),
        None => (home == namespace).then_some(Level::Namespace),
    }
}

/// What a ProxyConfig resource says, in the words of MeshConfig's ProxyConfig.
fn fields(spec: &ProxyConfigSpec) -> Map<String, Value> {
    let mut fields = Map::new();
    if let Some(concurrency) = spec.concurrency {
        fields.insert("concurrency".into(), json!(concurrency));
    }
    if !spec.environment_variables.is_empty() {
        fields.insert("proxyMetadata".into(), json!(spec.environment_variables));
    }
    if let Some(image) = &spec.image {
        fields.insert("image".into(), json!({ "imageType": image.image_type }));
    }
    fields
}

/// `holdApplicationUntilProxyStarts` of a ProxyConfig.
pub(crate) fn holds_application(config: &Map<String, Value>) -> bool {
    config.get("holdApplicationUntilProxyStarts").and_then(Value::as_bool).unwrap_or(false)
}

/// `proxyMetadata` of a ProxyConfig as pairs of environment variables.
pub(crate) fn metadata(config: &Map<String, Value>) -> impl Iterator<Item = (&String, String)> {
    config.get("proxyMetadata").and_then(Value::as_object).into_iter().flatten().map(|(name, value)| {
        let text = match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        (name, text)
    })
}
