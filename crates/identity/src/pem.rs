//! PEM in and out, by rustls' reader: other sections and text between them are skipped.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::KeyPair;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::IdentityError;

/// A certificate as PEM.
pub(crate) fn encode(certificate: &CertificateDer<'_>) -> String {
    let text = STANDARD.encode(certificate);
    let mut pem = String::with_capacity(text.len() + text.len() / 64 + 64);
    pem.push_str("-----BEGIN CERTIFICATE-----\n");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, more) = rest.split_at(rest.len().min(64));
        pem.push_str(line);
        pem.push('\n');
        rest = more;
    }
    pem.push_str("-----END CERTIFICATE-----\n");
    pem
}

/// All certificates of a text, at least one.
pub(crate) fn certificates(
    text: &str,
    what: &'static str,
) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
    let refuse = |reason: String| IdentityError::Pem { what, reason };
    let mut list = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(text.as_bytes()) {
        let certificate = certificate.map_err(|e| refuse(e.to_string()))?;
        X509Certificate::from_der(&certificate).map_err(|e| refuse(e.to_string()))?;
        list.push(certificate);
    }
    if list.is_empty() { Err(refuse("there is no CERTIFICATE section".to_owned())) } else { Ok(list) }
}

/// The first private key of a text: PKCS #8, PKCS #1 or SEC 1.
pub(crate) fn key(text: &str) -> Result<KeyPair, IdentityError> {
    let refuse = |reason: String| IdentityError::Pem { what: "private key", reason };
    let key = PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|e| refuse(e.to_string()))?;
    KeyPair::try_from(&key).map_err(|e| refuse(e.to_string()))
}
