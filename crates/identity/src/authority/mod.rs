mod params;
#[cfg(test)]
mod tests;

use std::fmt;
use std::time::{Duration, SystemTime};

use rcgen::{Certificate, Issuer, KeyPair};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, X509Certificate};

use self::params::{authority_params, leaf_params, set_validity};
use crate::chain::Path;
use crate::{
    IdentityError, KeyKind, Leaf, LeafRequest, SigningRequest, SpiffeId, TrustBundle, bundle, chain, pem,
};

/// A certificate authority that signs leaves: self-signed, or plugged in with its chain and roots.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    certificate_pem: String,
    /// What stands between a leaf and the root: empty for a self-signed authority.
    chain: Vec<CertificateDer<'static>>,
    /// The root to which it leads.
    anchor: CertificateDer<'static>,
    trust: TrustBundle,
    not_after: SystemTime,
}

impl Authority {
    /// Makes a new self-signed authority (ECDSA P-256), valid for `lifetime` from now on.
    ///
    /// # Errors
    /// When the system has no randomness for a key.
    pub fn create(organization: &str, lifetime: Duration) -> Result<Self, IdentityError> {
        Self::create_with(organization, KeyKind::P256, lifetime, SystemTime::now())
    }

    /// Makes a new self-signed authority with a kind of key, valid for `lifetime` from `now` on.
    ///
    /// # Errors
    /// When the system has no randomness for a key.
    pub fn create_with(
        organization: &str,
        kind: KeyKind,
        lifetime: Duration,
        now: SystemTime,
    ) -> Result<Self, IdentityError> {
        Self::self_signed(organization, kind.generate()?, lifetime, now)
    }

    fn self_signed(
        organization: &str,
        key: KeyPair,
        lifetime: Duration,
        now: SystemTime,
    ) -> Result<Self, IdentityError> {
        let params = authority_params(organization, "root", now, now + lifetime)?;
        let certificate = params.self_signed(&key)?;
        let der = certificate.der().clone();
        let mut trust = TrustBundle::default();
        trust.add(der.clone());
        Ok(Authority {
            certificate_pem: certificate.pem(),
            anchor: der.clone(),
            certificate: der,
            issuer: Issuer::new(params, key),
            chain: Vec::new(),
            trust,
            not_after: now + lifetime,
        })
    }

    /// The same authority with a new certificate for the same key, valid for `lifetime` from `now` on: what the old
    /// certificate vouched for, the new one vouches for as well.
    ///
    /// # Errors
    /// When the key cannot be read back.
    pub fn renewed(
        &self,
        organization: &str,
        lifetime: Duration,
        now: SystemTime,
    ) -> Result<Self, IdentityError> {
        Self::self_signed(organization, pem::key(&self.key_pem())?, lifetime, now)
    }

    /// Reads a self-signed authority back from its certificate and key.
    ///
    /// # Errors
    /// When the text holds no certificate or key, the certificate may not sign, or the two do not belong together.
    pub fn from_pem(certificate_pem: &str, key_pem: &str) -> Result<Self, IdentityError> {
        let (certificate, issuer) = read(certificate_pem, key_pem)?;
        let mut trust = TrustBundle::default();
        trust.add(certificate.clone());
        let path = Path { intermediates: Vec::new(), anchor: certificate.clone() };
        Self::assemble(certificate, issuer, path, trust)
    }

    /// Reads an authority that is plugged in: its certificate and key, the certificates between it and the root
    /// (may be empty), and the roots that workloads are to trust. Everything is checked before anything is used.
    ///
    /// # Errors
    /// As [`Authority::from_pem`], and when the certificate does not lead to one of the roots, or is not valid at
    /// `now`.
    pub fn plugged(
        certificate_pem: &str,
        key_pem: &str,
        chain_pem: &str,
        roots_pem: &str,
        now: SystemTime,
    ) -> Result<Self, IdentityError> {
        let (certificate, issuer) = read(certificate_pem, key_pem)?;
        let mut intermediates = pem::certificates(certificate_pem, "certificate")?;
        if !chain_pem.trim().is_empty() {
            intermediates.extend(pem::certificates(chain_pem, "certificate chain")?);
        }
        let trust = TrustBundle::from_pem(roots_pem)?;
        let path = chain::build(&certificate, &intermediates, &trust, now)?;
        Self::assemble(certificate, issuer, path, trust)
    }

    fn assemble(
        certificate: CertificateDer<'static>,
        issuer: Issuer<'static, KeyPair>,
        path: Path,
        trust: TrustBundle,
    ) -> Result<Self, IdentityError> {
        let Path { intermediates: chain, anchor } = path;
        let mut not_after = bundle::expiry(&certificate)?.min(bundle::expiry(&anchor)?);
        for intermediate in &chain {
            not_after = not_after.min(bundle::expiry(intermediate)?);
        }
        let certificate_pem = pem::encode(&certificate);
        Ok(Authority { issuer, certificate, certificate_pem, chain, anchor, trust, not_after })
    }

    /// Makes an authority below this one, valid for `lifetime` from `now` on.
    ///
    /// # Errors
    /// When the system has no randomness for a key.
    pub fn intermediate(
        &self,
        organization: &str,
        lifetime: Duration,
        now: SystemTime,
    ) -> Result<Self, IdentityError> {
        let key = KeyKind::P256.generate()?;
        let mut params =
            authority_params(organization, "intermediate", now, (now + lifetime).min(self.not_after))?;
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &self.issuer)?.der().clone();
        let intermediates = std::iter::once(certificate.clone()).chain(self.chain.iter().cloned()).collect();
        let path = Path { intermediates, anchor: self.anchor.clone() };
        Self::assemble(certificate, Issuer::new(params, key), path, self.trust.clone())
    }

    /// The authority's own certificate as PEM; for a self-signed one what peers must trust.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The authority's own certificate.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// The certificates between a leaf and the root, as PEM; empty for a self-signed authority.
    pub fn chain_pem(&self) -> String {
        self.chain.iter().map(|certificate| pem::encode(certificate)).collect()
    }

    /// The private key as PKCS #8 PEM, to keep the authority over a restart.
    pub fn key_pem(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    /// The root to which its certificates lead.
    pub fn anchor(&self) -> &CertificateDer<'static> {
        &self.anchor
    }

    /// Whether both are the same authority with the same chain and the same trusted roots.
    pub fn is_same(&self, other: &Authority) -> bool {
        self.certificate == other.certificate && self.chain == other.chain && self.trust == other.trust
    }

    /// The roots that peers must trust.
    pub fn trust(&self) -> &TrustBundle {
        &self.trust
    }

    /// When it can no longer vouch for anything.
    pub fn not_after(&self) -> SystemTime {
        self.not_after
    }

    /// A trust store of its roots.
    ///
    /// # Errors
    /// When TLS cannot use a certificate as a trust anchor.
    pub fn roots(&self) -> Result<RootCertStore, IdentityError> {
        self.trust.roots()
    }

    /// Makes a key and a certificate for it.
    ///
    /// # Errors
    /// When a name cannot stand in a certificate.
    pub fn issue(&self, request: &LeafRequest) -> Result<Leaf, IdentityError> {
        let key = KeyPair::generate()?;
        let certificate = leaf_params(request)?.signed_by(&key, &self.issuer)?;
        Ok(Leaf {
            chain_pem: certificate.pem() + &self.chain_pem(),
            chain: self.with_chain(&certificate),
            key: key.serialize_der(),
            key_pem: key.serialize_pem(),
        })
    }

    /// Certifies the key of a request for identities, valid for `lifetime` from `now` on, but not longer than the
    /// authority itself. Returns the chain, leaf first, each certificate as PEM.
    ///
    /// # Errors
    /// When the authority has expired.
    pub fn sign(
        &self,
        request: &SigningRequest,
        identities: &[SpiffeId],
        lifetime: Duration,
        now: SystemTime,
    ) -> Result<Vec<String>, IdentityError> {
        let end = (now + lifetime).min(self.not_after);
        if end <= now {
            let subject = "the certificate authority's own".to_owned();
            return Err(IdentityError::Time { subject, reason: "it has expired" });
        }
        let leaf = LeafRequest { identities: identities.to_vec(), lifetime, ..LeafRequest::default() };
        let mut params = leaf_params(&leaf)?;
        set_validity(&mut params, now, end);
        let certificate = params.signed_by(&request.key, &self.issuer)?;
        Ok(self.with_chain(&certificate).iter().map(|certificate| pem::encode(certificate)).collect())
    }

    fn with_chain(&self, leaf: &Certificate) -> Vec<CertificateDer<'static>> {
        std::iter::once(leaf.der().clone()).chain(self.chain.iter().cloned()).collect()
    }
}

impl fmt::Debug for Authority {
    /// Leaves the private key out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").field("certificate_pem", &self.certificate_pem).finish_non_exhaustive()
    }
}

/// An authority's certificate and key, which belong together.
fn read(
    certificate_pem: &str,
    key_pem: &str,
) -> Result<(CertificateDer<'static>, Issuer<'static, KeyPair>), IdentityError> {
    let certificate = pem::certificates(certificate_pem, "certificate")?.swap_remove(0);
    let key = pem::key(key_pem)?;
    let (_, parsed) = X509Certificate::from_der(&certificate)
        .map_err(|e| IdentityError::Pem { what: "certificate", reason: e.to_string() })?;
    if !parsed.is_ca() {
        return Err(IdentityError::NotAuthority);
    }
    if !belongs(&key, &certificate)? {
        return Err(IdentityError::KeyMismatch);
    }
    let issuer = Issuer::from_ca_cert_der(&certificate, key)?;
    Ok((certificate, issuer))
}

/// Whether the first certificate of a PEM text is for the private key of another.
///
/// # Errors
/// When one of the texts does not hold what it should.
pub fn matches(certificate_pem: &str, key_pem: &str) -> Result<bool, IdentityError> {
    belongs(&pem::key(key_pem)?, &pem::certificates(certificate_pem, "certificate")?[0])
}

/// Whether a certificate is for a key.
pub(crate) fn belongs(key: &KeyPair, certificate: &CertificateDer<'_>) -> Result<bool, IdentityError> {
    let (_, parsed) = X509Certificate::from_der(certificate)
        .map_err(|e| IdentityError::Pem { what: "certificate", reason: e.to_string() })?;
    Ok(parsed.public_key().subject_public_key.data.as_ref() == key.public_key_raw())
}
