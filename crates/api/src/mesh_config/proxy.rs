//! ProxyConfig: the settings of a proxy, from MeshConfig and the annotation `proxy.istio.io/config`.

use std::collections::BTreeMap;

use super::FreeForm;
use super::tracing::Tracing;
use crate::networking::proxy_config::ProxyImage;
use crate::networking::traffic_policy::{ClientTlsSettings, TcpKeepalive};
use crate::networking::workload_group::ReadinessProbe;
use crate::wire::duration::Duration;
use crate::wire::message::{enumeration, message, oneof};

message! {
    /// Settings of a proxy.
    pub struct ProxyConfig {
        /// The directory for its configuration.
        config_path: String,
        /// Its program.
        binary_path: String,
        /// How long it drains: 45 s.
        drain_duration: Option<Duration>,
        /// Deprecated: how long a former proxy is waited for.
        parent_shutdown_duration: Option<Duration>,
        /// The control plane: `istiod.istio-system.svc:15012`.
        discovery_address: String,
        /// Deprecated: has no effect.
        discovery_refresh_delay: Option<Duration>,
        /// Deprecated: use tracing.
        zipkin_address: String,
        /// Where statistics are sent by statsd over UDP.
        statsd_udp_address: String,
        /// Deprecated: use envoyMetricsService.
        envoy_metrics_service_address: String,
        /// The port of administration: 15000.
        proxy_admin_port: i32,
        /// Deprecated: has no effect.
        availability_zone: String,
        /// How the control plane is spoken to.
        control_plane_auth_policy: AuthenticationPolicy,
        /// A bootstrap to use instead of the generated one.
        custom_config_file: String,
        /// The longest name in statistics: 189.
        stat_name_length: i32,
        /// The number of worker threads; 0 means as many as there are cores, none as the pod's limits say.
        concurrency: Option<i32>,
        /// The template of the bootstrap.
        proxy_bootstrap_template_path: String,
        /// How inbound traffic is captured.
        interception_mode: InboundInterceptionMode,
        /// How requests are traced.
        tracing: Option<Tracing>,
        /// Deprecated: has no effect.
        sds: Option<LegacySds>,
        /// The access log service.
        envoy_access_log_service: Option<RemoteService>,
        /// The metrics service.
        envoy_metrics_service: Option<RemoteService>,
        /// Environment variables; those of `ISTIO_META_` become the node's metadata.
        proxy_metadata: BTreeMap<String, String>,
        /// Runtime values.
        runtime_values: BTreeMap<String, String>,
        /// The agent's port: 15020.
        status_port: i32,
        /// Further tags of statistics.
        extra_stat_tags: Vec<String>,
        /// What stands before a gateway.
        gateway_topology: Option<Topology>,
        /// How long connections may go on after SIGTERM: 5 s.
        termination_drain_duration: Option<Duration>,
        /// The mesh's name.
        mesh_id: String,
        /// How a workload that is no pod tells its readiness.
        readiness_probe: Option<ReadinessProbe>,
        /// Which statistics there are besides the usual ones.
        proxy_stats_matcher: Option<ProxyStatsMatcher>,
        /// Whether the application waits for the proxy.
        hold_application_until_proxy_starts: Option<bool>,
        /// Further root certificates, in PEM.
        ca_certificates_pem: Vec<String>,
        /// The proxy's image.
        image: Option<ProxyImage>,
        /// What speeds up private keys.
        private_key_provider: Option<PrivateKeyProvider>,
        /// Which headers the proxy adds.
        proxy_headers: Option<ProxyHeaders>,
        /// How often log files are flushed: 1 s.
        file_flush_interval: Option<Duration>,
        /// How many KiB of log are kept before they are flushed: 64.
        file_flush_min_size_kb: Option<u32>,
        /// How often unused statistics are dropped.
        stats_eviction_interval: Option<Duration>,
        /// Whether statistics may be compressed.
        stats_compression: Option<bool>,
        /// How connections are handled at the edge.
        connection_settings: FreeForm,
    }
    oneof {
        /// The proxy's name as a service in traces.
        cluster_name: ClusterName,
    }
}

oneof! {
    /// The proxy's name as a service in traces.
    pub enum ClusterName {
        /// A given name.
        service_cluster: ServiceCluster(String),
        /// A name from labels.
        tracing_service_name: TracingServiceName(TracingServiceName),
    }
}

enumeration! {
    /// A name from labels.
    pub enum TracingServiceName {
        /// Label `app` and the namespace.
        AppLabelAndNamespace = 0 "APP_LABEL_AND_NAMESPACE",
        /// The canonical name.
        CanonicalNameOnly = 1 "CANONICAL_NAME_ONLY",
        /// The canonical name and the namespace.
        CanonicalNameAndNamespace = 2 "CANONICAL_NAME_AND_NAMESPACE",
    }
}

enumeration! {
    /// How the control plane is spoken to.
    pub enum AuthenticationPolicy {
        /// Plainly.
        None = 0 "NONE",
        /// By mutual TLS.
        MutualTls = 1 "MUTUAL_TLS",
        /// As the parent has it.
        Inherit = 1000 "INHERIT",
    }
}

enumeration! {
    /// How inbound traffic is captured.
    pub enum InboundInterceptionMode {
        /// By redirection.
        Redirect = 0 "REDIRECT",
        /// By TPROXY, which keeps the client's address.
        Tproxy = 1 "TPROXY",
        /// Not at all.
        None = 2 "NONE",
    }
}

message! {
    /// Secret discovery as it once was.
    pub struct LegacySds {
        /// Whether it is used.
        enabled: bool,
        /// The service account's token.
        k8s_sa_jwt_path: String,
    }
}

message! {
    /// A service that proxies report to.
    pub struct RemoteService {
        /// Its address.
        address: String,
        /// How the connection is secured.
        tls_settings: Option<ClientTlsSettings>,
        /// TCP keepalive.
        tcp_keepalive: Option<TcpKeepalive>,
    }
}

message! {
    /// What stands before a gateway.
    pub struct Topology {
        /// How many proxies are trusted.
        num_trusted_proxies: u32,
        /// What becomes of `x-forwarded-client-cert`.
        forward_client_cert_details: ForwardClientCertDetails,
        /// Whether clients' addresses come by the PROXY protocol.
        proxy_protocol: Option<FreeForm>,
    }
}

enumeration! {
    /// What becomes of `x-forwarded-client-cert`.
    pub enum ForwardClientCertDetails {
        /// Not said.
        Undefined = 0 "UNDEFINED",
        /// It is removed.
        Sanitize = 1 "SANITIZE",
        /// It is forwarded over mutual TLS.
        ForwardOnly = 2 "FORWARD_ONLY",
        /// The client's certificate is added over mutual TLS.
        AppendForward = 3 "APPEND_FORWARD",
        /// The client's certificate replaces it over mutual TLS.
        SanitizeSet = 4 "SANITIZE_SET",
        /// It is forwarded always.
        AlwaysForwardOnly = 5 "ALWAYS_FORWARD_ONLY",
    }
}

message! {
    /// Which statistics there are besides the usual ones.
    pub struct ProxyStatsMatcher {
        /// Beginnings of names.
        inclusion_prefixes: Vec<String>,
        /// Ends of names.
        inclusion_suffixes: Vec<String>,
        /// Expressions for names.
        inclusion_regexps: Vec<String>,
    }
}

oneof! {
    /// What speeds up private keys.
    pub message enum PrivateKeyProvider {
        /// CryptoMB.
        cryptomb: CryptoMb(KeyAccelerator),
        /// QAT.
        qat: Qat(KeyAccelerator),
    }
}

message! {
    /// Settings of an accelerator.
    pub struct KeyAccelerator {
        /// How long it waits for its queue to fill.
        poll_delay: Option<Duration>,
        /// Whether keys are used without it where it is missing.
        fallback: Option<bool>,
    }
}

message! {
    /// Which headers the proxy adds.
    pub struct ProxyHeaders {
        /// What becomes of `x-forwarded-client-cert`.
        forwarded_client_cert: ForwardClientCertDetails,
        /// Which details of the certificate are set.
        set_current_client_cert_details: Option<ClientCertDetails>,
        /// `x-request-id`.
        request_id: Option<HeaderSwitch>,
        /// `server`.
        server: Option<ServerHeader>,
        /// `x-envoy-attempt-count`.
        attempt_count: Option<HeaderSwitch>,
        /// `x-envoy-*` headers that help with finding faults.
        envoy_debug_headers: Option<HeaderSwitch>,
        /// `x-envoy-peer-metadata` and its kin.
        metadata_exchange_headers: Option<MetadataExchangeHeaders>,
        /// Whether the case of header names is kept in HTTP/1.1.
        preserve_http1_header_case: Option<bool>,
        /// `x-forwarded-host`.
        x_forwarded_host: Option<EnabledSwitch>,
        /// `x-forwarded-port`.
        x_forwarded_port: Option<EnabledSwitch>,
    }
}

message! {
    /// Which details of a client's certificate are set.
    pub struct ClientCertDetails {
        /// Its subject.
        subject: Option<bool>,
        /// Itself.
        cert: Option<bool>,
        /// Its chain.
        chain: Option<bool>,
        /// Its DNS names.
        dns: Option<bool>,
        /// Its URI.
        uri: Option<bool>,
    }
}

message! {
    /// Switches a header off.
    pub struct HeaderSwitch {
        /// Whether it is off.
        disabled: Option<bool>,
    }
}

message! {
    /// Switches a header on.
    pub struct EnabledSwitch {
        /// Whether it is on.
        enabled: Option<bool>,
    }
}

message! {
    /// The header `server`.
    pub struct ServerHeader {
        /// Whether it is off.
        disabled: Option<bool>,
        /// Its value: `istio-envoy`.
        value: String,
    }
}

message! {
    /// Headers that tell who the peer is.
    pub struct MetadataExchangeHeaders {
        /// To whom they are sent.
        mode: MetadataExchangeMode,
    }
}

enumeration! {
    /// To whom metadata is sent.
    pub enum MetadataExchangeMode {
        /// To everyone.
        Undefined = 0 "UNDEFINED",
        /// Within the mesh.
        InMesh = 1 "IN_MESH",
    }
}
