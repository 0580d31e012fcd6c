//! Whether an authority's certificate leads to a root.

use std::time::{SystemTime, UNIX_EPOCH};

use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{ASN1Time, FromDer, X509Certificate};

use crate::{IdentityError, TrustBundle};

/// Longer chains serve nobody; the bound also ends loops.
const LONGEST: usize = 8;

/// The intermediate certificates from `certificate` (included, unless it is a root itself) up to a root, which is
/// left out.
pub(crate) fn build(
    certificate: &CertificateDer<'static>,
    intermediates: &[CertificateDer<'static>],
    roots: &TrustBundle,
    now: SystemTime,
) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
    let mut chain = Vec::new();
    let mut current = certificate.clone();
    loop {
        let parsed = authority(&current, now)?;
        if roots.contains(&current) {
            return Ok(chain);
        }
        chain.push(current.clone());
        if let Some(root) = issuer(&parsed, roots.certificates()) {
            authority(root, now)?;
            return Ok(chain);
        }
        match issuer(&parsed, intermediates) {
            Some(next) if chain.len() < LONGEST && !chain.contains(next) => current = next.clone(),
            _ => {
                return Err(IdentityError::Chain {
                    subject: parsed.subject().to_string(),
                    issuer: parsed.issuer().to_string(),
                });
            }
        }
    }
}

/// The certificate whose key signed this one.
fn issuer<'a>(
    certificate: &X509Certificate<'_>,
    candidates: &'a [CertificateDer<'static>],
) -> Option<&'a CertificateDer<'static>> {
    candidates.iter().find(|candidate| {
        X509Certificate::from_der(candidate).is_ok_and(|(_, candidate)| {
            candidate.subject().as_raw() == certificate.issuer().as_raw()
                && certificate.verify_signature(Some(candidate.public_key())).is_ok()
        })
    })
}

/// Reads a certificate that must be allowed to sign others, now.
fn authority<'a>(
    certificate: &'a CertificateDer<'_>,
    now: SystemTime,
) -> Result<X509Certificate<'a>, IdentityError> {
    let (_, parsed) = X509Certificate::from_der(certificate)
        .map_err(|e| IdentityError::Pem { what: "certificate", reason: e.to_string() })?;
    if !parsed.is_ca() {
        return Err(IdentityError::NotAuthority);
    }
    if parsed.key_usage().ok().flatten().is_some_and(|usage| !usage.value.key_cert_sign()) {
        return Err(IdentityError::NotAuthority);
    }
    let seconds = now.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    let now = ASN1Time::from_timestamp(i64::try_from(seconds).unwrap_or(i64::MAX))
        .map_err(|e| IdentityError::Pem { what: "time", reason: e.to_string() })?;
    let outside = |reason| IdentityError::Time { subject: parsed.subject().to_string(), reason };
    if now > parsed.validity().not_after {
        return Err(outside("it has expired"));
    }
    if now < parsed.validity().not_before {
        return Err(outside("its time has not come yet"));
    }
    Ok(parsed)
}
