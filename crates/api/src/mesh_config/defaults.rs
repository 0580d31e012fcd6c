//! The mesh's configuration where nothing else is said, and reading it from the ConfigMap.

use serde::de::{Deserialize, Deserializer, Error as _};
use serde::ser::{Serialize, Serializer};
use serde_json::{Map, Value};

use super::providers::{ExtensionProvider, FileAccessLog, Provider};
use super::proxy::{AuthenticationPolicy, ClusterName, ProxyConfig};
use super::{
    InboundTrafficMode, InboundTrafficPolicy, IngressControllerMode, MeshConfig, MeshOutboundTrafficPolicy,
};
use crate::networking::sidecar::OutboundTrafficMode;
use crate::networking::traffic_policy::LocalityLoadBalancerSetting;
use crate::networking::virtual_service_http::HttpRetry;
use crate::object::join;
use crate::wire::duration::Duration;
use crate::wire::field::Field;
use crate::wire::names::json_name;
use crate::wire::report::Report;

impl ProxyConfig {
    /// Istio's defaults: <https://istio.io/latest/docs/reference/config/istio.mesh.v1alpha1/#ProxyConfig>.
    pub fn istio_defaults() -> Self {
        Self {
            config_path: "./etc/istio/proxy".to_owned(),
            binary_path: "/usr/local/bin/envoy".to_owned(),
            cluster_name: Some(ClusterName::ServiceCluster("istio-proxy".to_owned())),
            drain_duration: Some(Duration::from_secs(45)),
            parent_shutdown_duration: Some(Duration::from_secs(60)),
            termination_drain_duration: Some(Duration::from_secs(5)),
            discovery_address: "istiod.istio-system.svc:15012".to_owned(),
            proxy_admin_port: 15000,
            control_plane_auth_policy: AuthenticationPolicy::MutualTls,
            stat_name_length: 189,
            status_port: 15020,
            ..Self::default()
        }
    }
}

impl MeshConfig {
    /// Istio's defaults: <https://istio.io/latest/docs/reference/config/istio.mesh.v1alpha1/#MeshConfig>.
    pub fn istio_defaults() -> Self {
        let everyone = vec!["*".to_owned()];
        Self {
            proxy_listen_port: 15001,
            proxy_inbound_listen_port: 15006,
            connect_timeout: Some(Duration::from_secs(10)),
            protocol_detection_timeout: Some(Duration::ZERO),
            dns_refresh_rate: Some(Duration::from_secs(60)),
            ingress_class: "istio".to_owned(),
            ingress_service: "istio-ingressgateway".to_owned(),
            ingress_selector: "ingressgateway".to_owned(),
            ingress_controller_mode: IngressControllerMode::Strict,
            default_config: Some(ProxyConfig::istio_defaults()),
            outbound_traffic_policy: Some(MeshOutboundTrafficPolicy {
                mode: Some(OutboundTrafficMode::AllowAny),
                ..MeshOutboundTrafficPolicy::default()
            }),
            inbound_traffic_policy: Some(InboundTrafficPolicy {
                mode: Some(InboundTrafficMode::Passthrough),
            }),
            enable_auto_mtls: Some(true),
            trust_domain: "cluster.local".to_owned(),
            root_namespace: "istio-system".to_owned(),
            enable_prometheus_merge: Some(true),
            locality_lb_setting: Some(LocalityLoadBalancerSetting {
                enabled: Some(true),
                ..LocalityLoadBalancerSetting::default()
            }),
            default_service_export_to: everyone.clone(),
            default_virtual_service_export_to: everyone.clone(),
            default_destination_rule_export_to: everyone,
            extension_providers: vec![
                provider("prometheus", Provider::Prometheus(Map::new())),
                provider("stackdriver", Provider::Stackdriver(Map::new())),
                provider(
                    "envoy",
                    Provider::FileAccessLog(FileAccessLog {
                        path: "/dev/stdout".to_owned(),
                        ..FileAccessLog::default()
                    }),
                ),
            ],
            default_http_retry_policy: Some(HttpRetry {
                attempts: 2,
                retry_on: "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes"
                    .to_owned(),
                ..HttpRetry::default()
            }),
            ..Self::default()
        }
    }

    /// The configuration that `value` describes, over Istio's defaults: fields that it names replace the defaults,
    /// those of `defaultConfig` one by one, and providers are added to the default ones. The report tells what could
    /// not be read (those fields keep their defaults) and which fields are unknown.
    pub fn over_defaults(value: Value) -> (Self, Report) {
        let mut report = Report::default();
        let defaults = Self::istio_defaults();
        let Some(given) = crate::wire::field::object(value, &mut report) else { return (defaults, report) };
        let Value::Object(encoded) = defaults.encode() else { return (defaults, report) };
        let mut merged = encoded.clone();
        for (key, value) in given {
            let key = json_name(&key);
            match (key.as_str(), value) {
                (_, Value::Null) => {}
                ("defaultConfig", Value::Object(given)) => overlay(&mut merged, "defaultConfig", given),
                ("extensionProviders", Value::Array(given)) => add_providers(&mut merged, given),
                (_, value) => drop(merged.insert(key, value)),
            }
        }
        let config = Self::decode(Value::Object(merged.clone()), &mut report);
        if report.errors.is_empty() {
            return (config.unwrap_or(defaults), report);
        }
        for error in &report.errors {
            let field = error.path.split(['.', '[']).next().unwrap_or_default();
            match encoded.get(field) {
                Some(default) => drop(merged.insert(field.to_owned(), default.clone())),
                None => drop(merged.remove(field)),
            }
        }
        let config = Self::decode(Value::Object(merged), &mut Report::default());
        (config.unwrap_or(defaults), report)
    }
}

fn provider(name: &str, provider: Provider) -> ExtensionProvider {
    ExtensionProvider { name: name.to_owned(), provider: Some(provider) }
}

fn overlay(merged: &mut Map<String, Value>, field: &str, given: Map<String, Value>) {
    let Some(Value::Object(target)) = merged.get_mut(field) else { return };
    for (key, value) in given {
        let key = json_name(&key);
        // The two are one oneof: naming the second takes the default of the first away.
        if key == "tracingServiceName" {
            target.remove("serviceCluster");
        }
        target.insert(key, value);
    }
}

/// A given provider replaces the default one of its name.
fn add_providers(merged: &mut Map<String, Value>, given: Vec<Value>) {
    let Some(Value::Array(all)) = merged.get_mut("extensionProviders") else { return };
    all.retain(|default| !given.iter().any(|provider| provider.get("name") == default.get("name")));
    all.extend(given);
}

impl<'de> Deserialize<'de> for MeshConfig {
    /// Reads a configuration as it stands, without defaults; unknown fields are ignored.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut report = Report::default();
        let config = Self::decode(Value::deserialize(deserializer)?, &mut report);
        match config {
            Some(config) if report.errors.is_empty() => Ok(config),
            _ => Err(D::Error::custom(join(&report.errors))),
        }
    }
}

impl Serialize for MeshConfig {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.encode().serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_given_goes_over_the_defaults() {
        let (config, report) = MeshConfig::over_defaults(json!({
            "accessLogFile": "/dev/stdout",
            "outbound_traffic_policy": {"mode": "REGISTRY_ONLY"},
            "defaultConfig": {"discoveryAddress": "istiod:15010", "tracingServiceName": "CANONICAL_NAME_ONLY"},
            "extensionProviders": [{"name": "otel", "opentelemetry": {"service": "otel", "port": 4317}}],
            "meshMTLS": {"minProtocolVersion": "TLSV1_3"},
        }));
        assert_eq!(report.errors, []);
        assert_eq!(report.unknown, []);
        let policy = config.outbound_traffic_policy.unwrap();
        assert_eq!(policy.mode, Some(OutboundTrafficMode::RegistryOnly));
        let proxy = config.default_config.unwrap();
        assert_eq!((proxy.discovery_address.as_str(), proxy.status_port), ("istiod:15010", 15020));
        assert!(matches!(proxy.cluster_name, Some(ClusterName::TracingServiceName(_))));
        assert_eq!(config.extension_providers.len(), 4);
        assert_eq!(config.trust_domain, "cluster.local");
        assert!(config.mesh_m_t_l_s.is_some());
    }

    #[test]
    fn what_cannot_be_read_is_reported_and_keeps_its_default() {
        let (config, report) = MeshConfig::over_defaults(json!({"proxyListenPort": "x", "nonsense": 1}));
        assert_eq!(report.errors[0].path, "proxyListenPort");
        assert_eq!(report.unknown[0].path, "nonsense");
        assert_eq!(config.proxy_listen_port, 15001);
    }
}
