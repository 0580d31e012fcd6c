use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::{IdentityError, chain, pem};

/// Certificates that are trusted as roots: several while one replaces another. Each stands in it once.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct TrustBundle {
    certificates: Vec<CertificateDer<'static>>,
}

impl TrustBundle {
    /// Reads the certificates of a PEM text; everything else in it is skipped.
    ///
    /// # Errors
    /// When there is none, or one of them is not X.509.
    pub fn from_pem(text: &str) -> Result<Self, IdentityError> {
        let mut bundle = TrustBundle::default();
        for certificate in pem::certificates(text, "root certificate")? {
            bundle.add(certificate);
        }
        Ok(bundle)
    }

    /// Adds a certificate unless it is there.
    pub fn add(&mut self, certificate: CertificateDer<'static>) {
        if !self.certificates.contains(&certificate) {
            self.certificates.push(certificate);
        }
    }

    /// Adds what the other bundle has besides.
    pub fn extend(&mut self, other: &TrustBundle) {
        other.certificates.iter().cloned().for_each(|certificate| self.add(certificate));
    }

    /// Whether a certificate is trusted.
    pub fn contains(&self, certificate: &CertificateDer<'_>) -> bool {
        self.certificates.iter().any(|known| known == certificate)
    }

    /// Whether whoever trusts this bundle also accepts what leads to a root: the root itself is in it, or a
    /// certificate of the same name and key.
    pub fn vouches_for(&self, root: &CertificateDer<'_>) -> bool {
        self.certificates.iter().any(|known| known == root || chain::same_authority(known, root))
    }

    /// Whether every certificate of the other bundle is trusted.
    pub fn covers(&self, other: &TrustBundle) -> bool {
        other.certificates.iter().all(|certificate| self.contains(certificate))
    }

    /// The certificates.
    pub fn certificates(&self) -> &[CertificateDer<'static>] {
        &self.certificates
    }

    /// Whether nothing is trusted.
    pub fn is_empty(&self) -> bool {
        self.certificates.is_empty()
    }

    /// The certificates as PEM, one after the other.
    pub fn to_pem(&self) -> String {
        self.certificates.iter().map(|certificate| pem::encode(certificate)).collect()
    }

    /// When the first of them ends.
    pub fn expiry(&self) -> Option<SystemTime> {
        self.certificates.iter().filter_map(|certificate| expiry(certificate).ok()).min()
    }

    /// A trust store of these certificates.
    ///
    /// # Errors
    /// When TLS cannot use one of them as a trust anchor.
    pub fn roots(&self) -> Result<RootCertStore, IdentityError> {
        let mut roots = RootCertStore::empty();
        for certificate in &self.certificates {
            roots.add(certificate.clone())?;
        }
        Ok(roots)
    }
}

impl fmt::Debug for TrustBundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrustBundle").field("certificates", &self.certificates.len()).finish()
    }
}

/// Whether a certificate is signed by its own key, as roots are.
pub fn is_self_signed(certificate: &CertificateDer<'_>) -> bool {
    X509Certificate::from_der(certificate).is_ok_and(|(_, parsed)| {
        parsed.subject().as_raw() == parsed.issuer().as_raw() && parsed.verify_signature(None).is_ok()
    })
}

/// When a certificate ends.
///
/// # Errors
/// When it is not X.509.
pub fn expiry(certificate: &CertificateDer<'_>) -> Result<SystemTime, IdentityError> {
    Ok(validity(certificate)?.1)
}

/// From when to when a certificate is valid.
///
/// # Errors
/// When it is not X.509.
pub fn validity(certificate: &CertificateDer<'_>) -> Result<(SystemTime, SystemTime), IdentityError> {
    let (_, parsed) = X509Certificate::from_der(certificate)
        .map_err(|e| IdentityError::Pem { what: "certificate", reason: e.to_string() })?;
    let time = |seconds: i64| UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    let validity = parsed.validity();
    Ok((time(validity.not_before.timestamp()), time(validity.not_after.timestamp())))
}

/// From when to when the first certificate of a PEM text is valid.
///
/// # Errors
/// When there is no X.509 certificate.
pub fn pem_validity(text: &str) -> Result<(SystemTime, SystemTime), IdentityError> {
    let certificate = CertificateDer::from_pem_slice(text.as_bytes())
        .map_err(|e| IdentityError::Pem { what: "certificate", reason: e.to_string() })?;
    validity(&certificate)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Authority;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn bundles_overlap_without_repeating() {
        let (a, b) = (Authority::create("a", HOUR).unwrap(), Authority::create("b", 2 * HOUR).unwrap());
        let mut bundle = TrustBundle::from_pem(a.certificate_pem()).unwrap();
        let both = format!("{}\n# a note\n{}", a.certificate_pem(), b.certificate_pem());
        bundle.extend(&TrustBundle::from_pem(&both).unwrap());
        assert_eq!(bundle.certificates().len(), 2);
        assert!(bundle.contains(b.certificate()));
        assert_eq!(TrustBundle::from_pem(&bundle.to_pem()).unwrap(), bundle);
        let left = bundle.expiry().unwrap().duration_since(SystemTime::now()).unwrap();
        assert!(left <= HOUR);
        assert_eq!(bundle.roots().unwrap().len(), 2);
    }

    #[test]
    fn text_without_a_certificate_is_refused() {
        for text in ["", "x", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            assert!(TrustBundle::from_pem(text).is_err(), "{text:?}");
        }
    }
}
