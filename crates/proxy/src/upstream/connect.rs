//! New connections to endpoints.

use super::alternatives::first;
use crate::config::{Cluster, DnsFamily, Endpoint, TlsClient, Transport, UpstreamSocket, UpstreamSource};
use crate::error::Failure;
use crate::http::io::{Io, Prefixed};
use crate::listener::make_transparent;
use crate::request_info::TlsInfo;
use crate::tls::TlsShard;
use bytes::BytesMut;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use tokio::net::{TcpSocket, TcpStream};

/// What a request wants of the connection that it goes on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted<'a> {
    /// The server name by the request, where the cluster takes it from there (`auto_sni`).
    pub name: Option<&'a str>,
    /// ALPN protocols instead of the cluster's.
    pub alpn: Option<&'a [Vec<u8>]>,
    /// Whose address the connection bears; none: ours.
    pub source: Option<&'a UpstreamSource>,
}

/// An open connection.
#[derive(Debug)]
pub struct Opened {
    /// The connection.
    pub io: Io,
    /// Its TLS session.
    pub tls: Option<Arc<TlsInfo>>,
}

/// Connects to an endpoint by the cluster's transport, within its time.
///
/// # Errors
/// [`Failure::Connect`], [`Failure::ConnectTimeout`], [`Failure::Tls`].
pub async fn open(
    cluster: &Cluster,
    endpoint: &Endpoint,
    wanted: Wanted<'_>,
    stats: &TlsShard,
) -> Result<Opened, Failure> {
    let connecting = async {
        let tcp = match &endpoint.pipe {
            Some(path) => pipe(path).await,
            None => first(endpoint, |address| connect(address, &cluster.socket, wanted.source)).await,
        };
        let tcp = tcp.map_err(|error| connect_failure(&error))?;
        match tls_for(&cluster.transport, endpoint) {
            Some(tls) => handshake(tls, tcp, endpoint, wanted, stats).await,
            None => Ok(Opened { io: Io::plain(tcp), tls: None }),
        }
    };
    match tokio::time::timeout(cluster.connect_timeout, connecting).await {
        Ok(result) => result,
        Err(_) => Err(Failure::ConnectTimeout),
    }
}

/// Connects to a unix socket. What follows only reads, writes and closes, which is the same for every stream socket,
/// so that it goes by the type of TCP's.
async fn pipe(path: &std::path::Path) -> io::Result<TcpStream> {
    let stream = tokio::net::UnixStream::connect(path).await?.into_std()?;
    TcpStream::from_std(std::net::TcpStream::from(std::os::fd::OwnedFd::from(stream)))
}

/// Envoy's words: the system's message without its number.
fn connect_failure(error: &io::Error) -> Failure {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or(&text);
    Failure::Connect(format!("delayed connect error: {text}"))
}

fn tls_for<'a>(transport: &'a Transport, endpoint: &Endpoint) -> Option<&'a Arc<TlsClient>> {
    match transport {
        Transport::Plain => None,
        Transport::Tls(tls) => Some(tls),
        Transport::Matches(matches) => {
            let found = matches.iter().find(|candidate| {
                candidate.labels.iter().all(|label| endpoint.transport_match.contains(label))
            });
            found.and_then(|found| found.tls.as_ref())
        }
    }
}

async fn connect(
    address: SocketAddr,
    settings: &UpstreamSocket,
    client: Option<&UpstreamSource>,
) -> io::Result<TcpStream> {
    // The kernel sends no answers from loopback to an address elsewhere (`__mkroute_output`).
    let client = client.filter(|client| !address.ip().is_loopback() || client.address.is_loopback());
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    let options = socket2::SockRef::from(&socket);
    if let Some(mark) = client.and_then(|client| client.mark).or(settings.mark) {
        options.set_mark(mark)?;
    }
    if let Some(keepalive) = &settings.keepalive {
        set_keepalive(&options, keepalive)?;
    }
    if let Some(client) = client {
        bear(&socket, address, client.address)?;
    } else if let Some(source) = settings.source(address.ip()) {
        // Port 0 is not taken before the connection's other end is known (IP_BIND_ADDRESS_NO_PORT is implied by
        // the kernel only then); few connections share a source here.
        socket.bind(source)?;
    }
    let stream = socket.connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Binds a socket to the address of a client.
///
/// Its own connections and these may meet at one endpoint, where addresses and ports of both have to differ. For port 0
/// bind(2) takes an odd port, as long as there is one, and connect(2) of the client took an even one
/// (Linux, `inet_csk_find_open_port` and `__inet_hash_connect`).
fn bear(socket: &TcpSocket, address: SocketAddr, client: IpAddr) -> io::Result<()> {
    if client.is_ipv4() != address.is_ipv4() {
        let message = format!("the client's address {client} is of another IP version");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    make_transparent(&socket2::SockRef::from(socket), client.is_ipv4())?;
    socket.bind(SocketAddr::new(client, 0))
}

/// Applies TCP keep-alive settings.
pub fn set_keepalive(
    socket: &socket2::SockRef<'_>,
    settings: &crate::config::TcpKeepalive,
) -> io::Result<()> {
    let mut keepalive = socket2::TcpKeepalive::new();
    if let Some(time) = settings.time {
        keepalive = keepalive.with_time(time);
    }
    if let Some(interval) = settings.interval {
        keepalive = keepalive.with_interval(interval);
    }
    if let Some(probes) = settings.probes {
        keepalive = keepalive.with_retries(probes);
    }
    socket.set_keepalive(true)?;
    socket.set_tcp_keepalive(&keepalive)
}

async fn handshake(
    tls: &TlsClient,
    tcp: TcpStream,
    endpoint: &Endpoint,
    wanted: Wanted<'_>,
    stats: &TlsShard,
) -> Result<Opened, Failure> {
    let io = Prefixed { prefix: BytesMut::new(), tcp };
    let name = tls.name(wanted.name, endpoint.hostname.as_deref());
    match tls.connect(io, name, endpoint.address.ip(), wanted.alpn).await {
        Ok((stream, info)) => {
            stats.succeeded(&info);
            Ok(Opened { io: Io::Tls(stream), tls: Some(Arc::new(info)) })
        }
        Err((reason, error)) => {
            stats.failed(error.as_ref());
            Err(Failure::Tls(reason))
        }
    }
}

/// Looks a name up; every address of the wanted families.
///
/// # Errors
/// The name does not resolve, or not to a wanted family.
pub async fn resolve(host: &str, port: u16, family: DnsFamily) -> io::Result<Vec<SocketAddr>> {
    let all: Vec<_> = tokio::net::lookup_host((host, port)).await?.collect();
    let of =
        |v4: bool| all.iter().copied().filter(move |address| address.is_ipv4() == v4).collect::<Vec<_>>();
    let prefer = |v4: bool| {
        let first = of(v4);
        if first.is_empty() { of(!v4) } else { first }
    };
    let mut found = match family {
        DnsFamily::Auto => prefer(false),
        DnsFamily::V4Only => of(true),
        DnsFamily::V6Only => of(false),
        DnsFamily::V4Preferred => prefer(true),
        DnsFamily::All => all.clone(),
    };
    found.sort_unstable();
    found.dedup();
    if found.is_empty() {
        Err(io::Error::new(io::ErrorKind::NotFound, "no address of the wanted family"))
    } else {
        Ok(found)
    }
}
