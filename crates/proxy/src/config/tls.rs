//! TLS contexts, behind one small seam: the path sees only [`TlsServer`] and [`TlsClient`].

use arc_swap::ArcSwapOption;
use std::sync::Arc;

/// Downstream TLS. The certificate may be swapped while it is in use (SDS); none yet means connections are refused.
#[derive(Debug, Default)]
pub struct TlsServer {
    /// The library's configuration.
    pub config: ArcSwapOption<rustls::ServerConfig>,
}

impl TlsServer {
    /// A context with a ready configuration.
    pub fn new(config: rustls::ServerConfig) -> Self {
        TlsServer { config: ArcSwapOption::from_pointee(config) }
    }
}

/// Upstream TLS. The certificate may be swapped while it is in use (SDS); none yet means connections fail.
#[derive(Debug, Default)]
pub struct TlsClient {
    /// The library's configuration. Verification of names (SANs) is its verifier's job.
    pub config: ArcSwapOption<rustls::ClientConfig>,
    /// Server name that is asked for; none: the endpoint's address (no SNI).
    pub server_name: Option<Box<str>>,
    /// Take the request's authority as the server name (`auto_sni`).
    pub auto_sni: bool,
}

impl TlsClient {
    /// A context with a ready configuration.
    pub fn new(config: rustls::ClientConfig, server_name: Option<&str>) -> Self {
        TlsClient {
            config: ArcSwapOption::from_pointee(config),
            server_name: server_name.map(Into::into),
            auto_sni: false,
        }
    }
}

impl From<Arc<rustls::ServerConfig>> for TlsServer {
    fn from(config: Arc<rustls::ServerConfig>) -> Self {
        TlsServer { config: ArcSwapOption::new(Some(config)) }
    }
}
