//! The connection to the control plane.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use hyper_util::rt::TokioIo;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpStream, UnixStream};
use tonic::transport::{Channel, Endpoint, Uri};

use crate::bootstrap::Target;

/// Limit of a connection's establishment.
const CONNECT: Duration = Duration::from_secs(5);
/// HTTP/2 pings that find a dead peer.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// Connects with the socket settings of upstream connections.
#[derive(Clone, Debug, Default)]
pub(crate) struct Dialer {
    /// SO_MARK.
    pub(crate) mark: Option<u32>,
}

impl Dialer {
    /// Connects to the first target that answers.
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
            Target::Tcp(host, port) if host.contains(':') => format!("[{host}]:{port}"),
            Target::Tcp(host, port) => format!("{host}:{port}"),
            Target::Unix(_) => "localhost".to_owned(),
        };
        let endpoint = Endpoint::from_shared(format!("http://{authority}"))?
            .connect_timeout(CONNECT)
            .http2_keep_alive_interval(KEEPALIVE)
            .keep_alive_while_idle(true);
        let mark = self.mark;
        let channel = match target.clone() {
            Target::Tcp(host, port) => {
                let connector = tower::service_fn(move |_: Uri| {
                    let host = host.clone();
                    async move { dial(&host, port, mark).await.map(TokioIo::new) }
                });
                endpoint.connect_with_connector(connector).await
            }
            Target::Unix(path) => {
                let connector = tower::service_fn(move |_: Uri| {
                    let path = path.clone();
                    async move { UnixStream::connect(path).await.map(TokioIo::new) }
                });
                endpoint.connect_with_connector(connector).await
            }
        };
        channel.with_context(|| match target {
            Target::Tcp(..) => format!("control plane {authority}"),
            Target::Unix(path) => format!("control plane {}", path.display()),
        })
    }
}

async fn dial(host: &str, port: u16, mark: Option<u32>) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, format!("{host} has no address"));
    for address in tokio::net::lookup_host((host, port)).await? {
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
