//! Connections on the workload's unix sockets.

use std::future::Future;
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;

/// Connections that the proxy may have open on one socket.
const MAX_CONNECTIONS: usize = 8;

/// How long to wait when a connection cannot be accepted: others may end meanwhile.
const AGAIN: Duration = Duration::from_millis(100);

/// Serves the proxy's connections for ever; those over the limit wait.
pub(super) async fn serve<F>(listener: UnixListener, connection: impl Fn(UnixStream) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut connections = JoinSet::new();
    loop {
        while connections.len() >= MAX_CONNECTIONS {
            connections.join_next().await;
        }
        match listener.accept().await {
            Ok((stream, _)) => {
                while connections.try_join_next().is_some() {}
                connections.spawn(connection(stream));
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept the proxy's connections");
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}
