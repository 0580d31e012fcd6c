//! What injection takes from Istio's values, which the charts keep in the ConfigMap `istio-sidecar-injector`.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde::Deserialize;
use serde_json::Value;

use crate::{CaptureDefaults, InjectConfig, InjectError, Policy};

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Values {
    global: Global,
    sidecar_injector_webhook: Webhook,
    pilot: Pilot,
    cni: Switch,
    #[serde(rename = "istio_cni")]
    istio_cni: Switch,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Pilot {
    cni: Switch,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Switch {
    enabled: Option<bool>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Global {
    hub: Option<String>,
    tag: Option<Value>,
    image_pull_policy: Option<String>,
    image_pull_secrets: Option<Vec<String>>,
    #[serde(rename = "meshID")]
    mesh_id: Option<String>,
    network: Option<String>,
    multi_cluster: MultiCluster,
    proxy: Proxy,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct MultiCluster {
    cluster_name: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Proxy {
    image: Option<String>,
    cluster_domain: Option<String>,
    log_level: Option<String>,
    component_log_level: Option<String>,
    auto_inject: Option<Policy>,
    status_port: Option<u16>,
    readiness_initial_delay_seconds: Option<u32>,
    readiness_period_seconds: Option<u32>,
    readiness_failure_threshold: Option<u32>,
    resources: Option<Requirements>,
    #[serde(flatten)]
    capture: CaptureDefaults,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Requirements {
    requests: Quantities,
    limits: Quantities,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Quantities {
    cpu: Value,
    memory: Value,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Webhook {
    never_inject_selector: Option<Vec<LabelSelector>>,
    always_inject_selector: Option<Vec<LabelSelector>>,
    enable_namespaces_by_default: Option<bool>,
    #[serde(rename = "rewriteAppHTTPProbe")]
    rewrite_probes: Option<bool>,
    native_sidecars: Option<bool>,
    templates: Option<BTreeMap<String, String>>,
    default_templates: Option<Vec<String>>,
}

impl InjectConfig {
    /// Lays Istio's values (YAML or JSON) over this configuration: `global.*` and `sidecarInjectorWebhook.*`. Values that
    /// are absent change nothing; values that injection does not know are not its own.
    ///
    /// # Errors
    /// A value has the wrong type; nothing is changed then.
    pub fn overlay_values(&mut self, text: &str) -> Result<(), InjectError> {
        let values: Values = serde_saphyr::from_str(text)
            .map_err(|error| InjectError::Pod { field: "values".to_owned(), reason: error.to_string() })?;
        let Values { global, sidecar_injector_webhook: webhook, pilot, cni, istio_cni } = values;
        if let Some(templates) = &webhook.templates {
            crate::templates::check(templates)?;
        }
        let proxy = global.proxy;
        if let (Some(hub), Some(tag)) = (global.hub, global.tag) {
            let image = proxy.image.as_deref().unwrap_or("lateen");
            // A name with a folder is a whole image, as Istio has it.
            self.image = match image.contains('/') {
                true => image.to_owned(),
                false => format!("{hub}/{image}:{}", plain(&tag)),
            };
        }
        set(&mut self.image_pull_policy, global.image_pull_policy);
        set(&mut self.image_pull_secrets, global.image_pull_secrets);
        set(&mut self.mesh_id, global.mesh_id);
        set(&mut self.network, global.network);
        set(&mut self.cluster_id, global.multi_cluster.cluster_name);
        set(&mut self.cluster_domain, proxy.cluster_domain);
        set(&mut self.log_level, proxy.log_level);
        set(&mut self.component_log_level, proxy.component_log_level);
        set(&mut self.policy, proxy.auto_inject);
        set(&mut self.ports.status, proxy.status_port);
        set(&mut self.readiness.initial_delay_seconds, proxy.readiness_initial_delay_seconds);
        set(&mut self.readiness.period_seconds, proxy.readiness_period_seconds);
        set(&mut self.readiness.failure_threshold, proxy.readiness_failure_threshold);
        self.capture = proxy.capture;
        if let Some(Requirements { requests, limits }) = proxy.resources {
            self.resources.cpu_request = plain(&requests.cpu);
            self.resources.memory_request = plain(&requests.memory);
            self.resources.cpu_limit = plain(&limits.cpu);
            self.resources.memory_limit = plain(&limits.memory);
        }
        set(&mut self.never_inject_selector, webhook.never_inject_selector);
        set(&mut self.always_inject_selector, webhook.always_inject_selector);
        set(&mut self.enable_namespaces_by_default, webhook.enable_namespaces_by_default);
        set(&mut self.rewrite_probes, webhook.rewrite_probes);
        set(&mut self.native_sidecars, webhook.native_sidecars);
        set(&mut self.templates, webhook.templates);
        set(&mut self.default_templates, webhook.default_templates.filter(|names| !names.is_empty()));
        self.cni = [pilot.cni, cni, istio_cni].iter().any(|switch| switch.enabled == Some(true));
        self.values = Arc::new(serde_saphyr::from_str(text).unwrap_or_default());
        Ok(())
    }
}

fn set<T>(place: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *place = value;
    }
}

/// A quantity or a tag may look like a number.
fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn istios_values_reach_the_sidecar() {
        let mut config = InjectConfig::default();
        let text = "global:\n  hub: example.com/mesh\n  tag: 7\n  imagePullSecrets: [a]\n  proxy:\n    image: lateen\n    \
                    autoInject: disabled\n    includeIPRanges: 10.0.0.0/8\n    readinessPeriodSeconds: 3\n    resources:\n      \
                    requests: {cpu: 1}\n      limits: {memory: 1Gi}\nsidecarInjectorWebhook:\n  nativeSidecars: true\n  \
                    neverInjectSelector:\n  - matchLabels: {a: b}\nunknown: {x: 1}\n";
        config.overlay_values(text).unwrap();
        assert_eq!(config.image, "example.com/mesh/lateen:7");
        assert_eq!((config.policy, config.native_sidecars), (Policy::Disabled, true));
        assert_eq!(config.capture.include_ip_ranges, "10.0.0.0/8");
        assert_eq!(config.capture.include_inbound_ports, "*");
        assert_eq!(config.resources.cpu_request, "1");
        assert_eq!(config.resources.cpu_limit, "");
        assert_eq!(config.readiness.period_seconds, 3);
        assert_eq!(config.image_pull_secrets, ["a"]);
        assert_eq!(config.never_inject_selector.len(), 1);
    }

    #[test]
    fn a_value_of_the_wrong_type_changes_nothing() {
        let mut config = InjectConfig::default();
        let error = config.overlay_values("global: {hub: a, tag: b, proxy: {statusPort: many}}").unwrap_err();
        assert!(error.to_string().contains("values"), "{error}");
        assert_eq!(config, InjectConfig::default());
    }
}
