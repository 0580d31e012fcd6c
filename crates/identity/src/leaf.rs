use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::{IdentityError, SpiffeId};

/// What a certificate may be used for (its extended key usage).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Usage {
    /// TLS servers.
    Server,
    /// TLS clients.
    Client,
    /// Both, as a workload in the mesh needs.
    #[default]
    Both,
}

/// What to write into a certificate.
#[derive(Clone, Debug)]
pub struct LeafRequest {
    /// The subject's common name: for a Kubernetes client the user name.
    pub common_name: String,
    /// The subject's organization: for a Kubernetes client the group, for example `system:masters`.
    pub organization: String,
    /// DNS names, wildcards allowed.
    pub dns_names: Vec<String>,
    /// Addresses.
    pub ip_addresses: Vec<IpAddr>,
    /// Workload identities.
    pub identities: Vec<SpiffeId>,
    /// What it may be used for.
    pub usage: Usage,
    /// How long it is valid from now on.
    pub lifetime: Duration,
}

impl Default for LeafRequest {
    fn default() -> Self {
        LeafRequest {
            common_name: String::new(),
            organization: String::new(),
            dns_names: Vec::new(),
            ip_addresses: Vec::new(),
            identities: Vec::new(),
            usage: Usage::Both,
            lifetime: Duration::from_secs(24 * 3600),
        }
    }
}

impl LeafRequest {
    /// A server's certificate for the names and addresses; each name that parses as an IP address becomes one.
    pub fn server<'a>(names: impl IntoIterator<Item = &'a str>, lifetime: Duration) -> Self {
        let mut request = LeafRequest { usage: Usage::Server, lifetime, ..LeafRequest::default() };
        for name in names {
            match name.parse() {
                Ok(address) => request.ip_addresses.push(address),
                Err(_) => request.dns_names.push(name.to_owned()),
            }
        }
        request
    }

    /// A Kubernetes client's certificate: user name and group.
    pub fn client(user: &str, group: &str, lifetime: Duration) -> Self {
        LeafRequest {
            common_name: user.to_owned(),
            organization: group.to_owned(),
            usage: Usage::Client,
            lifetime,
            ..LeafRequest::default()
        }
    }
}

/// A certificate with its private key and the chain up to, but without, the root.
pub struct Leaf {
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) chain_pem: String,
    pub(crate) key: Vec<u8>,
    pub(crate) key_pem: String,
}

impl Leaf {
    /// The chain, leaf first, as PEM.
    pub fn chain_pem(&self) -> &str {
        &self.chain_pem
    }

    /// The private key as PKCS #8 PEM.
    pub fn key_pem(&self) -> &str {
        &self.key_pem
    }

    /// The chain, leaf first.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    /// The private key.
    pub fn key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.clone()))
    }

    /// A TLS server's configuration with this certificate, which offers the given ALPN protocols. With `clients`,
    /// a client may show a certificate, and one that does not lead to these roots is refused; a client without a
    /// certificate is let in (the server sees that there is none).
    ///
    /// # Errors
    /// When TLS cannot use the certificate or the roots.
    pub fn server_config(
        &self,
        alpn: &[&str],
        clients: Option<RootCertStore>,
    ) -> Result<rustls::ServerConfig, IdentityError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()?;
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(roots) => {
                let verifier =
                    rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                        .allow_unauthenticated()
                        .build()
                        .map_err(|e| rustls::Error::General(e.to_string()))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let mut config = builder.with_single_cert(self.chain.clone(), self.key())?;
        config.alpn_protocols = alpn.iter().map(|p| p.as_bytes().to_vec()).collect();
        Ok(config)
    }
}

impl fmt::Debug for Leaf {
    /// Leaves the private key out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leaf").field("chain_pem", &self.chain_pem).finish_non_exhaustive()
    }
}
