use rcgen::{CertificateParams, DistinguishedName, KeyPair, SanType, SubjectPublicKeyInfo};
use rustls::pki_types::CertificateSigningRequestDer;
use rustls::pki_types::pem::PemObject;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;

use crate::{IdentityError, KeyKind, SpiffeId};

/// RSA keys with fewer bits are not certified (NIST SP 800-131A).
const RSA_BITS: usize = 2048;

/// A key that was just made, with the request to certify it. The key stays with whoever made it.
pub struct KeyRequest {
    key: KeyPair,
    csr: String,
}

impl KeyRequest {
    /// Makes a key and asks for a certificate of an identity.
    ///
    /// # Errors
    /// When the system has no randomness for a key.
    pub fn create(kind: KeyKind, identity: &SpiffeId) -> Result<Self, IdentityError> {
        let key = kind.generate()?;
        let name = identity.to_string();
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        let uri = name.clone().try_into().map_err(|_| IdentityError::Name(name))?;
        params.subject_alt_names.push(SanType::URI(uri));
        let csr = params.serialize_request(&key)?.pem()?;
        Ok(KeyRequest { key, csr })
    }

    /// The request, as PEM.
    pub fn csr_pem(&self) -> &str {
        &self.csr
    }

    /// The private key, as PKCS #8 PEM.
    pub fn key_pem(&self) -> String {
        self.key.serialize_pem()
    }

    /// Whether a certificate (PEM) is for this key.
    ///
    /// # Errors
    /// When the text holds no certificate.
    pub fn is_certified_by(&self, certificate_pem: &str) -> Result<bool, IdentityError> {
        let certificates = crate::pem::certificates(certificate_pem, "certificate")?;
        crate::authority::belongs(&self.key, &certificates[0])
    }
}

impl std::fmt::Debug for KeyRequest {
    /// Leaves the private key out.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyRequest").field("csr", &self.csr).finish_non_exhaustive()
    }
}

/// A request to certify a key, whose signature proves that the sender holds the key.
#[derive(Clone, Debug)]
pub struct SigningRequest {
    pub(crate) key: SubjectPublicKeyInfo,
    uris: Vec<String>,
}

impl SigningRequest {
    /// Reads a request in PEM and verifies its signature.
    ///
    /// # Errors
    /// When it is none, its signature does not match its key, or the key is too weak to be certified.
    pub fn parse(pem: &str) -> Result<Self, IdentityError> {
        let refuse = |reason: &str| IdentityError::Request(reason.to_owned());
        let der = CertificateSigningRequestDer::from_pem_slice(pem.as_bytes())
            .map_err(|e| IdentityError::Request(format!("not a CERTIFICATE REQUEST in PEM: {e}")))?;
        let (rest, request) = X509CertificationRequest::from_der(&der)
            .map_err(|e| IdentityError::Request(format!("not a certificate request (PKCS #10): {e}")))?;
        if !rest.is_empty() {
            return Err(refuse("bytes follow the request"));
        }
        request.verify_signature().map_err(|_| refuse("it is not signed by its own key"))?;
        let info = &request.certification_request_info.subject_pki;
        if let Ok(PublicKey::RSA(key)) = info.parsed()
            && key.key_size() < RSA_BITS
        {
            return Err(refuse("RSA keys must have at least 2048 bits"));
        }
        let key = SubjectPublicKeyInfo::from_der(info.raw)
            .map_err(|e| IdentityError::Request(format!("its key cannot be certified: {e}")))?;
        let mut uris = Vec::new();
        for extension in request.requested_extensions().into_iter().flatten() {
            if let ParsedExtension::SubjectAlternativeName(names) = extension {
                uris.extend(names.general_names.iter().filter_map(|name| match name {
                    GeneralName::URI(uri) => Some((*uri).to_owned()),
                    _ => None,
                }));
            }
        }
        Ok(SigningRequest { key, uris })
    }

    /// The URIs that it asks for. What a certificate says is the authority's decision, not the request's.
    pub fn uris(&self) -> &[String] {
        &self.uris
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity() -> SpiffeId {
        SpiffeId::new("cluster.local", "default", "sleep").unwrap()
    }

    #[test]
    fn a_request_tells_what_it_asks_for() {
        for kind in [KeyKind::P256, KeyKind::P384, KeyKind::Rsa2048] {
            let made = KeyRequest::create(kind, &identity()).unwrap();
            let request = SigningRequest::parse(made.csr_pem()).unwrap();
            assert_eq!(request.uris(), ["spiffe://cluster.local/ns/default/sa/sleep"], "{kind:?}");
        }
    }

    #[test]
    fn a_request_that_another_key_signed_is_refused() {
        let made = KeyRequest::create(KeyKind::P256, &identity()).unwrap();
        let der = CertificateSigningRequestDer::from_pem_slice(made.csr_pem().as_bytes()).unwrap();
        let mut bytes = der.to_vec();
        // A letter of the name changes, the signature does not.
        let at = bytes.windows(5).position(|window| window == b"sleep").unwrap();
        bytes[at] = b'S';
        use base64::Engine as _;
        let text = base64::engine::general_purpose::STANDARD.encode(&bytes);
        let pem = format!("-----BEGIN CERTIFICATE REQUEST-----\n{text}\n-----END CERTIFICATE REQUEST-----\n");
        let error = SigningRequest::parse(&pem).unwrap_err();
        assert!(error.to_string().contains("not signed by its own key"), "{error}");
    }

    #[test]
    fn nonsense_is_refused_without_a_panic() {
        for text in
            ["", "x", "-----BEGIN CERTIFICATE REQUEST-----\nMAA=\n-----END CERTIFICATE REQUEST-----\n"]
        {
            assert!(matches!(SigningRequest::parse(text), Err(IdentityError::Request(_))), "{text:?}");
        }
    }
}
