//! TLS that the client starts by itself (DestinationRule `tls`).

use lateen_api::networking::traffic_policy::{ClientTlsMode, ClientTlsSettings};
use lateen_xds::pb::envoy::config::core::v3::transport_socket::ConfigType;
use lateen_xds::pb::envoy::config::core::v3::{DataSource, TransportSocket, data_source};
use lateen_xds::pb::envoy::extensions::transport_sockets::tls::v3::{
    CertificateValidationContext, CommonTlsContext, SdsSecretConfig, SubjectAltNameMatcher, TlsCertificate,
    UpstreamTlsContext,
    common_tls_context::{CombinedCertificateValidationContext, ValidationContextType},
    subject_alt_name_matcher::SanType,
};
use lateen_xds::pb::envoy::r#type::matcher::v3::{StringMatcher, string_matcher::MatchPattern};

use crate::proto::{ads, any};

/// The transport socket that the settings ask for; `None` leaves the connection as it is.
///
/// `ISTIO_MUTUAL` needs workload certificates: until the mesh issues them the connection stays in plain text.
pub(crate) fn client(
    settings: Option<&ClientTlsSettings>,
    http2: bool,
    host: &str,
) -> Option<TransportSocket> {
    let settings = settings?;
    let own_certificate = match settings.mode.unwrap_or_default() {
        ClientTlsMode::Disable | ClientTlsMode::IstioMutual => return None,
        ClientTlsMode::Simple => false,
        ClientTlsMode::Mutual => true,
    };
    let verify = !settings.insecure_skip_verify.unwrap_or(false);
    let mut common = CommonTlsContext::default();
    if http2 {
        common.alpn_protocols = vec!["h2".to_owned()];
    }
    if !settings.credential_name.is_empty() {
        let secret = |name: String| SdsSecretConfig { name, sds_config: Some(ads()) };
        let name = format!("kubernetes://{}", settings.credential_name);
        if own_certificate {
            common.tls_certificate_sds_secret_configs = vec![secret(name.clone())];
        }
        if verify {
            common.validation_context_type = Some(ValidationContextType::CombinedValidationContext(
                CombinedCertificateValidationContext {
                    default_validation_context: Some(validation(settings)),
                    validation_context_sds_secret_config: Some(secret(format!("{name}-cacert"))),
                    ..Default::default()
                },
            ));
        }
    } else {
        if own_certificate {
            common.tls_certificates = vec![TlsCertificate {
                certificate_chain: Some(file(&settings.client_certificate)),
                private_key: Some(file(&settings.private_key)),
                ..TlsCertificate::default()
            }];
        }
        if !settings.ca_certificates.is_empty() && verify {
            let mut context = validation(settings);
            context.trusted_ca = Some(file(&settings.ca_certificates));
            if !settings.ca_crl.is_empty() {
                context.crl = Some(file(&settings.ca_crl));
            }
            common.validation_context_type = Some(ValidationContextType::ValidationContext(context));
        }
    }
    // Without a name of its own, a host outside of the mesh is asked for by its own name.
    let sni = if settings.sni.is_empty() && !host.starts_with('*') { host } else { &settings.sni };
    let context =
        UpstreamTlsContext { common_tls_context: Some(common), sni: sni.to_owned(), ..Default::default() };
    Some(TransportSocket {
        name: "envoy.transport_sockets.tls".to_owned(),
        config_type: any(&context).map(ConfigType::TypedConfig),
    })
}

fn validation(settings: &ClientTlsSettings) -> CertificateValidationContext {
    let exact = |name: &String| SubjectAltNameMatcher {
        san_type: if name.contains("://") { SanType::Uri } else { SanType::Dns } as i32,
        matcher: Some(StringMatcher {
            match_pattern: Some(MatchPattern::Exact(name.clone())),
            ..StringMatcher::default()
        }),
        ..SubjectAltNameMatcher::default()
    };
    CertificateValidationContext {
        match_typed_subject_alt_names: settings.subject_alt_names.iter().map(exact).collect(),
        ..CertificateValidationContext::default()
    }
}

fn file(path: &str) -> DataSource {
    DataSource { specifier: Some(data_source::Specifier::Filename(path.to_owned())), ..DataSource::default() }
}
