//! What Envoy verifies of a certificate: its chain, its names, its hash; each only where it is asked for.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme,
};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::secret::Validation;
use crate::tls_info::CertificateInfo;

/// A certificate that leads to a trusted authority and yet is not the one that is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mismatch {
    /// It bears none of the wanted names.
    San,
    /// It is none of the pinned ones.
    Hash,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Mismatch::San => "verify SAN list",
            Mismatch::Hash => "verify certificate hash",
        })
    }
}

impl std::error::Error for Mismatch {}

impl Mismatch {
    fn into_error(self) -> Error {
        Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(self))))
    }

    /// An error of the library in words: its own know nothing of ours.
    pub fn describe(error: &Error) -> String {
        match (Mismatch::of(error), error) {
            (Some(mismatch), _) => format!("|CERTIFICATE_VERIFY_FAILED:verify cert failed: {mismatch}"),
            (None, Error::InvalidCertificate(_)) => {
                format!("|CERTIFICATE_VERIFY_FAILED:verify cert failed: {error}")
            }
            (None, Error::NoCertificatesPresented) => "|PEER_DID_NOT_RETURN_A_CERTIFICATE".to_owned(),
            (None, _) => format!("|{error}"),
        }
    }

    /// The mismatch within an error of the library.
    pub fn of(error: &Error) -> Option<Mismatch> {
        match error {
            Error::InvalidCertificate(CertificateError::Other(OtherError(inner))) => {
                inner.downcast_ref::<Mismatch>().copied()
            }
            _ => None,
        }
    }
}

/// Names and pins.
fn verify_leaf(validation: &Validation, leaf: &CertificateDer<'_>) -> Result<(), Error> {
    if !validation.hashes.is_empty() || !validation.spki.is_empty() {
        let hash = digest(&SHA256, leaf);
        let pinned = validation.hashes.iter().any(|wanted| wanted == hash.as_ref()) || {
            let (_, parsed) = X509Certificate::from_der(leaf)
                .map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))?;
            let key = digest(&SHA256, parsed.public_key().raw);
            validation.spki.iter().any(|wanted| wanted == key.as_ref())
        };
        if !pinned {
            return Err(Mismatch::Hash.into_error());
        }
    }
    if !validation.sans.is_empty() {
        let info = CertificateInfo::read(std::slice::from_ref(leaf))
            .map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))?;
        if !validation.sans.iter().any(|matcher| matcher.matches(&info)) {
            return Err(Mismatch::San.into_error());
        }
    }
    Ok(())
}

/// Verifies servers.
#[derive(Debug)]
pub(super) struct ServerVerifier {
    /// None: no authority is asked for, pins alone.
    chain: Option<Arc<WebPkiServerVerifier>>,
    validation: Arc<Validation>,
    /// Verify the name that was asked for.
    name: bool,
    provider: Arc<CryptoProvider>,
}

impl ServerVerifier {
    pub(super) fn new(
        validation: Arc<Validation>,
        provider: Arc<CryptoProvider>,
        name: bool,
    ) -> Result<Self, String> {
        let chain = match &validation.roots {
            None => None,
            Some(roots) => {
                let mut builder =
                    WebPkiServerVerifier::builder_with_provider(roots.clone(), provider.clone())
                        .with_crls(validation.crls.clone());
                if validation.only_leaf_crl {
                    builder = builder.only_check_end_entity_revocation();
                }
                Some(builder.build().map_err(|error| error.to_string())?)
            }
        };
        Ok(ServerVerifier { chain, validation, name, provider })
    }

    fn verify_chain(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), Error> {
        let Some(chain) = &self.chain else { return Ok(()) };
        match chain.verify_server_cert(leaf, intermediates, name, &[], now) {
            Ok(_) => Ok(()),
            // The chain was verified before the name was looked at.
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if !self.name => Ok(()),
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Err(Mismatch::San.into_error()),
            Err(error) => Err(error),
        }
    }
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified = self.verify_chain(end_entity, intermediates, server_name, now);
        match verified.and_then(|()| verify_leaf(&self.validation, end_entity)) {
            Err(error) if !self.validation.accept_untrusted => Err(error),
            _ => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Verifies clients.
#[derive(Debug)]
pub(super) struct ClientVerifier {
    chain: Option<Arc<dyn ClientCertVerifier>>,
    validation: Arc<Validation>,
    required: bool,
    provider: Arc<CryptoProvider>,
}

impl ClientVerifier {
    pub(super) fn new(
        validation: Arc<Validation>,
        provider: Arc<CryptoProvider>,
        required: bool,
    ) -> Result<Self, String> {
        let chain = match &validation.roots {
            None => None,
            Some(roots) => {
                let mut builder =
                    WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone())
                        .with_crls(validation.crls.clone());
                if validation.only_leaf_crl {
                    builder = builder.only_check_end_entity_revocation();
                }
                if validation.hide_authorities || validation.accept_untrusted {
                    builder = builder.clear_root_hint_subjects();
                }
                Some(builder.build().map_err(|error| error.to_string())?)
            }
        };
        Ok(ClientVerifier { chain, validation, required, provider })
    }

    /// Whether the certificate passes, also where untrusted ones are let in.
    pub(super) fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        match &self.chain {
            Some(chain) => {
                chain.verify_client_cert(leaf, intermediates, now)?;
            }
            None if self.validation.verifies() => {}
            None => return Err(Error::InvalidCertificate(CertificateError::UnknownIssuer)),
        }
        verify_leaf(&self.validation, leaf)
    }

    /// Whether certificates that do not pass are let in.
    pub(super) fn accepts_untrusted(&self) -> bool {
        self.validation.accept_untrusted
    }
}

impl ClientCertVerifier for ClientVerifier {
    fn client_auth_mandatory(&self) -> bool {
        self.required
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chain.as_ref().map_or(&[], |chain| chain.root_hint_subjects())
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        match self.verify(end_entity, intermediates, now) {
            Err(error) if !self.validation.accept_untrusted => Err(error),
            _ => Ok(ClientCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
