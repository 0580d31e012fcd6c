//! Accepts the connections of a port until the control plane shuts down.

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long to wait when a connection cannot be accepted: out of file descriptors, most likely; others may end meanwhile.
const AGAIN: Duration = Duration::from_millis(100);

/// Gives each connection to `connection`, at most `limit` at once (those over it are closed); none closes it as well.
/// After `shutdown`, waits until all have ended.
pub(crate) async fn accept<F>(
    listener: TcpListener,
    (port, limit): (&'static str, usize),
    shutdown: CancellationToken,
    connection: impl Fn(TcpStream, SocketAddr) -> Option<F>,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let tracker = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.cancelled() => break,
        };
        match accepted {
            Ok((stream, peer)) if tracker.len() < limit => {
                if let Some(connection) = connection(stream, peer) {
                    tracker.spawn(connection);
                }
            }
            Ok((_, peer)) => tracing::warn!(%peer, port, limit, "too many connections; closed"),
            Err(error) => {
                tracing::warn!(%error, port, "cannot accept connections");
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
    tracker.close();
    tracker.wait().await;
}
