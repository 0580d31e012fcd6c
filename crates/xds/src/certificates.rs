//! The messages of `istio.v1.auth.IstioCertificateService` (Istio's API, `security/v1alpha1/ca.proto`).

use crate::pb::google::protobuf::{Struct, value::Kind};

/// Where the service's one method is called.
pub const CREATE_CERTIFICATE: &str = "/istio.v1.auth.IstioCertificateService/CreateCertificate";

/// Key of [`CertificateRequest::metadata`]: the workload for which a node proxy asks.
const IMPERSONATED_IDENTITY: &str = "ImpersonatedIdentity";

/// Key of [`CertificateRequest::metadata`]: the Kubernetes signer that is to sign.
const CERT_SIGNER: &str = "CertSigner";

/// `IstioCertificateRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct CertificateRequest {
    /// The certificate signing request, as PEM.
    #[prost(string, tag = "1")]
    pub csr: String,
    /// For how many seconds the certificate is to be valid; 0 for the default.
    #[prost(int64, tag = "3")]
    pub validity_duration: i64,
    /// Wishes by name.
    #[prost(message, optional, tag = "4")]
    pub metadata: Option<Struct>,
}

/// `IstioCertificateResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct CertificateResponse {
    /// The chain, leaf first, and then the roots, each certificate as PEM.
    #[prost(string, repeated, tag = "1")]
    pub cert_chain: Vec<String>,
}

impl CertificateRequest {
    /// Asks one Kubernetes signer to sign.
    pub fn set_cert_signer(&mut self, signer: &str) {
        let value = crate::pb::google::protobuf::Value { kind: Some(Kind::StringValue(signer.to_owned())) };
        self.metadata.get_or_insert_default().fields.insert(CERT_SIGNER.to_owned(), value);
    }

    /// The workload for which a node proxy asks.
    pub fn impersonated_identity(&self) -> Option<&str> {
        self.text(IMPERSONATED_IDENTITY)
    }

    /// The Kubernetes signer that is to sign.
    pub fn cert_signer(&self) -> Option<&str> {
        self.text(CERT_SIGNER)
    }

    fn text(&self, key: &str) -> Option<&str> {
        match self.metadata.as_ref()?.fields.get(key)?.kind.as_ref()? {
            Kind::StringValue(text) if !text.is_empty() => Some(text),
            _ => None,
        }
    }
}
