//! TLS transport sockets.
//!
//! Certificates that SDS gives come later: until then the context has no library configuration, and connections
//! through it fail closed.

use std::sync::Arc;

use lateen_xds::pb::envoy::extensions::transport_sockets::raw_buffer::v3::RawBuffer;
use prost::Name as _;
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;

use super::cluster::TransportOptions;
use super::pb::{core, tls};
use super::{At, Converted, any, take, values};
use crate::config::{TlsClient, TlsServer};
use tls::{CertificateValidationContext, CommonTlsContext, DownstreamTlsContext, UpstreamTlsContext};

/// Reads an upstream transport socket; none for plain text.
pub(super) fn client(
    socket: &core::TransportSocket,
    options: &TransportOptions,
    at: &At<'_>,
) -> Converted<Option<Arc<TlsClient>>> {
    let Some(config) = typed(socket, at)? else { return Ok(None) };
    let at = at.field("typed_config");
    let context: UpstreamTlsContext = any::expect(config, &at)?;
    take!(&context, at, UpstreamTlsContext { common_tls_context, sni, auto_host_sni, auto_sni_san_validation } ignore {
        allow_renegotiation, max_session_keys, enforce_rsa_key_usage,
    });
    let at = at.field("common_tls_context");
    let common = Common::read(common_tls_context.as_ref().unwrap_or(&CommonTlsContext::default()), &at)?;
    let mut client = TlsClient {
        server_name: Some(sni.as_str()).filter(|sni| !sni.is_empty()).map(Into::into),
        auto_sni: options.auto_sni || *auto_host_sni,
        ..TlsClient::default()
    };
    if common.needs_sds {
        return Ok(Some(Arc::new(client)));
    }
    let verify_name = options.auto_san_validation || *auto_sni_san_validation;
    let builder = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&common.versions)
        .map_err(|error| at.error(error.to_string()))?;
    let builder = match common.validation {
        Some(validation) => {
            let verifier =
                WebPkiServerVerifier::builder_with_provider(Arc::new(validation.roots), provider())
                    .build()
                    .map_err(|error| at.field("validation_context").error(error.to_string()))?;
            let verifier = super::tls_verify::ServerVerifier::new(verifier, validation.sans, verify_name);
            builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
        }
        // Envoy verifies nothing without a validation context.
        None => {
            let verifier = super::tls_verify::NoVerifier::new(provider());
            builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
        }
    };
    let mut config = match common.certificate {
        Some((chain, key)) => {
            builder.with_client_auth_cert(chain, key).map_err(|error| at.error(error.to_string()))?
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = common.alpn;
    client.config.store(Some(Arc::new(config)));
    client.auto_sni |= verify_name && client.server_name.is_none();
    Ok(Some(Arc::new(client)))
}

/// Reads a downstream transport socket; none for plain text.
pub(super) fn server(socket: &core::TransportSocket, at: &At<'_>) -> Converted<Option<Arc<TlsServer>>> {
    let Some(config) = typed(socket, at)? else { return Ok(None) };
    let at = at.field("typed_config");
    let context: DownstreamTlsContext = any::expect(config, &at)?;
    take!(&context, at, DownstreamTlsContext { common_tls_context, require_client_certificate, require_sni } ignore {
        disable_stateful_session_resumption, session_timeout, ocsp_staple_policy, full_scan_certs_on_sni_mismatch,
        prefer_client_ciphers, session_ticket_keys_type,
    });
    if values::bool_or(require_sni, false) {
        return Err(at.field("require_sni").error("is not supported"));
    }
    let at = at.field("common_tls_context");
    let common = Common::read(common_tls_context.as_ref().ok_or_else(|| at.missing())?, &at)?;
    if common.needs_sds {
        return Ok(Some(Arc::default()));
    }
    let builder = rustls::ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&common.versions)
        .map_err(|error| at.error(error.to_string()))?;
    let required = values::bool_or(require_client_certificate, false);
    let builder = match common.validation {
        Some(validation) => {
            if !validation.sans.is_empty() {
                return Err(at.field("validation_context").unsupported("matching names of clients"));
            }
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(validation.roots), provider());
            let verifier = if required { verifier } else { verifier.allow_unauthenticated() };
            let verifier = verifier.build().map_err(|error| at.error(error.to_string()))?;
            builder.with_client_cert_verifier(verifier)
        }
        None if required => return Err(at.field("validation_context").missing()),
        None => builder.with_no_client_auth(),
    };
    let (chain, key) = common.certificate.ok_or_else(|| at.field("tls_certificates").missing())?;
    let mut config = builder.with_single_cert(chain, key).map_err(|error| at.error(error.to_string()))?;
    config.alpn_protocols = common.alpn;
    Ok(Some(Arc::new(TlsServer::new(config))))
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// The configuration of a transport socket; none for plain text.
fn typed<'a>(
    socket: &'a core::TransportSocket,
    at: &At<'_>,
) -> Converted<Option<&'a super::pb::protobuf::Any>> {
    match &socket.config_type {
        Some(core::transport_socket::ConfigType::TypedConfig(config)) => {
            Ok((any::name(config) != RawBuffer::full_name()).then_some(config))
        }
        None if socket.name == "envoy.transport_sockets.raw_buffer" => Ok(None),
        None => Err(at.field("typed_config").missing()),
    }
}

type Certificate = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

struct Validation {
    roots: RootCertStore,
    sans: Vec<crate::config::StringMatcher>,
}

struct Common {
    certificate: Option<Certificate>,
    validation: Option<Validation>,
    alpn: Vec<Vec<u8>>,
    versions: Vec<&'static rustls::SupportedProtocolVersion>,
    needs_sds: bool,
}

impl Common {
    fn read(context: &CommonTlsContext, at: &At<'_>) -> Converted<Common> {
        use tls::common_tls_context::ValidationContextType;
        take!(context, at, CommonTlsContext {
            tls_params, tls_certificates, tls_certificate_sds_secret_configs, alpn_protocols, validation_context_type,
        } ignore { key_log } refuse {
            tls_certificate_provider_instance, custom_tls_certificate_selector, tls_certificate_certificate_provider,
            tls_certificate_certificate_provider_instance, custom_handshaker,
        });
        let mut needs_sds = !tls_certificate_sds_secret_configs.is_empty();
        let field = at.field("tls_certificates");
        if tls_certificates.len() > 1 {
            return Err(field.unsupported("more than one certificate"));
        }
        let certificate = match tls_certificates.first() {
            Some(certificate) => Some(read_certificate(certificate, &field.index(0))?),
            None => None,
        };
        let field = at.field("validation_context");
        let validation = match validation_context_type {
            Some(ValidationContextType::ValidationContext(context)) => read_validation(context, &field)?,
            Some(
                ValidationContextType::ValidationContextSdsSecretConfig(_)
                | ValidationContextType::CombinedValidationContext(_),
            ) => {
                needs_sds = true;
                None
            }
            Some(_) => return Err(field.unsupported("a certificate provider")),
            None => None,
        };
        let alpn = alpn_protocols.iter().map(|name| name.clone().into_bytes()).collect();
        let versions = versions(tls_params, &at.field("tls_params"))?;
        Ok(Common { certificate, validation, alpn, versions, needs_sds })
    }
}

fn versions(
    params: &Option<tls::TlsParameters>,
    at: &At<'_>,
) -> Converted<Vec<&'static rustls::SupportedProtocolVersion>> {
    use tls::TlsParameters;
    use tls::tls_parameters::TlsProtocol;
    let all = vec![&rustls::version::TLS13, &rustls::version::TLS12];
    let Some(params) = params else { return Ok(all) };
    take!(params, at, TlsParameters { tls_minimum_protocol_version, tls_maximum_protocol_version } ignore {
        cipher_suites, ecdh_curves, signature_algorithms, compliance_policies,
    });
    let least = *tls_minimum_protocol_version == TlsProtocol::TlSv13 as i32;
    let most = matches!(TlsProtocol::try_from(*tls_maximum_protocol_version), Ok(TlsProtocol::TlSv12));
    match (least, most) {
        (true, true) => Err(at.error("the least version is above the highest")),
        (true, false) => Ok(vec![&rustls::version::TLS13]),
        (false, true) => Ok(vec![&rustls::version::TLS12]),
        (false, false) => Ok(all),
    }
}

fn read_certificate(certificate: &tls::TlsCertificate, at: &At<'_>) -> Converted<Certificate> {
    use tls::TlsCertificate;
    take!(certificate, at, TlsCertificate { certificate_chain, private_key } ignore {
        watched_directory, ocsp_staple, signed_certificate_timestamp, tls_params,
    } refuse { pkcs12, private_key_provider, password });
    let field = at.field("certificate_chain");
    let pem = values::data_source(certificate_chain.as_ref().ok_or_else(|| field.missing())?, &field)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let chain = chain.map_err(|error| field.error(format!("not PEM: {error}")))?;
    let field = at.field("private_key");
    let pem = values::data_source(private_key.as_ref().ok_or_else(|| field.missing())?, &field)?;
    let key =
        PrivateKeyDer::from_pem_slice(&pem).map_err(|error| field.error(format!("not PEM: {error}")))?;
    Ok((chain, key))
}

fn read_validation(context: &CertificateValidationContext, at: &At<'_>) -> Converted<Option<Validation>> {
    take!(context, at, CertificateValidationContext {
        trusted_ca, match_typed_subject_alt_names, match_subject_alt_names, trust_chain_verification,
    } ignore { watched_directory, max_verify_depth, suppress_client_ca_list, only_verify_leaf_cert_crl } refuse {
        ca_certificate_provider_instance, system_root_certs, verify_certificate_spki, verify_certificate_hash,
        require_signed_certificate_timestamp, crl, allow_expired_certificate, custom_validator_config,
    });
    if *trust_chain_verification != 0 {
        return Err(at.field("trust_chain_verification").unsupported("accepting untrusted chains"));
    }
    let field = at.field("trusted_ca");
    let mut sans = Vec::new();
    for (index, name) in match_subject_alt_names.iter().enumerate() {
        sans.push(super::route::string_matcher(name, &at.field("match_subject_alt_names").index(index))?);
    }
    for (index, name) in match_typed_subject_alt_names.iter().enumerate() {
        let field = at.field("match_typed_subject_alt_names");
        let at = field.index(index);
        sans.push(super::route::string_matcher(name.matcher.as_ref().ok_or_else(|| at.missing())?, &at)?);
    }
    let Some(source) = trusted_ca else {
        return if sans.is_empty() { Ok(None) } else { Err(field.missing()) };
    };
    let pem = values::data_source(source, &field)?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| field.error(format!("not PEM: {error}")))?;
        roots.add(certificate).map_err(|error| field.error(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(field.error("holds no certificate"));
    }
    Ok(Some(Validation { roots, sans }))
}
