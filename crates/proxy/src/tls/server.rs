//! TLS that we serve.

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwapOption;
use rustls::ServerConfig;
use rustls::pki_types::UnixTime;
use rustls::server::{ClientHello, NoServerSessionStorage, ServerSessionMemoryCache};

use super::context::{CommonContext, Trusted};
use super::hello;
use super::resolver::Resolver;
use super::secret::Certificate;
use super::slot::Dependent;
use super::stream::TlsStream;
use super::verify::{ClientVerifier, Mismatch};
use crate::http::io::Prefixed;
use crate::tls_info::{self, TlsInfo};

/// Sessions that are kept where tickets are off.
const STORED_SESSIONS: usize = 1024;

/// Settings of a server alone.
#[derive(Clone, Copy, Debug)]
pub struct ServerOptions {
    /// Refuse clients that show no certificate.
    pub require_client_certificate: bool,
    /// Refuse clients that ask for no server name.
    pub require_sni: bool,
    /// Prefer the client's order of cipher suites.
    pub client_order: bool,
    /// Resume sessions by tickets.
    pub tickets: bool,
    /// Resume sessions that we store, where there are no tickets.
    pub stored_sessions: bool,
}

impl Default for ServerOptions {
    fn default() -> Self {
        ServerOptions {
            require_client_certificate: false,
            require_sni: false,
            client_order: false,
            tickets: true,
            stored_sessions: true,
        }
    }
}

/// Downstream TLS. Its certificates may be swapped while it is in use; none yet means that connections are refused.
#[derive(Debug)]
pub struct TlsServer {
    current: ArcSwapOption<Ready>,
    context: CommonContext,
    options: ServerOptions,
}

/// A context that is complete.
#[derive(Debug)]
struct Ready {
    config: Arc<ServerConfig>,
    /// For clients that offer none of our ALPN protocols: Envoy goes on without.
    without_alpn: Arc<ServerConfig>,
    resolver: Arc<Resolver>,
    verifier: Option<Arc<ClientVerifier>>,
}

/// Why a handshake failed.
#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    /// The certificate has not come yet, or cannot be used.
    #[error("TLS error: Secret is not supplied by SDS")]
    NotReady,
    /// It took too long.
    #[error("TLS handshake timeout")]
    Timeout,
    /// No server name was asked for.
    #[error("TLS error: no server name")]
    NoServerName,
    /// TLS says why.
    #[error("TLS_error:{}:TLS_error_end", Mismatch::describe(.0))]
    Tls(rustls::Error),
    /// The connection failed.
    #[error("{0}")]
    Io(io::Error),
}

impl From<io::Error> for AcceptError {
    fn from(error: io::Error) -> Self {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(tls) => AcceptError::Tls(tls.clone()),
            None => AcceptError::Io(error),
        }
    }
}

impl TlsServer {
    /// A context that is put together now and whenever one of its secrets changes.
    ///
    /// # Errors
    /// What is given in place cannot be used together.
    pub fn new(context: CommonContext, options: ServerOptions) -> Result<Arc<Self>, String> {
        let server = Arc::new(TlsServer { current: ArcSwapOption::empty(), context, options });
        server.context.register(&server);
        server.build()?;
        Ok(server)
    }

    /// Its settings that both directions have.
    pub fn context(&self) -> &CommonContext {
        &self.context
    }

    /// Certificates that are in use now.
    pub fn certificates(&self) -> Vec<Arc<Certificate>> {
        self.current.load().as_ref().map_or_else(Vec::new, |ready| ready.resolver.0.clone())
    }

    /// Puts the context together; nothing changes while a secret is missing.
    fn build(&self) -> Result<(), String> {
        let certificates = self.context.present_certificates()?;
        let trusted = self.context.validation()?;
        if certificates.is_empty() {
            return Ok(());
        }
        let parameters = &self.context.parameters;
        let verifier = match trusted {
            Trusted::NotYet => return Ok(()),
            Trusted::Anyone if self.options.require_client_certificate => {
                return Err("a client certificate is required and no authority is named".to_owned());
            }
            Trusted::Anyone => None,
            Trusted::By(validation) => {
                let required = self.options.require_client_certificate;
                Some(Arc::new(ClientVerifier::new(validation, parameters.provider.clone(), required)?))
            }
        };
        let builder = ServerConfig::builder_with_provider(parameters.provider.clone())
            .with_protocol_versions(&parameters.versions)
            .map_err(|error| error.to_string())?;
        let builder = match &verifier {
            Some(verifier) => builder.with_client_cert_verifier(verifier.clone()),
            None => builder.with_no_client_auth(),
        };
        let resolver = Arc::new(Resolver(certificates));
        let mut config = builder.with_cert_resolver(resolver.clone());
        config.ignore_client_order = !self.options.client_order;
        config.send_tls13_tickets = 1;
        self.resumption(&mut config)?;
        let mut without_alpn = config.clone();
        without_alpn.alpn_protocols = Vec::new();
        config.alpn_protocols = self.context.alpn.clone();
        self.current.store(Some(Arc::new(Ready {
            config: Arc::new(config),
            without_alpn: Arc::new(without_alpn),
            resolver,
            verifier,
        })));
        Ok(())
    }

    /// Tickets are of this context as it is now: one that trusts other authorities, or shows another certificate, must
    /// not resume what this one accepted. All workers share them; keys change by themselves.
    fn resumption(&self, config: &mut ServerConfig) -> Result<(), String> {
        if self.options.tickets {
            config.ticketer =
                rustls::crypto::aws_lc_rs::Ticketer::new().map_err(|error| error.to_string())?;
            config.session_storage = Arc::new(NoServerSessionStorage {});
        } else if self.options.stored_sessions {
            config.session_storage = ServerSessionMemoryCache::new(STORED_SESSIONS);
        } else {
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        }
        Ok(())
    }

    /// Serves the handshake, within `limit`.
    ///
    /// # Errors
    /// Why it failed.
    pub async fn accept(
        &self,
        io: Prefixed,
        limit: Option<Duration>,
    ) -> Result<(TlsStream, TlsInfo, Option<Box<str>>), AcceptError> {
        let ready = self.current.load_full().ok_or(AcceptError::NotReady)?;
        let handshake = self.handshake(&ready, io);
        match limit.filter(|limit| !limit.is_zero()) {
            Some(limit) => tokio::time::timeout(limit, handshake).await.map_err(|_| AcceptError::Timeout)?,
            None => handshake.await,
        }
    }

    async fn handshake(
        &self,
        ready: &Ready,
        mut io: Prefixed,
    ) -> Result<(TlsStream, TlsInfo, Option<Box<str>>), AcceptError> {
        let (accepted, bytes) = hello::read(&mut io).await?;
        let hello = accepted.client_hello();
        let name: Option<Box<str>> = hello.server_name().map(|name| name.to_ascii_lowercase().into());
        if self.options.require_sni && name.is_none() {
            return Err(AcceptError::NoServerName);
        }
        let local = ready.resolver.choose(&hello).map(|certificate| certificate.info.clone());
        let config = if self.offers_ours(&hello) { &ready.config } else { &ready.without_alpn };
        let stream = TlsStream::accept(config.clone(), io, bytes).await?;
        let mut info = tls_info::of(stream.session(), ready.verifier.is_some());
        info.local = local;
        if let (Some(verifier), Some(peer)) = (&ready.verifier, &info.peer) {
            let chain = &peer.chain;
            if verifier.accepts_untrusted() {
                info.validated = verifier.verify(&chain[0], &chain[1..], UnixTime::now()).is_ok();
            } else if info.resumed && peer.not_after < SystemTime::now() {
                // Resuming verifies nothing again; time is what may have run out since.
                let expired = rustls::CertificateError::Expired;
                return Err(AcceptError::Tls(rustls::Error::InvalidCertificate(expired)));
            }
        }
        Ok((stream, info, name))
    }

    /// Whether the client offers one of our ALPN protocols, or none at all.
    fn offers_ours(&self, hello: &ClientHello<'_>) -> bool {
        let Some(mut offered) = hello.alpn() else { return true };
        offered.any(|protocol| self.context.alpn.iter().any(|ours| ours == protocol))
    }
}

impl Dependent for TlsServer {
    fn rebuild(&self) {
        if let Err(error) = self.build() {
            tracing::warn!(%error, "a TLS context cannot use its secrets; the last good ones stay");
        }
    }
}
