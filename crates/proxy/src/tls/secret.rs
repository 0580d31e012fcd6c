//! What a secret holds, checked.

use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use super::names::SanMatcher;
use crate::tls_info::CertificateInfo;

/// A secret of SDS.
#[derive(Clone)]
pub enum Secret {
    /// A certificate with its key.
    Certificate(Arc<Certificate>),
    /// Whom to trust.
    Validation(Arc<Validation>),
    /// Bytes for filters.
    Generic(Arc<[u8]>),
}

impl std::fmt::Debug for Secret {
    /// Leaves what is secret out.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Secret::Certificate(certificate) => certificate.fmt(f),
            Secret::Validation(validation) => validation.fmt(f),
            Secret::Generic(bytes) => write!(f, "Generic({} bytes)", bytes.len()),
        }
    }
}

/// A certificate with its key.
pub struct Certificate {
    /// Chain and key.
    pub key: Arc<CertifiedKey>,
    /// What the leaf says.
    pub info: Arc<CertificateInfo>,
}

impl std::fmt::Debug for Certificate {
    /// Leaves the private key out.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Certificate").field("info", &self.info).finish_non_exhaustive()
    }
}

impl Certificate {
    /// Reads a chain and its key, both PEM.
    ///
    /// # Errors
    /// Which of the two cannot be used and why; also a key that is not the certificate's.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, (Part, String)> {
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(chain)
            .collect::<Result<_, _>>()
            .map_err(|error| (Part::Chain, format!("is not PEM: {error}")))?;
        let info = CertificateInfo::read(&chain).map_err(|error| (Part::Chain, error))?;
        let key = PrivateKeyDer::from_pem_slice(key)
            .map_err(|error| (Part::Key, format!("is not a PEM private key: {error}")))?;
        let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key)
            .map_err(|error| (Part::Key, format!("cannot be used: {error}")))?;
        let key = CertifiedKey::new(chain, key);
        match key.keys_match() {
            Ok(()) => {}
            Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::KeyMismatch)) => {
                return Err((Part::Key, "does not belong to the certificate".to_owned()));
            }
            Err(error) => return Err((Part::Key, format!("cannot be checked: {error}"))),
        }
        Ok(Certificate { key: Arc::new(key), info: Arc::new(info) })
    }
}

/// The part of a pair that an error is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The certificate chain.
    Chain,
    /// The private key.
    Key,
}

/// Whom to trust (Envoy's `CertificateValidationContext`).
#[derive(Clone, Debug, Default)]
pub struct Validation {
    /// Authorities that a chain must lead to.
    pub roots: Option<Arc<RootCertStore>>,
    /// The same as facts, for administration.
    pub authorities: Vec<Arc<CertificateInfo>>,
    /// Lists of revoked certificates.
    pub crls: Vec<CertificateRevocationListDer<'static>>,
    /// Look the leaf alone up in those lists.
    pub only_leaf_crl: bool,
    /// Names of which the certificate must bear one; empty: any.
    pub sans: Vec<SanMatcher>,
    /// SHA-256 of certificates that are accepted; empty together with `spki`: any.
    pub hashes: Vec<[u8; 32]>,
    /// SHA-256 of public keys that are accepted.
    pub spki: Vec<[u8; 32]>,
    /// Let peers in whose certificate leads to no authority.
    pub accept_untrusted: bool,
    /// Do not tell clients which authorities are trusted.
    pub hide_authorities: bool,
}

impl Validation {
    /// Reads authorities from PEM.
    ///
    /// # Errors
    /// The text holds no certificate, or one that cannot be an authority.
    pub fn set_authorities(&mut self, pem: &[u8]) -> Result<(), String> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|error| format!("is not PEM: {error}"))?;
            roots.add(certificate.clone()).map_err(|error| error.to_string())?;
            self.authorities.push(Arc::new(CertificateInfo::read(&[certificate])?));
        }
        if roots.is_empty() {
            return Err("holds no certificate".to_owned());
        }
        self.roots = Some(Arc::new(roots));
        Ok(())
    }

    /// Reads lists of revoked certificates from PEM.
    ///
    /// # Errors
    /// The text holds none.
    pub fn set_crls(&mut self, pem: &[u8]) -> Result<(), String> {
        let crls = CertificateRevocationListDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
        self.crls = crls.map_err(|error| format!("is not PEM: {error}"))?;
        if self.crls.is_empty() {
            return Err("holds no list of revoked certificates".to_owned());
        }
        Ok(())
    }

    /// The default of a combined context with what SDS gave: lists are joined, single values of SDS win (Envoy merges
    /// the messages). The authorities of SDS are never lost, and neither are the default's names.
    pub fn merged(&self, dynamic: &Validation) -> Validation {
        let join = |a: &[SanMatcher], b: &[SanMatcher]| [a, b].concat();
        let either = |a: &Validation, b: &Validation| if b.roots.is_some() { b.clone() } else { a.clone() };
        let of = either(self, dynamic);
        Validation {
            roots: of.roots,
            authorities: of.authorities,
            crls: if dynamic.crls.is_empty() { self.crls.clone() } else { dynamic.crls.clone() },
            only_leaf_crl: self.only_leaf_crl || dynamic.only_leaf_crl,
            sans: join(&self.sans, &dynamic.sans),
            hashes: [&self.hashes[..], &dynamic.hashes].concat(),
            spki: [&self.spki[..], &dynamic.spki].concat(),
            accept_untrusted: self.accept_untrusted || dynamic.accept_untrusted,
            hide_authorities: self.hide_authorities || dynamic.hide_authorities,
        }
    }

    /// Whether anything of a certificate is verified.
    pub fn verifies(&self) -> bool {
        self.roots.is_some() || !self.hashes.is_empty() || !self.spki.is_empty()
    }
}
