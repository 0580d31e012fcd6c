use std::sync::Arc;

use k8s_openapi::api::core::v1::ConfigMap;
use lateen_api::Report;
use lateen_api::mesh_config::providers::ExtensionProvider;
use lateen_api::mesh_config::proxy::Topology;
use lateen_api::mesh_config::tracing::Tracing;
use lateen_api::mesh_config::{DefaultProviders, MeshConfig, ProxyPathNormalization, TlsConfig, TlsVersion};
use lateen_api::object::join;
use lateen_api::validation::gateway::{CIPHER_SUITES, CURVES, IANA_SUITES, TLS13_SUITES};
use lateen_api::wire::field::Field;
use lateen_mesh::{Observed, Resource, Settings, Visibility};
use serde_json::{Map, Value};

use super::watch::Taken;

/// Reads MeshConfig out of Istio's ConfigMap (`data.mesh`, YAML).
///
/// A ConfigMap that cannot be read leaves the settings as they were.
pub(super) fn take(map: &ConfigMap, domain: &str) -> Taken {
    let name = map.metadata.name.as_deref().unwrap_or_default();
    let text = map.data.as_ref().and_then(|data| data.get("mesh")).map_or("", String::as_str);
    match read(text, domain) {
        Ok(settings) => Taken::Upsert(Box::new(Resource::from(settings))),
        Err(reason) => {
            tracing::warn!(
                config_map = name,
                field = "data.mesh",
                reason,
                "mesh configuration refused; the last one stays"
            );
            Taken::Keep
        }
    }
}

/// The settings that the mesh reads of MeshConfig (YAML), for services of a DNS domain.
///
/// # Errors
/// The fields that cannot be read, and why.
pub fn settings(text: &str, domain: &str) -> Result<Settings, String> {
    read(text, domain)
}

/// The settings that the mesh reads. Fields of MeshConfig that concern others (the injector, certificates,
/// telemetry) are not looked at here.
fn read(text: &str, domain: &str) -> Result<Settings, String> {
    let mut settings = Settings { domain: domain.into(), ..Settings::default() };
    let text = if text.trim().is_empty() { "{}" } else { text };
    let value: Value = serde_saphyr::from_str(text).map_err(|e| e.to_string())?;
    let Value::Object(mut fields) = value else { return Err("it must be a mapping".into()) };
    let mut report = Report::default();
    let log = |text: Option<String>| text.filter(|t| !t.is_empty()).map(Arc::<str>::from);
    settings.access_log_file = log(take_field(&mut fields, "accessLogFile", &mut report));
    settings.access_log_format = log(take_field(&mut fields, "accessLogFormat", &mut report));
    let encoding: Option<String> = take_field(&mut fields, "accessLogEncoding", &mut report);
    settings.access_log_json = encoding.as_deref() == Some("JSON");
    if let Some(namespace) = take_field::<String>(&mut fields, "rootNamespace", &mut report) {
        settings.root_namespace = namespace.into();
    }
    let mode =
        fields.get("outboundTrafficPolicy").and_then(|policy| policy.get("mode")).and_then(Value::as_str);
    settings.allow_any = match mode {
        None | Some("ALLOW_ANY") => true,
        Some("REGISTRY_ONLY") => false,
        Some(other) => {
            report.error_at(
                "outboundTrafficPolicy.mode",
                format!("{other:?} is neither ALLOW_ANY nor REGISTRY_ONLY"),
            );
            true
        }
    };
    for (name, place) in [
        ("connectTimeout", &mut settings.connect_timeout),
        ("dnsRefreshRate", &mut settings.dns_refresh_rate),
        ("protocolDetectionTimeout", &mut settings.detection_timeout),
    ] {
        *place = take_field(&mut fields, name, &mut report).unwrap_or(*place);
    }
    settings.locality = take_field(&mut fields, "localityLbSetting", &mut report).unwrap_or_default();
    settings.default_retries = take_field(&mut fields, "defaultHttpRetryPolicy", &mut report);
    for (name, place) in [
        ("defaultServiceExportTo", &mut settings.default_service_export),
        ("defaultVirtualServiceExportTo", &mut settings.default_virtual_service_export),
        ("defaultDestinationRuleExportTo", &mut settings.default_destination_rule_export),
    ] {
        let list: Vec<String> = take_field(&mut fields, name, &mut report).unwrap_or_default();
        if list == ["."] {
            *place = Visibility::own();
        } else if let Some(visibility) = Visibility::parse(&list, &settings.root_namespace) {
            *place = visibility;
        }
    }
    providers(&mut settings, &mut fields, &mut report);
    security(&mut settings, &mut fields, &mut report);
    for warning in &report.warnings {
        tracing::warn!(field = %warning, "part of the mesh configuration is left out");
    }
    if report.errors.is_empty() { Ok(settings) } else { Err(join(&report.errors)) }
}

/// Who is told about requests: the providers that Istio has by itself, and those that MeshConfig adds or replaces.
fn providers(settings: &mut Settings, fields: &mut Map<String, Value>, report: &mut Report) {
    let mut providers = MeshConfig::istio_defaults().extension_providers;
    let given: Vec<ExtensionProvider> = take_field(fields, "extensionProviders", report).unwrap_or_default();
    providers.retain(|known| !given.iter().any(|new| new.name == known.name));
    providers.extend(given);
    settings.extension_providers = providers;
    let defaults: DefaultProviders = take_field(fields, "defaultProviders", report).unwrap_or_default();
    let names = |list: Vec<String>| list.into_iter().map(Arc::from).collect();
    settings.default_logging = names(defaults.access_logging);
    settings.default_metrics = names(defaults.metrics);
    settings.default_tracing = names(defaults.tracing);
    settings.enable_tracing = take_field(fields, "enableTracing", report).unwrap_or(false);
    let tracing = fields.get("defaultConfig").and_then(|config| config.get("tracing")).cloned();
    settings.proxy_tracing = tracing.and_then(|tracing| {
        report.field("defaultConfig", |r| r.field("tracing", |r| Tracing::decode(tracing, r)))
    });
    settings.observed = Observed::of_mesh(settings);
}

/// What concerns identities, TLS and policies.
fn security(settings: &mut Settings, fields: &mut Map<String, Value>, report: &mut Report) {
    let text = |name: String| Arc::<str>::from(name);
    if let Some(domain) = take_field::<String>(fields, "trustDomain", report).filter(|d| !d.is_empty()) {
        settings.trust_domain = domain.into();
    }
    let aliases: Option<Vec<String>> = take_field(fields, "trustDomainAliases", report);
    settings.trust_domain_aliases = aliases.unwrap_or_default().into_iter().map(text).collect();
    settings.auto_mtls = take_field(fields, "enableAutoMtls", report).unwrap_or(true);
    settings.mesh_tls = tls(fields, "meshMTLS", report);
    settings.tls_defaults = tls(fields, "tlsDefaults", report);
    let paths: Option<ProxyPathNormalization> = take_field(fields, "pathNormalization", report);
    settings.path_normalization = paths.unwrap_or_default().normalization;
    let topology = fields.get("defaultConfig").and_then(|config| config.get("gatewayTopology")).cloned();
    let topology = topology.and_then(|topology| {
        report.field("defaultConfig", |r| r.field("gatewayTopology", |r| Topology::decode(topology, r)))
    });
    settings.gateway_topology = topology.unwrap_or_default();
}

/// What is agreed on in handshakes. Names that no proxy knows would cost each of them all its listeners: they are left out,
/// as long as others remain.
fn tls(fields: &mut Map<String, Value>, name: &str, report: &mut Report) -> TlsConfig {
    let mut config: TlsConfig = take_field(fields, name, report).unwrap_or_default();
    report.field(name, |report| {
        let all = [CIPHER_SUITES, IANA_SUITES, TLS13_SUITES].concat();
        known(report, "cipherSuites", &mut config.cipher_suites, &all);
        known(report, "ecdhCurves", &mut config.ecdh_curves, CURVES);
    });
    // Suites of TLS 1.3 are always on: whoever names only such wants no other version.
    let named = !config.cipher_suites.is_empty();
    config.cipher_suites.retain(|suite| !TLS13_SUITES.contains(&suite.as_str()));
    if named && config.cipher_suites.is_empty() {
        config.min_protocol_version = TlsVersion::TlsV1_3;
    }
    config
}

fn known(report: &mut Report, field: &str, list: &mut Vec<String>, all: &[&str]) {
    let (known, unknown): (Vec<String>, Vec<String>) =
        std::mem::take(list).into_iter().partition(|name| all.contains(&name.as_str()));
    if unknown.is_empty() {
        *list = known;
        return;
    }
    let text = format!("no proxy knows {}; known are {}", unknown.join(", "), all.join(", "));
    match known.is_empty() {
        true => report.error_at(field, text),
        false => report.warn_at(field, text),
    }
    *list = known;
}

fn take_field<T: Field>(fields: &mut Map<String, Value>, name: &str, report: &mut Report) -> Option<T> {
    let value = fields.remove(name).filter(|value| !value.is_null())?;
    report.field(name, |report| T::decode(value, report))
}

#[cfg(test)]
mod tests {
    use lateen_api::Duration;

    use super::*;

    #[test]
    fn settings_are_read_from_yaml_and_the_rest_is_left_alone() {
        let text = "accessLogFile: /dev/stdout\noutboundTrafficPolicy:\n  mode: REGISTRY_ONLY\nconnectTimeout: 3s\n\
                    rootNamespace: mesh\ndefaultServiceExportTo: ['.']\ndefaultConfig:\n  concurrency: 1\n";
        let settings = read(text, "cluster.test").unwrap();
        assert_eq!(settings.access_log_file.as_deref(), Some("/dev/stdout"));
        assert!(!settings.allow_any);
        assert_eq!(settings.connect_timeout, Duration::from_secs(3));
        assert_eq!((&*settings.root_namespace, &*settings.domain), ("mesh", "cluster.test"));
        assert_eq!(settings.default_service_export, Visibility::own());
    }

    #[test]
    fn names_of_tls_that_no_proxy_knows_are_left_out() {
        let text =
            "meshMTLS: {cipherSuites: [NONSENSE, AES128-SHA]}\ntlsDefaults: {ecdhCurves: [P-256, P-512]}\n";
        let settings = read(text, "cluster.local").unwrap();
        assert_eq!(settings.mesh_tls.cipher_suites, ["AES128-SHA"]);
        assert_eq!(settings.tls_defaults.ecdh_curves, ["P-256"]);
        let iana = "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256";
        let text = format!(
            "meshMTLS: {{cipherSuites: [TLS_AES_256_GCM_SHA384]}}\ntlsDefaults: {{cipherSuites: [TLS_AES_128_GCM_SHA256, {iana}]}}\n"
        );
        let settings = read(&text, "cluster.local").unwrap();
        assert!(settings.mesh_tls.cipher_suites.is_empty());
        assert_eq!(settings.mesh_tls.min_protocol_version, TlsVersion::TlsV1_3);
        assert_eq!(settings.tls_defaults.cipher_suites, [iana]);
        assert_eq!(settings.tls_defaults.min_protocol_version, TlsVersion::TlsAuto);
    }

    #[test]
    fn no_text_means_the_defaults() {
        let settings = read("", "cluster.local").unwrap();
        assert_eq!(settings.observed, Observed::default());
        let names: Vec<&str> = settings.extension_providers.iter().map(|p| p.name.as_str()).collect();
        assert_eq!(names, ["prometheus", "stackdriver", "envoy"]);
    }

    #[test]
    fn errors_name_the_field() {
        for (text, field) in [
            ("connectTimeout: soon", "connectTimeout"),
            ("outboundTrafficPolicy: {mode: SOME}", "outboundTrafficPolicy.mode"),
            ("meshMTLS: {cipherSuites: [NULL]}", "meshMTLS.cipherSuites"),
            ("tlsDefaults: {ecdhCurves: [P-512]}", "tlsDefaults.ecdhCurves"),
            ("- a", "mapping"),
            ("a: [", ""),
        ] {
            let error = read(text, "cluster.local").unwrap_err();
            assert!(error.contains(field), "{error}");
        }
    }
}
