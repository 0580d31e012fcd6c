//! UDP and TCP.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use simple_dns::RCODE;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::answer::{Reply, answer, failure};
use super::forward;
use crate::cluster::Catalog;

const MAX_QUERY: usize = 4096;
/// Queries that wait for other resolvers, and connections, at one time.
const MAX_WAITING: usize = 256;
const IDLE: Duration = Duration::from_secs(10);

/// Starts the server on `address`.
///
/// # Errors
/// If the address cannot be bound.
pub(crate) async fn serve(
    address: SocketAddr,
    catalog: Arc<Catalog>,
) -> io::Result<Vec<tokio::task::JoinHandle<()>>> {
    let udp = Arc::new(UdpSocket::bind(address).await?);
    let tcp = TcpListener::bind(address).await?;
    let server = Server {
        catalog,
        resolvers: forward::resolvers().into(),
        waiting: Arc::new(Semaphore::new(MAX_WAITING)),
    };
    Ok(vec![tokio::spawn(datagrams(server.clone(), udp)), tokio::spawn(connections(server, tcp))])
}

#[derive(Clone)]
struct Server {
    catalog: Arc<Catalog>,
    resolvers: Arc<[SocketAddr]>,
    waiting: Arc<Semaphore>,
}

impl Server {
    async fn elsewhere(&self, query: &[u8]) -> Option<Vec<u8>> {
        match forward::ask(&self.resolvers, query).await {
            Some(answer) => Some(answer),
            None => failure(query, RCODE::ServerFailure),
        }
    }
}

async fn datagrams(server: Server, socket: Arc<UdpSocket>) {
    let mut buffer = vec![0; MAX_QUERY];
    loop {
        let (len, from) = match socket.recv_from(&mut buffer).await {
            Ok(received) => received,
            Err(error) => {
                tracing::debug!(%error, "DNS receive");
                continue;
            }
        };
        let query = &buffer[..len];
        match answer(&server.catalog, query, true) {
            // A client that is gone asks again or not at all.
            Reply::Answer(bytes) => drop(socket.send_to(&bytes, from).await),
            Reply::Nothing => {}
            Reply::Forward => {
                let Ok(permit) = server.waiting.clone().try_acquire_owned() else { continue };
                let (server, socket, query) = (server.clone(), socket.clone(), query.to_vec());
                tokio::spawn(async move {
                    let _permit = permit;
                    if let Some(bytes) = server.elsewhere(&query).await {
                        // As above.
                        let _ = socket.send_to(&bytes, from).await;
                    }
                });
            }
        }
    }
}

async fn connections(server: Server, listener: TcpListener) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let Ok(permit) = server.waiting.clone().try_acquire_owned() else { continue };
                let server = server.clone();
                tokio::spawn(async move {
                    let _permit = permit;
                    if let Err(error) = connection(server, stream).await {
                        tracing::trace!(%error, "DNS connection");
                    }
                });
            }
            Err(error) => {
                tracing::debug!(%error, "DNS accept");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn connection(server: Server, mut stream: TcpStream) -> io::Result<()> {
    loop {
        let len = timeout(IDLE, stream.read_u16()).await??;
        let mut query = vec![0; len.into()];
        timeout(IDLE, stream.read_exact(&mut query)).await??;
        let bytes = match answer(&server.catalog, &query, false) {
            Reply::Answer(bytes) => Some(bytes),
            Reply::Forward => server.elsewhere(&query).await,
            Reply::Nothing => None,
        };
        let Some(bytes) = bytes else { return Ok(()) };
        let Ok(len) = u16::try_from(bytes.len()) else { return Ok(()) };
        stream.write_all(&[&len.to_be_bytes()[..], &bytes].concat()).await?;
    }
}
