//! TLS towards clients: of the mesh at sidecars, of the world at gateways.

use lateen_api::networking::gateway::{ServerTlsMode, ServerTlsSettings, TlsProtocol as Wanted};
use lateen_api::validation::gateway::CIPHER_SUITES;
use lateen_api::validation::handshakes;
use lateen_mesh::{Credentials, Settings};
use lateen_xds::pb::envoy::config::core::v3::{DataSource, TransportSocket, data_source};
use lateen_xds::pb::envoy::extensions::transport_sockets::tls::v3::tls_parameters::TlsProtocol;
use lateen_xds::pb::envoy::extensions::transport_sockets::tls::v3::{
    CertificateValidationContext, CommonTlsContext, DownstreamTlsContext, SdsSecretConfig, TlsParameters,
};

use super::{OWN, ROOTS, from_agent, from_control, verified_by};
use crate::credentials;
use crate::proto::boolean;
use crate::proxy::Flavour;

/// The mesh's mutual TLS. `exchange` agrees with clients of TCP to tell each other who they are. Clients must show a certificate of the mesh's roots and trust domains.
pub(crate) fn mutual(http: bool, exchange: bool, settings: &Settings) -> TransportSocket {
    // What only announces the mesh itself is accepted, too.
    let alpn: &[&str] = match (http, exchange) {
        (true, _) => &["h2", "http/1.1", "http/1.0", "istio"],
        (false, true) => &["istio-peer-exchange", "istio", "h2", "http/1.1"],
        (false, false) => &["istio", "h2", "http/1.1"],
    };
    let clients = CertificateValidationContext {
        match_typed_subject_alt_names: super::of_mesh(settings),
        ..CertificateValidationContext::default()
    };
    super::socket(&DownstreamTlsContext {
        common_tls_context: Some(CommonTlsContext {
            tls_params: Some(super::mesh_parameters(settings)),
            tls_certificate_sds_secret_configs: vec![from_agent(OWN)],
            validation_context_type: Some(verified_by(from_agent(ROOTS), clients)),
            alpn_protocols: super::texts(alpn),
            ..CommonTlsContext::default()
        }),
        require_client_certificate: boolean(true),
        ..DownstreamTlsContext::default()
    })
}

/// TLS that ends at a gateway, for one of its servers. `None` when its certificate, or what clients are to be verified
/// by, is not there, or the proxy speaks none of the versions and suites: the server is then closed, and the others go on.
pub(crate) fn gateway(
    wanted: &ServerTlsSettings,
    http: bool,
    flavour: Flavour,
    (namespace, credentials): (&str, &Credentials),
    settings: &Settings,
) -> Option<TransportSocket> {
    let mode = wanted.mode.unwrap_or_default();
    if flavour == Flavour::Lateen && !handshakes::is_possible(wanted) {
        return None;
    }
    if mode == ServerTlsMode::IstioMutual {
        return Some(mutual(http, false, settings));
    }
    let certificates = certificates(wanted, namespace, credentials);
    if certificates.is_empty() {
        return None;
    }
    let parameters = parameters(wanted, settings);
    // What MeshConfig wants at least may be more than the server allows at most.
    if parameters.tls_minimum_protocol_version > parameters.tls_maximum_protocol_version {
        return None;
    }
    let mut common = CommonTlsContext {
        tls_certificate_sds_secret_configs: certificates,
        tls_params: Some(parameters),
        alpn_protocols: super::texts(if http { &["h2", "http/1.1"] } else { &[] }),
        ..CommonTlsContext::default()
    };
    let verifies = matches!(mode, ServerTlsMode::Mutual | ServerTlsMode::OptionalMutual);
    if verifies {
        let by = authorities(wanted, namespace, credentials)?;
        common.validation_context_type = Some(verified_by(by, clients(wanted)));
    }
    Some(super::socket(&DownstreamTlsContext {
        common_tls_context: Some(common),
        require_client_certificate: boolean(mode == ServerTlsMode::Mutual),
        ..DownstreamTlsContext::default()
    }))
}

/// The server's certificates: from Secrets, or from files.
fn certificates(
    wanted: &ServerTlsSettings,
    namespace: &str,
    credentials: &Credentials,
) -> Vec<SdsSecretConfig> {
    let secrets = credentials::names(wanted);
    if !secrets.is_empty() {
        let there = |name: &&str| credentials.get(namespace, name).is_some_and(|c| c.pair.is_some());
        return secrets
            .into_iter()
            .filter(there)
            .map(|name| from_control(credentials::resource(name)))
            .collect();
    }
    let of_files = |certificate: &str, key: &str| from_agent(format!("file-cert:{certificate}~{key}"));
    let several = wanted.tls_certificates.iter();
    let mut all: Vec<_> = several.map(|c| of_files(&c.server_certificate, &c.private_key)).collect();
    if !wanted.server_certificate.is_empty() {
        all.push(of_files(&wanted.server_certificate, &wanted.private_key));
    }
    all
}

/// Who signs the clients' certificates.
fn authorities(
    wanted: &ServerTlsSettings,
    namespace: &str,
    credentials: &Credentials,
) -> Option<SdsSecretConfig> {
    if let Some(found) = credentials::of_clients(wanted, namespace, credentials).ok()? {
        return Some(from_control(found.resource));
    }
    let of_certificates = wanted.tls_certificates.iter().map(|c| &c.ca_certificates);
    let file = std::iter::once(&wanted.ca_certificates).chain(of_certificates).find(|f| !f.is_empty())?;
    Some(from_agent(format!("file-root:{file}")))
}

/// What is asked of clients' certificates besides.
fn clients(wanted: &ServerTlsSettings) -> CertificateValidationContext {
    let revoked = Some(&wanted.ca_crl).filter(|file| !file.is_empty());
    CertificateValidationContext {
        match_typed_subject_alt_names: super::exact_names(&wanted.subject_alt_names),
        verify_certificate_spki: wanted.verify_certificate_spki.clone(),
        verify_certificate_hash: wanted.verify_certificate_hash.clone(),
        crl: revoked.map(|file| DataSource {
            specifier: Some(data_source::Specifier::Filename(file.clone())),
            ..DataSource::default()
        }),
        ..CertificateValidationContext::default()
    }
}

/// Versions and suites of a server; suites that are not known, or stand twice, are left out.
fn parameters(wanted: &ServerTlsSettings, settings: &Settings) -> TlsParameters {
    let mut parameters = super::parameters(&settings.tls_defaults);
    let version = |wanted: Wanted| match wanted {
        Wanted::TlsAuto => None,
        Wanted::TlsV1_0 => Some(TlsProtocol::TlSv10 as i32),
        Wanted::TlsV1_1 => Some(TlsProtocol::TlSv11 as i32),
        Wanted::TlsV1_2 => Some(TlsProtocol::TlSv12 as i32),
        Wanted::TlsV1_3 => Some(TlsProtocol::TlSv13 as i32),
    };
    let (least, most) = (version(wanted.min_protocol_version), version(wanted.max_protocol_version));
    parameters.tls_minimum_protocol_version = least.unwrap_or(parameters.tls_minimum_protocol_version);
    parameters.tls_maximum_protocol_version = most.unwrap_or(parameters.tls_maximum_protocol_version);
    let mut suites: Vec<String> = Vec::new();
    for suite in &wanted.cipher_suites {
        if CIPHER_SUITES.contains(&suite.as_str()) && !suites.contains(suite) {
            suites.push(suite.clone());
        }
    }
    if !suites.is_empty() {
        parameters.cipher_suites = suites;
    }
    parameters
}
