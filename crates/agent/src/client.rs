//! A small HTTP client for addresses of this pod.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// The largest answer that is read, in bytes: an application's metrics can be large, but not without end.
const MAX_BODY: usize = 64 << 20;

/// Sends a request without a body over a new connection and reads the whole answer within `limit`.
///
/// # Errors
/// The connection cannot be made, breaks, or the answer takes too long.
pub async fn send(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Empty<Bytes>>,
    limit: Duration,
) -> io::Result<Response<Bytes>> {
    tokio::time::timeout(limit, exchange(stream, request)).await.map_err(|_| io::ErrorKind::TimedOut)?
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Empty<Bytes>>,
) -> io::Result<Response<Bytes>> {
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    let connection = tokio::spawn(connection);
    let (head, body) = sender.send_request(request).await.map_err(io::Error::other)?.into_parts();
    let body = Limited::new(body, MAX_BODY).collect().await.map_err(io::Error::other)?.to_bytes();
    connection.abort();
    Ok(Response::from_parts(head, body))
}

/// Sends `method path` to an address of this pod.
///
/// # Errors
/// As [`send`].
pub async fn call(
    method: &str,
    address: SocketAddr,
    path: &str,
    limit: Duration,
) -> io::Result<Response<Bytes>> {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(http::header::HOST, address.to_string())
        .body(Empty::new())
        .map_err(io::Error::other)?;
    let stream = tokio::time::timeout(limit, TcpStream::connect(address))
        .await
        .map_err(|_| io::ErrorKind::TimedOut)??;
    send(stream, request, limit).await
}
