//! UDP and TCP.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use simple_dns::RCODE;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::message::{Reply, failure, reply};
use crate::upstream::{Transport, Upstream, code_is, set_code};
use crate::zone::Zone;

/// Octets of a query: one question and EDNS options.
const MAX_QUERY: usize = 4096;
/// Queries that wait for other resolvers at one time.
const MAX_WAITING: usize = 512;
/// Connections at one time.
const MAX_CONNECTIONS: usize = 128;
/// How long a connection may be silent (RFC 7766, section 6.2.3).
const IDLE: Duration = Duration::from_secs(10);

/// The sockets of a server: one address and port, over UDP and TCP.
#[derive(Debug)]
pub struct Sockets {
    udp: UdpSocket,
    tcp: TcpListener,
}

impl Sockets {
    /// Binds both.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn bind(address: SocketAddr) -> io::Result<Sockets> {
        let tcp = TcpListener::bind(address).await?;
        // For port 0 the one that the kernel chose.
        let udp = UdpSocket::bind(tcp.local_addr()?).await?;
        Ok(Sockets { udp, tcp })
    }

    /// Where they are bound.
    ///
    /// # Errors
    /// The kernel's.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }
}

/// Serves for as long as the tasks run.
pub fn serve<Z: Zone>(sockets: Sockets, zone: Arc<Z>, upstream: Arc<Upstream>) -> [JoinHandle<()>; 2] {
    let server = Server { zone, upstream, waiting: Arc::new(Semaphore::new(MAX_WAITING)) };
    [
        tokio::spawn(datagrams(server.clone(), Arc::new(sockets.udp))),
        tokio::spawn(connections(server, sockets.tcp)),
    ]
}

struct Server<Z> {
    zone: Arc<Z>,
    upstream: Arc<Upstream>,
    waiting: Arc<Semaphore>,
}

impl<Z> Clone for Server<Z> {
    fn clone(&self) -> Self {
        let Server { zone, upstream, waiting } = self;
        Server { zone: zone.clone(), upstream: upstream.clone(), waiting: waiting.clone() }
    }
}

impl<Z: Zone> Server<Z> {
    /// What others say; a failure when nobody does, or too many wait already.
    async fn elsewhere(&self, query: &[u8], transport: Transport, missing: RCODE) -> Option<Vec<u8>> {
        let answer = match self.waiting.try_acquire() {
            Ok(_permit) => self.upstream.ask(query, transport).await,
            Err(_) => None,
        };
        let Some(mut answer) = answer else { return failure(query, RCODE::ServerFailure) };
        if code_is(&answer, RCODE::NameError) {
            set_code(&mut answer, missing);
        }
        Some(answer)
    }
}

async fn datagrams<Z: Zone>(server: Server<Z>, socket: Arc<UdpSocket>) {
    let mut buffer = vec![0; MAX_QUERY];
    loop {
        let (len, from) = match socket.recv_from(&mut buffer).await {
            Ok(received) => received,
            // The kernel tells of clients that are gone.
            Err(error) => {
                tracing::debug!(%error, "DNS receive");
                continue;
            }
        };
        let query = &buffer[..len];
        match reply(&*server.zone, query, true) {
            // A client that is gone asks again or not at all.
            Reply::Answer(bytes) => drop(socket.send_to(&bytes, from).await),
            Reply::Nothing => {}
            Reply::Forward { .. } if server.waiting.available_permits() == 0 => {
                if let Some(bytes) = failure(query, RCODE::ServerFailure) {
                    // As above.
                    let _ = socket.send_to(&bytes, from).await;
                }
            }
            Reply::Forward { missing } => {
                let (server, socket, query) = (server.clone(), socket.clone(), query.to_vec());
                tokio::spawn(async move {
                    if let Some(bytes) = server.elsewhere(&query, Transport::Udp, missing).await {
                        // As above.
                        let _ = socket.send_to(&bytes, from).await;
                    }
                });
            }
        }
    }
}

async fn connections<Z: Zone>(server: Server<Z>, listener: TcpListener) {
    let open = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let Ok(permit) = open.clone().try_acquire_owned() else { continue };
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

async fn connection<Z: Zone>(server: Server<Z>, mut stream: TcpStream) -> io::Result<()> {
    loop {
        let len = usize::from(timeout(IDLE, stream.read_u16()).await??);
        if len > MAX_QUERY {
            return Ok(());
        }
        let mut query = vec![0; len];
        timeout(IDLE, stream.read_exact(&mut query)).await??;
        let bytes = match reply(&*server.zone, &query, false) {
            Reply::Answer(bytes) => Some(bytes),
            Reply::Forward { missing } => server.elsewhere(&query, Transport::Tcp, missing).await,
            Reply::Nothing => None,
        };
        let Some(bytes) = bytes else { return Ok(()) };
        let Ok(len) = u16::try_from(bytes.len()) else { return Ok(()) };
        timeout(IDLE, stream.write_all(&[&len.to_be_bytes()[..], &bytes].concat())).await??;
    }
}

#[cfg(test)]
mod tests;
