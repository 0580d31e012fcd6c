//! `CertificateValidationContext`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::super::pb::tls;
use super::super::{At, Converted, route, take, values};
use crate::tls::{SanKind, SanMatcher, Validation};
use tls::CertificateValidationContext;

pub(super) fn read(context: &CertificateValidationContext, at: &At<'_>) -> Converted<Validation> {
    use tls::certificate_validation_context::TrustChainVerification;
    take!(context, at, CertificateValidationContext {
        trusted_ca, system_root_certs, match_typed_subject_alt_names, match_subject_alt_names,
        trust_chain_verification, verify_certificate_spki, verify_certificate_hash, crl, only_verify_leaf_cert_crl,
        suppress_client_ca_list,
    } ignore { watched_directory, max_verify_depth } refuse {
        ca_certificate_provider_instance, require_signed_certificate_timestamp, allow_expired_certificate,
        custom_validator_config,
    });
    let mut read = Validation {
        sans: sans(match_typed_subject_alt_names, match_subject_alt_names, at)?,
        only_leaf_crl: *only_verify_leaf_cert_crl,
        hide_authorities: *suppress_client_ca_list,
        accept_untrusted: match TrustChainVerification::try_from(*trust_chain_verification) {
            Ok(TrustChainVerification::VerifyTrustChain) => false,
            Ok(TrustChainVerification::AcceptUntrusted) => true,
            Err(_) => return Err(at.field("trust_chain_verification").unsupported(trust_chain_verification)),
        },
        ..Validation::default()
    };
    let field = at.field("trusted_ca");
    if let Some(source) = trusted_ca {
        let pem = values::data_source(source, &field)?;
        read.set_authorities(&pem).map_err(|reason| field.error(reason))?;
    } else if system_root_certs.is_some() {
        let field = at.field("system_root_certs");
        let pem =
            std::fs::read(SYSTEM_BUNDLE).map_err(|error| field.error(format!("{SYSTEM_BUNDLE}: {error}")))?;
        read.set_authorities(&pem).map_err(|reason| field.error(reason))?;
    }
    if let Some(source) = crl {
        let field = at.field("crl");
        read.set_crls(&values::data_source(source, &field)?).map_err(|reason| field.error(reason))?;
    }
    let field = at.field("verify_certificate_hash");
    for (index, text) in verify_certificate_hash.iter().enumerate() {
        read.hashes.push(hex(text).ok_or_else(|| {
            field.index(index).error("is no SHA-256 in hexadecimal (64 digits, colons between them or not)")
        })?);
    }
    let field = at.field("verify_certificate_spki");
    for (index, text) in verify_certificate_spki.iter().enumerate() {
        let hash = STANDARD.decode(text).ok().and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
        read.spki.push(hash.ok_or_else(|| field.index(index).error("is no SHA-256 in base64"))?);
    }
    Ok(read)
}

/// Where Debian, and the images that follow it, keep the authorities that the system trusts.
const SYSTEM_BUNDLE: &str = "/etc/ssl/certs/ca-certificates.crt";

fn sans(
    typed: &[tls::SubjectAltNameMatcher],
    untyped: &[super::super::pb::matcher::StringMatcher],
    at: &At<'_>,
) -> Converted<Vec<SanMatcher>> {
    use tls::subject_alt_name_matcher::SanType;
    let mut sans = Vec::new();
    let field = at.field("match_typed_subject_alt_names");
    for (index, name) in typed.iter().enumerate() {
        let at = field.index(index);
        let kind = match SanType::try_from(name.san_type) {
            Ok(SanType::Dns) => SanKind::Dns,
            Ok(SanType::Uri) => SanKind::Uri,
            Ok(SanType::IpAddress) => SanKind::Ip,
            Ok(other) => return Err(at.field("san_type").unsupported(other.as_str_name())),
            Err(_) => return Err(at.field("san_type").unsupported(name.san_type)),
        };
        let field = at.field("matcher");
        let matcher = name.matcher.as_ref().ok_or_else(|| field.missing())?;
        sans.push(SanMatcher { kind, matcher: route::string_matcher(matcher, &field)? });
    }
    let field = at.field("match_subject_alt_names");
    for (index, matcher) in untyped.iter().enumerate() {
        let matcher = route::string_matcher(matcher, &field.index(index))?;
        sans.push(SanMatcher { kind: SanKind::Any, matcher });
    }
    Ok(sans)
}

/// 32 bytes of hexadecimal, with colons between them or not.
fn hex(text: &str) -> Option<[u8; 32]> {
    let digits: Vec<u32> =
        text.chars().filter(|c| *c != ':').map(|c| c.to_digit(16)).collect::<Option<_>>()?;
    let bytes: Option<Vec<u8>> = digits
        .chunks(2)
        .map(|pair| match pair {
            [high, low] => u8::try_from(high << 4 | low).ok(),
            _ => None,
        })
        .collect();
    bytes?.try_into().ok()
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_hash_is_64_digits_with_or_without_colons() {
        let plain = "0f".repeat(32);
        let colons = vec!["0F"; 32].join(":");
        assert_eq!(super::hex(&plain), Some([15; 32]));
        assert_eq!(super::hex(&colons), Some([15; 32]));
        assert_eq!(super::hex("0f"), None);
        assert_eq!(super::hex(&"zz".repeat(32)), None);
    }
}
