//! MeshConfig: the settings of the mesh as a whole, from the ConfigMap `istio`.

pub mod defaults;
pub mod providers;
pub mod proxy;
pub mod tracing;

use serde_json::{Map, Value};

use self::providers::ExtensionProvider;
use self::proxy::ProxyConfig;
use crate::networking::traffic_policy::{ClientTlsSettings, LocalityLoadBalancerSetting, TcpKeepalive};
use crate::networking::virtual_service_http::HttpRetry;
use crate::wire::duration::Duration;
use crate::wire::message::{enumeration, message, oneof};

message! {
    /// Settings of the mesh as a whole.
    pub struct MeshConfig {
        /// Port for captured outbound traffic: 15001.
        proxy_listen_port: i32,
        /// Port for captured inbound traffic: 15006.
        proxy_inbound_listen_port: i32,
        /// Port for HTTP proxy requests; none by default.
        proxy_http_port: i32,
        /// How long connecting may take: 10 s.
        connect_timeout: Option<Duration>,
        /// How long a client may take to show its protocol; 0 means without end.
        protocol_detection_timeout: Option<Duration>,
        /// TCP keepalive.
        tcp_keepalive: Option<TcpKeepalive>,
        /// The class of Ingresses that are served.
        ingress_class: String,
        /// The service of the ingress gateway.
        ingress_service: String,
        /// Which Ingresses are served.
        ingress_controller_mode: IngressControllerMode,
        /// The value of label `istio` of the pods that serve Ingresses.
        ingress_selector: String,
        /// Whether requests are traced.
        enable_tracing: bool,
        /// The file for access logs (`/dev/stdout`); empty means none.
        access_log_file: String,
        /// The format of access logs; empty means Istio's.
        access_log_format: String,
        /// The encoding of access logs.
        access_log_encoding: AccessLogEncoding,
        /// Whether accesses are sent to an access log service.
        enable_envoy_access_log_service: bool,
        /// Whether connections without a route go unlogged.
        disable_envoy_listener_log: bool,
        /// Settings of proxies; pods change single fields by annotation.
        default_config: Option<ProxyConfig>,
        /// What becomes of traffic to unknown destinations: ALLOW_ANY.
        outbound_traffic_policy: Option<MeshOutboundTrafficPolicy>,
        /// Where the sidecar sends what it received: PASSTHROUGH.
        inbound_traffic_policy: Option<InboundTrafficPolicy>,
        /// Sources of configuration besides the API server.
        config_sources: Vec<ConfigSource>,
        /// Whether mutual TLS is used where both sides can: true.
        enable_auto_mtls: Option<bool>,
        /// The root of trust: `cluster.local`.
        trust_domain: String,
        /// Other names of it.
        trust_domain_aliases: Vec<String>,
        /// Further root certificates of workloads.
        ca_certificates: Vec<CertificateData>,
        /// `exportTo` of services that say nothing.
        default_service_export_to: Vec<String>,
        /// `exportTo` of virtual services that say nothing.
        default_virtual_service_export_to: Vec<String>,
        /// `exportTo` of destination rules that say nothing.
        default_destination_rule_export_to: Vec<String>,
        /// The namespace whose configuration is the mesh's: `istio-system`.
        root_namespace: String,
        /// Preference of near localities.
        locality_lb_setting: Option<LocalityLoadBalancerSetting>,
        /// How often names are resolved: 60 s.
        dns_refresh_rate: Option<Duration>,
        /// Whether HTTP/1.1 is upgraded to HTTP/2.
        h2_upgrade_policy: MeshH2UpgradePolicy,
        /// The name of inbound clusters in statistics.
        inbound_cluster_stat_name: String,
        /// The name of outbound clusters in statistics.
        outbound_cluster_stat_name: String,
        /// Deprecated: certificates to provide.
        certificates: Vec<Certificate>,
        /// Settings of single services.
        service_settings: Vec<ServiceSettings>,
        /// Which services are reached across clusters.
        service_scope_configs: Vec<ServiceScopeConfig>,
        /// Whether the application's metrics are merged with the proxy's: true.
        enable_prometheus_merge: Option<bool>,
        /// Deprecated: whether clients verify certificates.
        verify_certificate_at_client: Option<bool>,
        /// An external authority that signs certificates.
        ca: Option<CertificateAuthority>,
        /// Providers that other resources name.
        extension_providers: Vec<ExtensionProvider>,
        /// Providers that are used where resources name none.
        default_providers: Option<DefaultProviders>,
        /// The namespaces that are watched; all by default.
        discovery_selectors: Vec<NamespaceSelector>,
        /// How paths are normalised.
        path_normalization: Option<ProxyPathNormalization>,
        /// Retries of routes that say nothing: 2 attempts.
        default_http_retry_policy: Option<HttpRetry>,
        /// TLS between workloads of the mesh (`meshMTLS`).
        mesh_m_t_l_s: Option<TlsConfig>,
        /// TLS everywhere else.
        tls_defaults: Option<TlsConfig>,
        /// `fips-140-2`, `pqc`, or nothing.
        compliance_policy: String,
    }
}

enumeration! {
    /// Which Ingresses are served.
    pub enum IngressControllerMode {
        /// As STRICT.
        Unspecified = 0 "UNSPECIFIED",
        /// None.
        Off = 1 "OFF",
        /// Those of our class and those without one.
        Default = 2 "DEFAULT",
        /// Those of our class.
        Strict = 3 "STRICT",
    }
}

enumeration! {
    /// The encoding of access logs.
    pub enum AccessLogEncoding {
        /// Text.
        Text = 0 "TEXT",
        /// JSON.
        Json = 1 "JSON",
    }
}

enumeration! {
    /// Whether HTTP/1.1 is upgraded to HTTP/2.
    pub enum MeshH2UpgradePolicy {
        /// Never.
        DoNotUpgrade = 0 "DO_NOT_UPGRADE",
        /// Always.
        Upgrade = 1 "UPGRADE",
    }
}

message! {
    /// What becomes of traffic to unknown destinations.
    pub struct MeshOutboundTrafficPolicy {
        /// Whether it is let through.
        mode: Option<crate::networking::sidecar::OutboundTrafficMode>,
        /// How connections are secured; mode ALLOW_ANY_DYNAMIC_DNS only.
        tls: Option<ClientTlsSettings>,
    }
}

message! {
    /// Where the sidecar sends what it received.
    pub struct InboundTrafficPolicy {
        /// To which address.
        mode: Option<InboundTrafficMode>,
    }
}

enumeration! {
    /// To which address the sidecar sends what it received.
    pub enum InboundTrafficMode {
        /// The pod's.
        Passthrough = 0 "PASSTHROUGH",
        /// 127.0.0.1.
        Localhost = 1 "LOCALHOST",
    }
}

message! {
    /// A source of configuration.
    pub struct ConfigSource {
        /// Where: `xds://`, `k8s://` or `fs:///`.
        address: String,
        /// How the connection is secured.
        tls_settings: Option<ClientTlsSettings>,
        /// What it has.
        subscribed_resources: Vec<SubscribedResource>,
    }
}

enumeration! {
    /// What a source of configuration has.
    pub enum SubscribedResource {
        /// Services.
        ServiceRegistry = 0 "SERVICE_REGISTRY",
    }
}

message! {
    /// A root certificate.
    pub struct CertificateData {
        /// For which signers; all by default.
        cert_signers: Vec<String>,
        /// For which trust domains; the mesh's by default.
        trust_domains: Vec<String>,
    }
    oneof {
        /// The certificate.
        certificate_data: CertificateSource,
    }
}

oneof! {
    /// Where a certificate is.
    pub enum CertificateSource {
        /// Here, in PEM.
        pem: Pem(String),
        /// At a SPIFFE bundle endpoint.
        spiffe_bundle_url: SpiffeBundleUrl(String),
    }
}

message! {
    /// A certificate to provide.
    pub struct Certificate {
        /// The secret for it.
        secret_name: String,
        /// Its names.
        dns_names: Vec<String>,
    }
}

message! {
    /// Settings of single services.
    pub struct ServiceSettings {
        /// The settings.
        settings: Option<ServiceSettingsSettings>,
        /// The services' hosts, with or without wildcards.
        hosts: Vec<String>,
    }
}

message! {
    /// Settings of a service.
    pub struct ServiceSettingsSettings {
        /// Whether clients and endpoints must be in the same cluster.
        cluster_local: bool,
    }
}

message! {
    /// Which services are reached across clusters.
    pub struct ServiceScopeConfig {
        /// The namespaces.
        namespace_selector: Option<NamespaceSelector>,
        /// The services.
        services_selector: Option<NamespaceSelector>,
        /// Whether they are.
        scope: ServiceScope,
    }
}

enumeration! {
    /// Whether a service is reached across clusters.
    pub enum ServiceScope {
        /// It is not.
        Local = 0 "LOCAL",
        /// It is.
        Global = 1 "GLOBAL",
    }
}

message! {
    /// An authority that signs certificates by Istio's CA API.
    pub struct CertificateAuthority {
        /// Its address.
        address: String,
        /// How the connection is secured.
        tls_settings: Option<ClientTlsSettings>,
        /// How long a request may take: 10 s.
        request_timeout: Option<Duration>,
        /// Whether the control plane asks it, or the agent.
        istiod_side: bool,
    }
}

message! {
    /// Providers that are used where resources name none.
    pub struct DefaultProviders {
        /// For traces.
        tracing: Vec<String>,
        /// For metrics.
        metrics: Vec<String>,
        /// For access logs.
        access_logging: Vec<String>,
    }
}

message! {
    /// A selector by labels, as Kubernetes has it.
    pub struct NamespaceSelector {
        /// Labels that must be there.
        match_labels: std::collections::BTreeMap<String, String>,
        /// Conditions that must hold.
        match_expressions: Vec<SelectorRequirement>,
    }
}

message! {
    /// A condition on a label.
    pub struct SelectorRequirement {
        /// The label.
        key: String,
        /// In, NotIn, Exists or DoesNotExist.
        operator: String,
        /// The values for In and NotIn.
        values: Vec<String>,
    }
}

message! {
    /// How paths are normalised.
    pub struct ProxyPathNormalization {
        /// How far.
        normalization: PathNormalization,
    }
}

enumeration! {
    /// How far paths are normalised.
    pub enum PathNormalization {
        /// As BASE.
        Default = 0 "DEFAULT",
        /// Not at all.
        None = 1 "NONE",
        /// By RFC 3986: `/a/../b` is `/b`.
        Base = 2 "BASE",
        /// And slashes are merged: `/a//b` is `/a/b`.
        MergeSlashes = 3 "MERGE_SLASHES",
        /// And escaped slashes are decoded before.
        DecodeAndMergeSlashes = 4 "DECODE_AND_MERGE_SLASHES",
    }
}

message! {
    /// Settings of TLS.
    pub struct TlsConfig {
        /// The oldest version that is accepted.
        min_protocol_version: TlsVersion,
        /// The curves that are used.
        ecdh_curves: Vec<String>,
        /// The cipher suites that are used, up to TLS 1.2.
        cipher_suites: Vec<String>,
    }
}

enumeration! {
    /// Versions of TLS.
    pub enum TlsVersion {
        /// As the proxy has it.
        TlsAuto = 0 "TLS_AUTO",
        /// TLS 1.2.
        TlsV1_2 = 1 "TLSV1_2",
        /// TLS 1.3.
        TlsV1_3 = 2 "TLSV1_3",
    }
}

/// An object without a form that is known here.
pub type FreeForm = Map<String, Value>;
