//! Cluster DNS, after the specification "Kubernetes DNS-Based Service Discovery".

mod answer;
mod zone;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use lateen_dns::{ResolvConf, Sockets, Upstream};
use tokio::task::JoinHandle;

use crate::cluster::Catalog;

/// Starts the cluster's name server on `address`. Names outside the cluster are asked of the host's resolvers, as far as
/// there is a way to them: not those on its loopback.
///
/// # Errors
/// If the address cannot be bound.
pub(crate) async fn serve(address: SocketAddr, catalog: Arc<Catalog>) -> io::Result<[JoinHandle<()>; 2]> {
    let mut resolvers = ResolvConf::read().resolvers();
    resolvers.retain(|resolver| !resolver.ip().is_loopback());
    let upstream = Arc::new(Upstream::new(resolvers, None));
    Ok(lateen_dns::serve(Sockets::bind(address).await?, catalog, upstream))
}
