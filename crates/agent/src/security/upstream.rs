use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::uri::{Authority, Scheme, Uri};
use http::{HeaderValue, Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use lateen_identity::TrustBundle;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::Mutex;
use tokio_rustls::TlsConnector;

use super::files;
use super::options::SecurityOptions;

/// What is sent.
pub(crate) type Body = UnsyncBoxBody<Bytes, hyper::Error>;

/// Limit of a connection's establishment, TLS included.
const CONNECT: Duration = Duration::from_secs(5);
/// Pings that find a control plane which is gone without a word.
const KEEPALIVE: Duration = Duration::from_secs(30);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// What the control plane may send ahead of the proxy's reading: it waits in this process's memory.
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 512 << 10;

/// The control plane: one HTTP/2 connection, made when it is needed.
pub(crate) struct Upstream {
    address: String,
    /// Whether it is spoken to over TLS, and told who we are.
    secure: bool,
    root_file: PathBuf,
    token_file: PathBuf,
    provisioned: Option<PathBuf>,
    mark: Option<u32>,
    connection: Mutex<Option<SendRequest<Body>>>,
}

impl Upstream {
    pub(super) fn new(address: &str, options: &SecurityOptions) -> Upstream {
        Upstream {
            address: address.to_owned(),
            secure: !address.ends_with(":15010"),
            root_file: options.root_file.clone(),
            token_file: options.token_file.clone(),
            provisioned: options.provisioned.clone(),
            mark: options.socket_mark,
            connection: Mutex::new(None),
        }
    }

    /// Where it is.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Sends a request, with the workload's token if the connection is safe for it.
    ///
    /// # Errors
    /// The control plane cannot be reached or trusted, or breaks the connection.
    pub(crate) async fn send(&self, mut request: Request<Body>) -> Result<Response<Incoming>> {
        self.complete(&mut request)?;
        let mut connection = self.connection().await?;
        connection.send_request(request).await.with_context(|| self.address.clone())
    }

    /// Addresses the request, and signs it with the token.
    fn complete(&self, request: &mut Request<Body>) -> Result<()> {
        let mut parts = std::mem::take(request.uri_mut()).into_parts();
        parts.scheme = Some(if self.secure { Scheme::HTTPS } else { Scheme::HTTP });
        parts.authority = Some(self.address.parse::<Authority>().with_context(|| self.address.clone())?);
        *request.uri_mut() = Uri::from_parts(parts)?;
        request.headers_mut().remove(AUTHORIZATION);
        if !self.secure {
            return Ok(());
        }
        match std::fs::read_to_string(&self.token_file) {
            Ok(token) => {
                let mut value = HeaderValue::from_str(&format!("Bearer {}", token.trim()))
                    .with_context(|| format!("{} holds no token", self.token_file.display()))?;
                value.set_sensitive(true);
                request.headers_mut().insert(AUTHORIZATION, value);
                Ok(())
            }
            // The certificate proves who we are.
            Err(_) if self.provisioned.is_some() => Ok(()),
            Err(error) => Err(error).with_context(|| self.token_file.display().to_string()),
        }
    }

    async fn connection(&self) -> Result<SendRequest<Body>> {
        let mut slot = self.connection.lock().await;
        if let Some(connection) = slot.as_ref().filter(|connection| !connection.is_closed()) {
            return Ok(connection.clone());
        }
        let made = tokio::time::timeout(CONNECT, self.connect()).await;
        let connection = made
            .map_err(|_| anyhow!("{}: no connection within {} s", self.address, CONNECT.as_secs()))?
            .with_context(|| self.address.clone())?;
        *slot = Some(connection.clone());
        Ok(connection)
    }

    async fn connect(&self) -> Result<SendRequest<Body>> {
        let (host, port) = self.address.rsplit_once(':').context("host:port is expected")?;
        let host = host.trim_matches(['[', ']']);
        let stream = dial(host, port.parse().context("the port is no number")?, self.mark).await?;
        if !self.secure {
            return handshake(stream).await;
        }
        let name = ServerName::try_from(host.to_owned()).context("no name of a server")?;
        let connector = TlsConnector::from(Arc::new(self.tls()?));
        let stream = connector.connect(name, stream).await?;
        if stream.get_ref().1.alpn_protocol() != Some(b"h2") {
            bail!("the server does not speak HTTP/2 over TLS");
        }
        handshake(stream).await
    }

    /// TLS as of now: roots and certificates are read anew for each connection, so that rotations are followed.
    fn tls(&self) -> Result<rustls::ClientConfig> {
        let roots = files::read(&self.root_file)?;
        let roots = TrustBundle::from_pem(&roots).with_context(|| self.root_file.display().to_string())?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots.roots()?);
        let mut config = match self.provisioned.as_deref().map(own_certificate) {
            Some(Ok((chain, key))) => builder.with_client_auth_cert(chain, key)?,
            Some(Err(error)) if !self.token_file.exists() => return Err(error),
            _ => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        // One connection: there is nothing to resume.
        config.resumption = rustls::client::Resumption::disabled();
        Ok(config)
    }
}

/// The certificate that was provisioned for this machine.
fn own_certificate(directory: &Path) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
    let [chain, key] = ["cert-chain.pem", "key.pem"].map(|file| directory.join(file));
    let (chain_text, key_text) = (files::read(&chain)?, files::read(&key)?);
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(chain_text.as_bytes()).collect();
    let certificates = certificates.with_context(|| chain.display().to_string())?;
    let key =
        PrivateKeyDer::from_pem_slice(key_text.as_bytes()).with_context(|| key.display().to_string())?;
    Ok((certificates, key))
}

async fn handshake(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> Result<SendRequest<Body>> {
    let (sender, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .handshake(TokioIo::new(stream))
        .await?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "connection to the control plane ended");
        }
    });
    Ok(sender)
}

async fn dial(host: &str, port: u16, mark: Option<u32>) -> Result<TcpStream> {
    let mut last = anyhow!("{host} has no address");
    for address in tokio::net::lookup_host((host, port)).await? {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        if let Some(mark) = mark {
            socket.set_mark(mark)?;
        }
        socket.set_nonblocking(true)?;
        match TcpSocket::from_std_stream(socket.into()).connect(address).await {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(error) => last = anyhow!("{address}: {error}"),
        }
    }
    Err(last)
}
