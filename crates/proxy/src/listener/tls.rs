//! TLS that we serve: the handshake, what it told, and how its failure is told.

use crate::config::{ActiveListener, FilterChain, TlsServer};
use crate::http::io::{Io, Prefixed};
use crate::request_info::{ConnectionInfo, LogContext, RequestInfo};
use crate::tls::AcceptError;
use std::sync::Arc;
use std::time::Duration;

/// Limit of a handshake where the listener names none: nobody may hold a connection with half a ClientHello. Envoy has
/// no limit of its own; zero (`transport_socket_connect_timeout: 0s`) switches ours off.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(15);

/// Serves the handshake of a chain with TLS; none: it failed, which was counted and logged.
pub async fn accept(
    server: &TlsServer,
    io: Prefixed,
    active: &ActiveListener,
    chain: &FilterChain,
    info: &mut ConnectionInfo,
) -> Option<Io> {
    let stats = active.tls_stats.of(info.worker);
    match server.accept(io, Some(chain.handshake_timeout.unwrap_or(HANDSHAKE_TIMEOUT))).await {
        Ok((stream, facts, name)) => {
            stats.succeeded(&facts);
            if info.server_name.is_none() {
                info.server_name = name.map(Into::into);
            }
            info.tls = Some(Arc::new(facts));
            Some(Io::Tls(Box::new(stream)))
        }
        Err(error) => {
            stats.failed(match &error {
                AcceptError::Tls(tls) => Some(tls),
                _ => None,
            });
            tell(active, info, &error);
            None
        }
    }
}

/// Logs a handshake that failed.
fn tell(active: &ActiveListener, info: &ConnectionInfo, error: &AcceptError) {
    tracing::info!(listener = %active.config.name, peer = %info.direct_remote, %error, "TLS handshake failed");
    if active.config.access_logs.is_empty() {
        return;
    }
    let mut info = info.clone();
    info.transport_failure = Some(error.to_string().into());
    let mut info = RequestInfo::new(Arc::new(info), None);
    info.details = Some("downstream_tls_handshake_failed".into());
    info.timings.end = Some(info.elapsed());
    let context = LogContext { info: &info, request: None, response: None, trailers: None };
    for log in &active.config.access_logs {
        log.log(&context);
    }
}
