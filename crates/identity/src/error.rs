/// Why a certificate, key or identity could not be made or read.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A SPIFFE name that is not `spiffe://<trust domain>/ns/<namespace>/sa/<service account>`.
    #[error("{name:?} is no SPIFFE name of a workload: {reason}")]
    Spiffe {
        /// The name as given.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A subject alternative name that cannot stand in a certificate.
    #[error("{0:?} cannot be a name in a certificate: only ASCII DNS names, URIs and IP addresses can")]
    Name(String),
    /// PEM text without the item that was looked for.
    #[error("the PEM text holds no usable {what}: {reason}")]
    Pem {
        /// The item: `certificate` or `private key`.
        what: &'static str,
        /// What the parser said.
        reason: String,
    },
    /// A certificate signing request that cannot be granted.
    #[error("certificate signing request refused: {0}")]
    Request(String),
    /// A certificate that does not lead to a root.
    #[error(
        "the certificate {subject:?} does not lead to a root of root-cert.pem: the certificate of its issuer \
         {issuer:?} is neither among the roots nor in cert-chain.pem"
    )]
    Chain {
        /// The certificate at which the chain ends.
        subject: String,
        /// Its issuer.
        issuer: String,
    },
    /// A certificate outside its time.
    #[error("the certificate {subject:?} is not valid now: {reason}")]
    Time {
        /// The certificate.
        subject: String,
        /// Expired, or not valid yet.
        reason: &'static str,
    },
    /// A certificate that may not sign others.
    #[error("the certificate is not a certificate authority (basicConstraints CA:TRUE is missing)")]
    NotAuthority,
    /// A key that is not the one of the certificate.
    #[error("the private key does not belong to the certificate")]
    KeyMismatch,
    /// The certificate library refused.
    #[error("cannot make the certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// TLS refused the certificate or key.
    #[error("cannot use the certificate for TLS: {0}")]
    Tls(#[from] rustls::Error),
}
