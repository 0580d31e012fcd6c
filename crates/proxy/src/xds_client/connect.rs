//! The connection to the control plane.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use hyper_util::rt::TokioIo;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpStream;
use tonic::transport::{Channel, Endpoint, Uri};

/// Limit of a connection's establishment.
const CONNECT: Duration = Duration::from_secs(5);
/// HTTP/2 pings that find a dead peer.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// Where a stream leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// A host name or address with a port.
    Tcp(String, u16),
    /// A unix socket.
    Unix(PathBuf),
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Target::Tcp(host, port) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Target::Tcp(host, port) => write!(f, "{host}:{port}"),
            Target::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Connects with the socket settings of upstream connections.
#[derive(Clone, Debug, Default)]
pub(crate) struct Dialer {
    /// SO_MARK.
    pub(crate) mark: Option<u32>,
}

impl Dialer {
    /// Connects to the first host that answers.
    pub(crate) async fn connect(&self, targets: &[Target]) -> anyhow::Result<Channel> {
        let mut last = anyhow::anyhow!("no host is given");
        for target in targets {
            match self.one(target).await {
                Ok(channel) => return Ok(channel),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn one(&self, target: &Target) -> anyhow::Result<Channel> {
        let authority = match target {
            Target::Tcp(..) => target.to_string(),
            // As Envoy's: a unix socket has no authority of its own.
            Target::Unix(_) => "localhost".to_owned(),
        };
        let endpoint = Endpoint::from_shared(format!("http://{authority}"))?
            .connect_timeout(CONNECT)
            .http2_keep_alive_interval(KEEPALIVE)
            .keep_alive_while_idle(true);
        let mark = self.mark;
        let connecting = match target {
            Target::Tcp(host, port) => {
                let target = (host.clone(), *port);
                let connector = tower::service_fn(move |_: Uri| {
                    let target = target.clone();
                    async move { dial(&target, mark).await.map(TokioIo::new) }
                });
                endpoint.connect_with_connector(connector).await
            }
            Target::Unix(path) => {
                let path = path.clone();
                let connector = tower::service_fn(move |_: Uri| {
                    let path = path.clone();
                    async move { tokio::net::UnixStream::connect(path).await.map(TokioIo::new) }
                });
                endpoint.connect_with_connector(connector).await
            }
        };
        connecting.with_context(|| format!("server {target}"))
    }
}

async fn dial(target: &(String, u16), mark: Option<u32>) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, format!("{} has no address", target.0));
    for address in tokio::net::lookup_host((target.0.as_str(), target.1)).await? {
        match dial_address(address, mark).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

async fn dial_address(address: SocketAddr, mark: Option<u32>) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if let Some(mark) = mark {
        socket.set_mark(mark)?;
    }
    socket.set_nonblocking(true)?;
    let stream = tokio::net::TcpSocket::from_std_stream(socket.into()).connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}
