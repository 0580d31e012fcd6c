use std::sync::Arc;

use lateen_api::Duration;
use lateen_api::mesh_config::providers::ExtensionProvider;
use lateen_api::mesh_config::proxy::Topology;
use lateen_api::mesh_config::tracing::Tracing;
use lateen_api::mesh_config::{MeshConfig, PathNormalization, TlsConfig};
use lateen_api::networking::traffic_policy::LocalityLoadBalancerSetting;

use crate::Visibility;
use crate::telemetry::Observed;

/// What the mesh reads of MeshConfig, with defaults applied.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The DNS domain of services.
    pub domain: Arc<str>,
    /// The namespace whose configuration applies everywhere (`rootNamespace`).
    pub root_namespace: Arc<str>,
    /// Whether sidecars may call what the mesh does not know (`outboundTrafficPolicy: ALLOW_ANY`).
    pub allow_any: bool,
    /// The access log's file; `None` logs nothing (`accessLogFile`).
    pub access_log_file: Option<Arc<str>>,
    /// The access log's format; `None` is Istio's default (`accessLogFormat`).
    pub access_log_format: Option<Arc<str>>,
    /// Whether the access log is written as JSON (`accessLogEncoding`).
    pub access_log_json: bool,
    /// Providers of access logs where a Telemetry names none (`defaultProviders.accessLogging`).
    pub default_logging: Vec<Arc<str>>,
    /// Providers of metrics where a Telemetry names none (`defaultProviders.metrics`); Prometheus when empty.
    pub default_metrics: Vec<Arc<str>>,
    /// Providers of traces where a Telemetry names none (`defaultProviders.tracing`).
    pub default_tracing: Vec<Arc<str>>,
    /// Traces go to the address of `proxy_tracing` where no provider is named (`enableTracing`).
    pub enable_tracing: bool,
    /// How proxies trace (`defaultConfig.tracing`).
    pub proxy_tracing: Option<Tracing>,
    /// What is logged and measured: as MeshConfig says, or as Telemetries say for one side of some proxies.
    pub observed: Observed,
    /// How clients prefer near endpoints where a DestinationRule does not say (`localityLbSetting`).
    pub locality: LocalityLoadBalancerSetting,
    /// How long connecting may take (`connectTimeout`).
    pub connect_timeout: Duration,
    /// Retries of HTTP routes that say nothing about them (`defaultHttpRetryPolicy`).
    pub default_retries: Option<lateen_api::networking::virtual_service_http::HttpRetry>,
    /// Where services are visible unless they say otherwise (`defaultServiceExportTo`).
    pub default_service_export: Visibility,
    /// The same for VirtualServices.
    pub default_virtual_service_export: Visibility,
    /// The same for DestinationRules.
    pub default_destination_rule_export: Visibility,
    /// How often DNS names are resolved (`dnsRefreshRate`).
    pub dns_refresh_rate: Duration,
    /// How long to wait for a client's first bytes when the protocol is not declared
    /// (`protocolDetectionTimeout`); zero waits as long as it takes.
    pub detection_timeout: Duration,
    /// What policies may name (`extensionProviders`).
    pub extension_providers: Vec<ExtensionProvider>,
    /// The root of trust of identities (`trustDomain`).
    pub trust_domain: Arc<str>,
    /// Other names of it, whose identities are as good (`trustDomainAliases`).
    pub trust_domain_aliases: Vec<Arc<str>>,
    /// Whether mutual TLS is used where both sides can (`enableAutoMtls`).
    pub auto_mtls: bool,
    /// TLS between workloads (`meshMTLS`).
    pub mesh_tls: TlsConfig,
    /// TLS everywhere else (`tlsDefaults`).
    pub tls_defaults: TlsConfig,
    /// How far paths are normalised before policies see them (`pathNormalization`).
    pub path_normalization: PathNormalization,
    /// What stands before gateways (`defaultConfig.gatewayTopology`).
    pub gateway_topology: Topology,
}

impl Settings {
    /// The trust domain and its aliases.
    pub fn trust_domains(&self) -> impl Iterator<Item = &Arc<str>> {
        std::iter::once(&self.trust_domain).chain(&self.trust_domain_aliases)
    }

    /// The provider of a name.
    pub fn provider(&self, name: &str) -> Option<&ExtensionProvider> {
        self.extension_providers.iter().find(|p| p.name == name)
    }
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            domain: "cluster.local".into(),
            root_namespace: "istio-system".into(),
            allow_any: true,
            access_log_file: None,
            access_log_format: None,
            access_log_json: false,
            default_logging: Vec::new(),
            default_metrics: Vec::new(),
            default_tracing: Vec::new(),
            enable_tracing: false,
            proxy_tracing: None,
            observed: Observed::default(),
            locality: LocalityLoadBalancerSetting::default(),
            connect_timeout: Duration::from_secs(10),
            default_retries: None,
            default_service_export: Visibility::public(),
            default_virtual_service_export: Visibility::public(),
            default_destination_rule_export: Visibility::public(),
            dns_refresh_rate: Duration::from_secs(60),
            detection_timeout: Duration::ZERO,
            extension_providers: MeshConfig::istio_defaults().extension_providers,
            trust_domain: "cluster.local".into(),
            trust_domain_aliases: Vec::new(),
            auto_mtls: true,
            mesh_tls: TlsConfig::default(),
            tls_defaults: TlsConfig::default(),
            path_normalization: PathNormalization::Default,
            gateway_topology: Topology::default(),
        }
    }
}
