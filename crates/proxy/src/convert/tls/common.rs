//! `CommonTlsContext` and where its secrets come from.

use std::sync::Arc;

use super::super::pb::{core, tls};
use super::super::{At, Converted, config_source, take};
use super::{Reader, secret, validation};
use crate::tls::{CommonContext, Identities, Parameters, SecretSlot, Source, Trust};
use tls::{CommonTlsContext, SdsSecretConfig};

pub(super) fn read(
    context: &CommonTlsContext,
    reader: &mut Reader<'_>,
    at: &At<'_>,
) -> Converted<CommonContext> {
    take!(context, at, CommonTlsContext {
        tls_params, tls_certificates, tls_certificate_sds_secret_configs, alpn_protocols, validation_context_type,
    } ignore { key_log } refuse {
        tls_certificate_provider_instance, custom_tls_certificate_selector, tls_certificate_certificate_provider,
        tls_certificate_certificate_provider_instance, custom_handshaker,
    });
    let mut identities = Identities::default();
    let field = at.field("tls_certificates");
    for (index, certificate) in tls_certificates.iter().enumerate() {
        identities.fixed.push(Arc::new(secret::certificate(certificate, &field.index(index))?));
    }
    let field = at.field("tls_certificate_sds_secret_configs");
    for (index, config) in tls_certificate_sds_secret_configs.iter().enumerate() {
        identities.secrets.push(slot(config, reader, &field.index(index))?);
    }
    Ok(CommonContext {
        identities,
        trust: trust(validation_context_type, reader, at)?,
        alpn: alpn_protocols.iter().map(|name| name.clone().into_bytes()).collect(),
        parameters: parameters(tls_params, &at.field("tls_params"))?,
    })
}

fn trust(
    kind: &Option<tls::common_tls_context::ValidationContextType>,
    reader: &mut Reader<'_>,
    at: &At<'_>,
) -> Converted<Trust> {
    use tls::common_tls_context::{CombinedCertificateValidationContext, ValidationContextType as Kind};
    Ok(match kind {
        None => Trust::Anyone,
        Some(Kind::ValidationContext(context)) => {
            Trust::Fixed(Arc::new(validation::read(context, &at.field("validation_context"))?))
        }
        Some(Kind::ValidationContextSdsSecretConfig(config)) => {
            Trust::Secret(slot(config, reader, &at.field("validation_context_sds_secret_config"))?)
        }
        Some(Kind::CombinedValidationContext(combined)) => {
            let at = at.field("combined_validation_context");
            take!(combined, at, CombinedCertificateValidationContext {
                default_validation_context, validation_context_sds_secret_config,
            } refuse {
                validation_context_certificate_provider, validation_context_certificate_provider_instance,
            });
            let field = at.field("default_validation_context");
            let default = default_validation_context.as_ref().ok_or_else(|| field.missing())?;
            let default = Arc::new(validation::read(default, &field)?);
            let field = at.field("validation_context_sds_secret_config");
            let config = validation_context_sds_secret_config.as_ref().ok_or_else(|| field.missing())?;
            Trust::Combined(default, slot(config, reader, &field)?)
        }
        Some(_) => return Err(at.field("validation_context").unsupported("a certificate provider")),
    })
}

fn slot(config: &SdsSecretConfig, reader: &mut Reader<'_>, at: &At<'_>) -> Converted<Arc<SecretSlot>> {
    let SdsSecretConfig { name, sds_config } = config;
    if name.is_empty() {
        return Err(at.field("name").missing());
    }
    let secrets = &reader.context.secrets;
    let Some(config) = sds_config else {
        let missing = || at.field("name").error(format!("the bootstrap has no static secret `{name}`"));
        return secrets.find(&Source::Static, name).ok_or_else(missing);
    };
    let slot = secrets.slot(source(config, &at.field("sds_config"))?, name);
    let mut wait = config_source::fetch_timeout(Some(config));
    if slot.source == Source::Ads && wait.is_zero() {
        // A gateway's certificate may never come; the other hosts of its listener must not wait for it for ever.
        wait = config_source::fetch_timeout(None);
    }
    reader.waits.push((slot.clone(), wait));
    Ok(slot)
}

/// Where a secret comes from.
pub(super) fn source(config: &core::ConfigSource, at: &At<'_>) -> Converted<Source> {
    use core::api_config_source::ApiType;
    use core::config_source::ConfigSourceSpecifier as Kind;
    use core::grpc_service::TargetSpecifier;
    match config.config_source_specifier.as_ref().ok_or_else(|| at.missing())? {
        Kind::Ads(_) => Ok(Source::Ads),
        Kind::Path(path) => Ok(Source::Path(path.as_str().into())),
        Kind::PathConfigSource(config) => Ok(Source::Path(config.path.as_str().into())),
        Kind::Self_(_) => Err(at.unsupported("`self`")),
        Kind::ApiConfigSource(api) => {
            let at = at.field("api_config_source");
            let delta = match ApiType::try_from(api.api_type) {
                Ok(ApiType::Grpc) => false,
                Ok(ApiType::DeltaGrpc) => true,
                Ok(ApiType::AggregatedGrpc | ApiType::AggregatedDeltaGrpc) => return Ok(Source::Ads),
                _ => return Err(at.field("api_type").error("must be GRPC or DELTA_GRPC")),
            };
            let target = api.grpc_services.first().and_then(|service| service.target_specifier.as_ref());
            match target {
                Some(TargetSpecifier::EnvoyGrpc(target)) => {
                    Ok(Source::Cluster { name: target.cluster_name.as_str().into(), delta })
                }
                _ => Err(at.field("grpc_services").error("must name a cluster by envoy_grpc")),
            }
        }
    }
}

fn parameters(params: &Option<tls::TlsParameters>, at: &At<'_>) -> Converted<Parameters> {
    use tls::TlsParameters;
    use tls::tls_parameters::TlsProtocol;
    let mut read = Parameters::default();
    let Some(params) = params else { return Ok(read) };
    take!(params, at, TlsParameters {
        tls_minimum_protocol_version, tls_maximum_protocol_version, cipher_suites, ecdh_curves,
    } ignore { signature_algorithms, compliance_policies });
    let number = |value: i32, default: u8, at: At<'_>| match TlsProtocol::try_from(value) {
        Ok(TlsProtocol::TlsAuto) => Ok(default),
        Ok(TlsProtocol::TlSv10) => Ok(10),
        Ok(TlsProtocol::TlSv11) => Ok(11),
        Ok(TlsProtocol::TlSv12) => Ok(12),
        Ok(TlsProtocol::TlSv13) => Ok(13),
        Err(_) => Err(at.unsupported(value)),
    };
    // TLS 1.0 and 1.1 are broken (RFC 8996): asking for them as the least means 1.2.
    let least = number(*tls_minimum_protocol_version, 12, at.field("tls_minimum_protocol_version"))?;
    let most = number(*tls_maximum_protocol_version, 13, at.field("tls_maximum_protocol_version"))?;
    if most < 12 {
        return Err(at.field("tls_maximum_protocol_version").error("TLS 1.0 and 1.1 are not supported"));
    }
    if least > most {
        return Err(at.error("the least version is above the highest"));
    }
    read.versions.retain(|version| {
        let number = if version.version == rustls::ProtocolVersion::TLSv1_3 { 13 } else { 12 };
        (least..=most).contains(&number)
    });
    read.restrict(cipher_suites, ecdh_curves).map_err(|reason| at.error(reason))?;
    if read.versions.is_empty() {
        return Err(at.field("cipher_suites").error("none is supported"));
    }
    Ok(read)
}
