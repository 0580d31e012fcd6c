//! The pod's effective ProxyConfig: the mesh's default, overlaid by the pod's annotation.

use k8s_openapi::api::core::v1::Pod;
use serde_json::{Map, Value};

use crate::annotations::{self, PROXY_CONFIG};
use crate::{InjectConfig, InjectError};

/// Fields whose maps the annotation adds to; every other field is replaced whole (Istio's `mesh.ApplyProxyConfig`).
const MERGED_MAPS: [&str; 2] = ["proxyMetadata", "runtimeValues"];

pub(crate) fn effective(pod: &Pod, config: &InjectConfig) -> Result<Map<String, Value>, InjectError> {
    let mut result = config.default_config.clone();
    if !result.contains_key("discoveryAddress") {
        result.insert("discoveryAddress".into(), config.discovery_address.clone().into());
    }
    let Some(text) = annotations::get(pod, PROXY_CONFIG).filter(|text| !text.is_empty()) else {
        return Ok(result);
    };
    let over: Value = serde_saphyr::from_str(text)
        .map_err(|error| InjectError::annotation(PROXY_CONFIG, text, format!("is not YAML: {error}")))?;
    let over = match over {
        Value::Object(over) => over,
        Value::Null => return Ok(result),
        _ => {
            return Err(InjectError::annotation(PROXY_CONFIG, text, "must be a map of ProxyConfig's fields"));
        }
    };
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
    Ok(result)
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
