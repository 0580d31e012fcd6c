//! The way out of the mesh's namespaces: listeners on the host.

use std::io;
use std::net::{SocketAddr, TcpListener};

use futures::future::BoxFuture;

/// Makes listeners in the host's network namespace.
pub trait HostPorts: Send + Sync + 'static {
    /// A listening socket on `address` of the host.
    fn listen(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<TcpListener>>;
}
