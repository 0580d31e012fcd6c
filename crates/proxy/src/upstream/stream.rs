//! One request on an upstream connection, whatever its protocol.

use super::local::LocalCluster;
use super::pool::ClientConn;
use crate::error::Failure;
use crate::http::h1::{BodyKind, Frame, H1Error, Limits};
use crate::http::h2::client::H2Stream;
use crate::http::{RequestHead, ResponseHead};
use crate::request_info::{Protocol, TlsInfo};
use bytes::Bytes;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

/// A response's head from upstream.
#[derive(Debug)]
pub struct UpstreamHead {
    /// The head.
    pub head: ResponseHead,
    /// The response has no body.
    pub end: bool,
    /// The protocol that was switched to.
    pub upgrade: Option<Bytes>,
}

/// One request on an upstream connection.
#[derive(Debug)]
pub enum UpstreamStream {
    /// HTTP/1.
    H1(Box<H1Stream>),
    /// HTTP/2.
    H2(Box<H2Stream>),
}

/// One request on an HTTP/1 connection.
#[derive(Debug)]
pub struct H1Stream {
    client: ClientConn,
    to_head: bool,
    keep_alive: bool,
    /// Bytes that the connection had brought when the request began.
    bytes_before: (u64, u64),
    request_done: bool,
    broken: bool,
}

impl UpstreamStream {
    /// A request on an HTTP/1 connection.
    pub fn h1(client: ClientConn) -> Self {
        let bytes_before = (client.conn.bytes_in, client.conn.bytes_out);
        UpstreamStream::H1(Box::new(H1Stream {
            client,
            to_head: false,
            keep_alive: true,
            bytes_before,
            request_done: false,
            broken: false,
        }))
    }

    /// The connection's TLS session.
    pub fn tls(&self) -> Option<&Arc<TlsInfo>> {
        match self {
            UpstreamStream::H1(stream) => stream.client.tls.as_ref(),
            UpstreamStream::H2(stream) => stream.tls(),
        }
    }

    /// What is spoken.
    pub fn protocol(&self) -> Protocol {
        match self {
            UpstreamStream::H1(_) => Protocol::Http11,
            UpstreamStream::H2(_) => Protocol::Http2,
        }
    }

    /// Our address of the connection.
    pub fn local_address(&self) -> Option<SocketAddr> {
        match self {
            UpstreamStream::H1(stream) => stream.client.local,
            UpstreamStream::H2(stream) => stream.local_address(),
        }
    }

    /// Sends the request's head.
    ///
    /// # Errors
    /// The connection cannot take it.
    pub fn push_request(
        &mut self,
        head: &RequestHead,
        body: BodyKind,
        upgrade: Option<&[u8]>,
    ) -> Result<(), Failure> {
        match self {
            UpstreamStream::H1(stream) => {
                stream.to_head = head.method == http::Method::HEAD;
                stream.client.conn.push_request(head, body, upgrade);
                stream.request_done = body == BodyKind::None && upgrade.is_none();
                Ok(())
            }
            UpstreamStream::H2(stream) => stream.push_request(head, body == BodyKind::None),
        }
    }

    /// Sends a piece of the request.
    pub fn push_frame(&mut self, frame: Frame) {
        match self {
            UpstreamStream::H1(stream) => {
                stream.request_done |= !matches!(frame, Frame::Data(_));
                if !stream.broken {
                    stream.client.conn.push_frame(&frame);
                }
            }
            UpstreamStream::H2(stream) => stream.push_frame(frame),
        }
    }

    /// Bytes that wait to be sent.
    pub fn buffered(&self) -> usize {
        match self {
            UpstreamStream::H1(stream) => stream.client.conn.buffered(),
            UpstreamStream::H2(stream) => stream.buffered(),
        }
    }

    /// Ready when everything is sent, or cannot be: the upstream may have answered and gone without reading all.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            UpstreamStream::H1(stream) => {
                if !stream.broken && ready!(stream.client.conn.poll_flush(cx)).is_err() {
                    stream.broken = true;
                }
                Poll::Ready(())
            }
            UpstreamStream::H2(stream) => stream.poll_flush(cx),
        }
    }

    /// The response's head; 1xx heads come before it.
    pub fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<UpstreamHead, Failure>> {
        match self {
            UpstreamStream::H1(stream) => stream.poll_head(cx),
            UpstreamStream::H2(stream) => stream.poll_head(cx),
        }
    }

    /// The next piece of the response.
    pub fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Result<Frame, Failure>> {
        match self {
            UpstreamStream::H1(stream) => {
                let frame = ready!(stream.client.conn.poll_frame(cx));
                Poll::Ready(frame.map_err(|error| stream.failure(error)))
            }
            UpstreamStream::H2(stream) => stream.poll_frame(cx),
        }
    }

    /// Turns the stream into a tunnel after an upgrade.
    pub fn become_tunnel(&mut self) {
        if let UpstreamStream::H1(stream) = self {
            stream.client.conn.become_tunnel();
            stream.keep_alive = false;
        }
    }

    /// Ends our side of a tunnel.
    pub fn shutdown_when_flushed(&mut self) {
        if let UpstreamStream::H1(stream) = self {
            stream.client.conn.shutdown_when_flushed();
        }
    }

    /// Bytes received and sent on the wire for this request.
    pub fn wire_bytes(&self) -> (u64, u64) {
        match self {
            UpstreamStream::H1(stream) => {
                let conn = &stream.client.conn;
                (conn.bytes_in - stream.bytes_before.0, conn.bytes_out - stream.bytes_before.1)
            }
            UpstreamStream::H2(stream) => stream.wire_bytes(),
        }
    }

    /// Puts the connection back where the exchange is complete; otherwise it is closed (or the stream reset).
    pub fn finish(self, cluster: &LocalCluster) {
        let stats = cluster.stats();
        let (received, sent) = self.wire_bytes();
        stats.upstream_cx_rx_bytes_total.add(received);
        stats.upstream_cx_tx_bytes_total.add(sent);
        if let UpstreamStream::H1(stream) = self {
            let complete = stream.request_done && stream.client.conn.read_done();
            if stream.keep_alive && complete && !stream.broken {
                stream.client.release(cluster.reuse());
            } else {
                drop(stream);
            }
            cluster.freed();
        }
    }
}

impl H1Stream {
    fn failure(&self, error: H1Error) -> Failure {
        match error {
            H1Error::Malformed(why) => Failure::UpstreamProtocol(why),
            H1Error::TooLarge => Failure::UpstreamProtocol("headers too large"),
            H1Error::UnsupportedCoding => Failure::UpstreamProtocol("unsupported transfer encoding"),
            H1Error::Truncated | H1Error::Timeout | H1Error::Io(_) => {
                let silent = self.client.conn.bytes_in == self.bytes_before.0;
                Failure::UpstreamClosed { stale: silent && self.client.served > 0 }
            }
        }
    }

    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<UpstreamHead, Failure>> {
        let parsed = ready!(self.client.conn.poll_response(cx, Limits::default(), self.to_head));
        let parsed = parsed.map_err(|error| self.failure(error))?;
        let status = parsed.head.status;
        if status >= 200 {
            self.keep_alive = parsed.keep_alive;
        }
        let end = status >= 200 && self.client.conn.read_done();
        Poll::Ready(Ok(UpstreamHead { head: parsed.head, end, upgrade: parsed.upgrade }))
    }
}
