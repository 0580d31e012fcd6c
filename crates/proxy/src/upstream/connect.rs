//! New connections to endpoints.

use crate::config::{Cluster, DnsFamily, Endpoint, TlsClient, Transport, UpstreamSocket};
use crate::error::Failure;
use crate::http::io::{Io, Prefixed};
use bytes::BytesMut;
use rustls::pki_types::ServerName;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::{TcpSocket, TcpStream};

/// Connects to an endpoint by the cluster's transport, within its time.
///
/// # Errors
/// [`Failure::Connect`], [`Failure::ConnectTimeout`], [`Failure::Tls`].
pub async fn open(cluster: &Cluster, endpoint: &Endpoint, authority: Option<&[u8]>) -> Result<Io, Failure> {
    let connecting = async {
        let tcp =
            connect(endpoint.address, &cluster.socket).await.map_err(|error| connect_failure(&error))?;
        match tls_for(&cluster.transport, endpoint) {
            Some(tls) => handshake(tls, tcp, endpoint.address, authority).await,
            None => Ok(Io::plain(tcp)),
        }
    };
    match tokio::time::timeout(cluster.connect_timeout, connecting).await {
        Ok(result) => result,
        Err(_) => Err(Failure::ConnectTimeout),
    }
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

async fn connect(address: SocketAddr, settings: &UpstreamSocket) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    let options = socket2::SockRef::from(&socket);
    if let Some(mark) = settings.mark {
        options.set_mark(mark)?;
    }
    if let Some(keepalive) = &settings.keepalive {
        set_keepalive(&options, keepalive)?;
    }
    if let Some(source) = settings.source.filter(|source| source.is_ipv4() == address.is_ipv4()) {
        // Port 0 is not taken before the connection's other end is known (IP_BIND_ADDRESS_NO_PORT is implied by
        // the kernel only then); few connections share a source here.
        socket.bind(source)?;
    }
    let stream = socket.connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
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
    address: SocketAddr,
    authority: Option<&[u8]>,
) -> Result<Io, Failure> {
    let config = tls.config.load_full();
    let config = config.ok_or_else(|| Failure::Tls("TLS error: Secret is not supplied by SDS".to_owned()))?;
    let asked = authority.filter(|_| tls.auto_sni).and_then(|text| std::str::from_utf8(text).ok());
    let asked = asked.map(crate::config::without_port).or(tls.server_name.as_deref());
    let name = match asked {
        Some(name) => ServerName::try_from(name.to_owned())
            .map_err(|_| Failure::Tls(format!("TLS error: invalid server name {name:?}")))?,
        None => ServerName::IpAddress(address.ip().into()),
    };
    let io = Prefixed { prefix: BytesMut::new(), tcp };
    let stream = tokio_rustls::TlsConnector::from(config).connect(name, io).await;
    stream
        .map(|stream| Io::Client(Box::new(stream)))
        .map_err(|error| Failure::Tls(format!("TLS error: {error}")))
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
