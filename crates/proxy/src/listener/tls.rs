//! TLS that we serve: the handshake, and what it told.

use crate::config::TlsServer;
use crate::http::io::Prefixed;
use crate::request_info::TlsInfo;
use std::io;
use std::time::Duration;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// Serves the handshake.
///
/// # Errors
/// It failed, took too long, or there is no certificate yet.
pub async fn accept(
    server: &TlsServer,
    io: Prefixed,
    limit: Option<Duration>,
) -> io::Result<(TlsStream<Prefixed>, TlsInfo)> {
    let config = server.config.load_full();
    let config = config.ok_or_else(|| io::Error::other("no certificate yet"))?;
    let handshake = TlsAcceptor::from(config).accept(io);
    let stream = match limit.filter(|limit| !limit.is_zero()) {
        Some(limit) => tokio::time::timeout(limit, handshake).await.map_err(io::Error::from)??,
        None => handshake.await?,
    };
    let info = crate::tls_info::of(stream.get_ref().1, true);
    Ok((stream, info))
}
