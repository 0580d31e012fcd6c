//! TLS contexts: where certificates come from, what is verified, and which versions, suites and curves are used.

pub(crate) mod client;
pub(crate) mod server;

use lateen_api::mesh_config::{TlsConfig, TlsVersion};
use lateen_mesh::Settings;
use lateen_xds::pb::envoy::config::core::v3::transport_socket::ConfigType;
use lateen_xds::pb::envoy::config::core::v3::{
    ApiConfigSource, ApiVersion, ConfigSource, GrpcService, TransportSocket, api_config_source::ApiType,
    config_source::ConfigSourceSpecifier, grpc_service,
};
use lateen_xds::pb::envoy::extensions::transport_sockets::tls::v3::common_tls_context::{
    CombinedCertificateValidationContext, ValidationContextType,
};
use lateen_xds::pb::envoy::extensions::transport_sockets::tls::v3::subject_alt_name_matcher::SanType;
use lateen_xds::pb::envoy::extensions::transport_sockets::tls::v3::tls_parameters::TlsProtocol;
use lateen_xds::pb::envoy::extensions::transport_sockets::tls::v3::{
    CertificateValidationContext, SdsSecretConfig, SubjectAltNameMatcher, TlsParameters,
};
use lateen_xds::pb::envoy::r#type::matcher::v3::{StringMatcher, string_matcher::MatchPattern};
use prost::{Message, Name};

use crate::proto::{ads, any, seconds};

/// The names under which the agent serves the workload's own certificate and the mesh's roots.
pub(crate) const OWN: &str = "default";
/// See [`OWN`].
pub(crate) const ROOTS: &str = "ROOTCA";

/// The protocols that clients in the mesh announce in the handshake: for HTTP, and for everything else. Servers tell
/// the mesh's connections from the applications' own TLS by them.
pub(crate) const HTTP_ALPNS: [&str; 3] = ["istio-http/1.0", "istio-http/1.1", "istio-h2"];
/// See [`HTTP_ALPNS`].
pub(crate) const TCP_ALPNS: [&str; 2] = ["istio-peer-exchange", "istio"];

/// Istio's filter by which the two ends of a TCP connection tell each other who they are, and the type of its
/// configuration. Only Lateen's own proxies know it.
pub(crate) const EXCHANGE: &str = "istio.metadata_exchange";
/// See [`EXCHANGE`].
pub(crate) const EXCHANGE_TYPE: &str = "envoy.tcp.metadataexchange.config.MetadataExchange";

/// The suites for TLS 1.2 within the mesh, as Istio has them; those of TLS 1.3 cannot be chosen.
const SUITES: [&str; 6] = [
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "AES256-GCM-SHA384",
    "AES128-GCM-SHA256",
];

/// A secret that the agent serves on its unix socket.
pub(crate) fn from_agent(name: impl Into<String>) -> SdsSecretConfig {
    let envoy = grpc_service::EnvoyGrpc { cluster_name: "sds-grpc".to_owned(), ..Default::default() };
    let service = GrpcService {
        target_specifier: Some(grpc_service::TargetSpecifier::EnvoyGrpc(envoy)),
        ..GrpcService::default()
    };
    let source = ApiConfigSource {
        api_type: ApiType::Grpc as i32,
        transport_api_version: ApiVersion::V3 as i32,
        grpc_services: vec![service],
        set_node_on_first_message_only: true,
        ..ApiConfigSource::default()
    };
    let source = ConfigSource {
        config_source_specifier: Some(ConfigSourceSpecifier::ApiConfigSource(source)),
        initial_fetch_timeout: seconds(0),
        resource_api_version: ApiVersion::V3 as i32,
        ..ConfigSource::default()
    };
    SdsSecretConfig { name: name.into(), sds_config: Some(source) }
}

/// A secret that the control plane serves. The wait for it ends with Envoy's default timeout: one that never comes must
/// not hold back the other hosts of the listener.
pub(crate) fn from_control(name: impl Into<String>) -> SdsSecretConfig {
    let source = ConfigSource { initial_fetch_timeout: None, ..ads() };
    SdsSecretConfig { name: name.into(), sds_config: Some(source) }
}

/// Verifies the other side by the authorities of a secret and by what the context asks of the certificate besides.
pub(crate) fn verified_by(
    secret: SdsSecretConfig,
    context: CertificateValidationContext,
) -> ValidationContextType {
    ValidationContextType::CombinedValidationContext(CombinedCertificateValidationContext {
        default_validation_context: Some(context),
        validation_context_sds_secret_config: Some(secret),
        ..CombinedCertificateValidationContext::default()
    })
}

/// Any workload of the mesh: a name of the trust domain, or of one of its aliases.
pub(crate) fn of_mesh(settings: &Settings) -> Vec<SubjectAltNameMatcher> {
    let prefix = |domain: &std::sync::Arc<str>| uri(MatchPattern::Prefix(format!("spiffe://{domain}/")));
    settings.trust_domains().map(prefix).collect()
}

/// One of some accounts (`ns/NAMESPACE/sa/NAME`), in any of the mesh's trust domains.
pub(crate) fn of_accounts(
    accounts: &[std::sync::Arc<str>],
    settings: &Settings,
) -> Vec<SubjectAltNameMatcher> {
    let domains = || settings.trust_domains();
    let names = accounts.iter().flat_map(|account| domains().map(move |d| format!("spiffe://{d}/{account}")));
    names.map(|name| uri(MatchPattern::Exact(name))).collect()
}

fn uri(pattern: MatchPattern) -> SubjectAltNameMatcher {
    typed(SanType::Uri, pattern)
}

fn typed(kind: SanType, pattern: MatchPattern) -> SubjectAltNameMatcher {
    SubjectAltNameMatcher {
        san_type: kind as i32,
        matcher: Some(StringMatcher { match_pattern: Some(pattern), ..StringMatcher::default() }),
        ..SubjectAltNameMatcher::default()
    }
}

/// Exact names, as users write them: URIs, addresses or DNS names.
pub(crate) fn exact_names<'a>(names: impl IntoIterator<Item = &'a String>) -> Vec<SubjectAltNameMatcher> {
    let one = |name: &String| {
        let kind = match name {
            name if name.contains("://") => SanType::Uri,
            name if name.parse::<std::net::IpAddr>().is_ok() => SanType::IpAddress,
            _ => SanType::Dns,
        };
        typed(kind, MatchPattern::Exact(name.clone()))
    };
    names.into_iter().map(one).collect()
}

/// Versions, suites and curves between workloads.
fn mesh_parameters(settings: &Settings) -> TlsParameters {
    let configured = &settings.mesh_tls;
    let mut parameters = parameters(configured);
    if configured.cipher_suites.is_empty() {
        parameters.cipher_suites = SUITES.map(str::to_owned).to_vec();
    }
    if configured.ecdh_curves.is_empty() {
        parameters.ecdh_curves = settings.tls_defaults.ecdh_curves.clone();
    }
    parameters
}

/// Versions, suites and curves as MeshConfig names them: TLS 1.2 is the least, 1.3 is used where both can.
fn parameters(configured: &TlsConfig) -> TlsParameters {
    let least = match configured.min_protocol_version {
        TlsVersion::TlsV1_3 => TlsProtocol::TlSv13,
        TlsVersion::TlsAuto | TlsVersion::TlsV1_2 => TlsProtocol::TlSv12,
    };
    TlsParameters {
        tls_minimum_protocol_version: least as i32,
        tls_maximum_protocol_version: TlsProtocol::TlSv13 as i32,
        cipher_suites: configured.cipher_suites.clone(),
        ecdh_curves: configured.ecdh_curves.clone(),
        ..TlsParameters::default()
    }
}

/// The transport socket of a context.
pub(crate) fn socket<M: Message + Name>(context: &M) -> TransportSocket {
    TransportSocket {
        name: "envoy.transport_sockets.tls".to_owned(),
        config_type: any(context).map(ConfigType::TypedConfig),
    }
}

fn texts(list: &[&str]) -> Vec<String> {
    list.iter().map(|text| (*text).to_owned()).collect()
}
