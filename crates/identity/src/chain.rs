//! Whether an authority's certificate leads to a root.

use std::time::{SystemTime, UNIX_EPOCH};

use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{ASN1Time, FromDer, X509Certificate};

use crate::{IdentityError, TrustBundle};

/// Longer chains serve nobody; the bound also ends loops.
const LONGEST: usize = 8;

/// A certificate's way to its root.
pub(crate) struct Path {
    /// The certificate and those between it and the root; empty when it is a root itself.
    pub(crate) intermediates: Vec<CertificateDer<'static>>,
    /// The root.
    pub(crate) anchor: CertificateDer<'static>,
}

/// Finds the way from `certificate` to one of the roots.
pub(crate) fn build(
    certificate: &CertificateDer<'static>,
    intermediates: &[CertificateDer<'static>],
    roots: &TrustBundle,
    now: SystemTime,
) -> Result<Path, IdentityError> {
    let mut chain = Vec::new();
    let mut current = certificate.clone();
    loop {
        let parsed = authority(&current, now)?;
        if roots.contains(&current) {
            return Ok(Path { intermediates: chain, anchor: current });
        }
        chain.push(current.clone());
        if let Some(root) = issuer(&parsed, roots.certificates()) {
            authority(root, now)?;
            return Ok(Path { intermediates: chain, anchor: root.clone() });
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

/// Whether whoever trusts `known` also accepts what leads to `other`: same name, same key.
pub(crate) fn same_authority(known: &CertificateDer<'_>, other: &CertificateDer<'_>) -> bool {
    let (Ok((_, known)), Ok((_, other))) =
        (X509Certificate::from_der(known), X509Certificate::from_der(other))
    else {
        return false;
    };
    known.subject().as_raw() == other.subject().as_raw() && known.public_key().raw == other.public_key().raw
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
