//! HTTP/2 to upstreams: connections that many requests share, and one request on them.

use super::convert;
use super::cork::cork;
use super::halves::{RecvHalf, SendHalf};
use crate::config::{Endpoint, Http2Options};
use crate::error::Failure;
use crate::http::RequestHead;
use crate::http::h1::Frame;
use crate::request_info::TlsInfo;
use crate::upstream::pool::HostPool;
use crate::upstream::{ConnectionPermit, LocalCluster, Opened, UpstreamHead, Wanted};
use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

/// A connection that many requests share.
#[derive(Clone, Debug)]
pub struct H2Conn {
    send: SendRequest<Bytes>,
    shared: Rc<Shared>,
}

#[derive(Debug)]
struct Shared {
    active: Cell<u32>,
    served: Cell<u32>,
    closed: Cell<bool>,
    limit: u32,
    local: Option<SocketAddr>,
    tls: Option<Arc<TlsInfo>>,
    idle_since: Cell<Instant>,
    born: Instant,
}

impl H2Conn {
    /// Whether it takes no more requests.
    pub fn is_closed(&self) -> bool {
        self.shared.closed.get()
    }

    /// Whether it has been without requests for so long.
    pub fn is_idle_for(&self, limit: Duration) -> bool {
        self.shared.active.get() == 0 && self.shared.idle_since.get().elapsed() >= limit
    }

    fn has_room(&self) -> bool {
        let limit = (self.shared.limit as usize).min(self.send.current_max_send_streams());
        !self.is_closed() && (self.shared.active.get() as usize) < limit
    }
}

/// Opens an HTTP/2 connection and drives it until it ends.
async fn handshake(
    opened: Opened,
    options: &Http2Options,
    permit: ConnectionPermit,
) -> Result<H2Conn, Failure> {
    let Opened { io, tls } = opened;
    let local = io.tcp().local_addr().ok();
    let (io, cork) = cork(io);
    let handshake = h2::client::Builder::new()
        .initial_window_size(options.stream_window)
        .initial_connection_window_size(options.connection_window)
        .max_header_list_size(64 << 10)
        .enable_push(false)
        .handshake::<_, Bytes>(io);
    let (send, mut connection) = handshake.await.map_err(|_| Failure::UpstreamProtocol("HTTP/2 preface"))?;
    let shared = Rc::new(Shared {
        active: Cell::new(0),
        served: Cell::new(0),
        closed: Cell::new(false),
        limit: options.max_concurrent_streams,
        local,
        tls,
        idle_since: Cell::new(Instant::now()),
        born: Instant::now(),
    });
    let driven = shared.clone();
    tokio::task::spawn_local(async move {
        let end = poll_fn(|cx| {
            let end = Pin::new(&mut connection).poll(cx).map_err(io::Error::other);
            match cork.poll_uncork(cx) {
                Poll::Ready(Err(error)) if end.is_pending() => Poll::Ready(Err(error)),
                _ => end,
            }
        });
        if let Err(error) = end.await {
            tracing::debug!(%error, "upstream HTTP/2 connection ended");
        }
        driven.closed.set(true);
        drop(permit);
    });
    Ok(H2Conn { send, shared })
}

impl LocalCluster {
    /// A place for a request on an HTTP/2 connection to an endpoint.
    ///
    /// # Errors
    /// What opening a connection fails with.
    pub async fn http2(
        &self,
        endpoint: &Endpoint,
        high: bool,
        wanted: Wanted<'_>,
    ) -> Result<H2Stream, Failure> {
        let pool = self.pool(endpoint.address, &wanted);
        loop {
            if let Some(stream) = self.shared_stream(&pool).await {
                return Ok(stream);
            }
            // One opens a connection, the others wait for it.
            if let Some(opening) = pool.opening.begin() {
                let permit = self.connection_permit(endpoint, high).ok_or(Failure::Overflow)?;
                let opened = self.open(endpoint, wanted).await?;
                self.share(&pool, opened, permit).await?;
                drop(opening);
            } else {
                pool.opening.wait().await;
            }
        }
    }

    /// A place on a connection that is there.
    pub(crate) async fn shared_stream(&self, pool: &HostPool) -> Option<H2Stream> {
        loop {
            let conn = pool.h2.borrow().iter().find(|conn| conn.has_room()).cloned()?;
            if let Ok(stream) = H2Stream::begin(conn.clone()).await {
                return Some(stream);
            }
            conn.shared.closed.set(true);
        }
    }

    /// Begins HTTP/2 on a connection that further requests share.
    ///
    /// # Errors
    /// The peer does not speak it.
    pub(crate) async fn share(
        &self,
        pool: &HostPool,
        opened: Opened,
        permit: ConnectionPermit,
    ) -> Result<(), Failure> {
        self.stats().upstream_cx_http2_total.inc();
        let conn = handshake(opened, &self.config.http2, permit).await?;
        let mut connections = pool.h2.borrow_mut();
        connections.retain(|conn| !conn.is_closed());
        connections.push(conn);
        Ok(())
    }

    /// Gives up a shared connection that has served or lived long enough.
    fn retire(&self, conn: &H2Conn) {
        let spent =
            self.config.max_requests_per_connection.is_some_and(|most| conn.shared.served.get() >= most);
        let old = self.config.max_connection_duration.is_some_and(|most| conn.shared.born.elapsed() >= most);
        if spent || old {
            conn.shared.closed.set(true);
        }
    }
}

impl HostPool {
    /// A place on a shared connection that takes a request at once.
    pub fn share_now(&self) -> Option<H2Stream> {
        let conn = self.h2.borrow().iter().find(|conn| conn.has_room()).cloned()?;
        let mut stream = H2Stream::new(conn);
        let ready = stream.conn.send.poll_ready(&mut Context::from_waker(Waker::noop()));
        matches!(ready, Poll::Ready(Ok(()))).then_some(stream)
    }
}

/// One request on an HTTP/2 connection.
#[derive(Debug)]
pub struct H2Stream {
    conn: H2Conn,
    response: Option<ResponseFuture>,
    send: Option<SendHalf>,
    recv: Option<RecvHalf>,
    head_bytes: (u64, u64),
    failed: bool,
}

impl H2Stream {
    fn new(conn: H2Conn) -> Self {
        conn.shared.active.set(conn.shared.active.get() + 1);
        conn.shared.served.set(conn.shared.served.get().saturating_add(1));
        H2Stream { conn, response: None, send: None, recv: None, head_bytes: (0, 0), failed: false }
    }

    async fn begin(conn: H2Conn) -> Result<Self, h2::Error> {
        let mut stream = H2Stream::new(conn);
        poll_fn(|cx| stream.conn.send.poll_ready(cx)).await?;
        Ok(stream)
    }

    /// Notes limits of the connection's life.
    pub fn retire_if_spent(&self, cluster: &LocalCluster) {
        cluster.retire(&self.conn);
    }

    /// The connection's TLS session.
    pub fn tls(&self) -> Option<&Arc<TlsInfo>> {
        self.conn.shared.tls.as_ref()
    }

    /// Our address of the connection.
    pub fn local_address(&self) -> Option<SocketAddr> {
        self.conn.shared.local
    }

    /// Sends the request's head.
    ///
    /// # Errors
    /// The head cannot stand in HTTP/2, or the connection has ended.
    pub fn push_request(&mut self, head: &RequestHead, end: bool) -> Result<(), Failure> {
        let request =
            convert::request_from(head).ok_or(Failure::UpstreamProtocol("head cannot stand in HTTP/2"))?;
        let (response, send) = self.conn.send.send_request(request, end).map_err(|error| failure(&error))?;
        self.response = Some(response);
        self.send = Some(SendHalf::new(send, end));
        self.head_bytes.1 = (head.headers.wire_len() + head.path.len() + head.authority.len()) as u64;
        Ok(())
    }

    /// Sends a piece of the request.
    pub fn push_frame(&mut self, frame: Frame) {
        if let Some(send) = &mut self.send {
            send.push(frame);
        }
    }

    /// Bytes that wait to be sent.
    pub fn buffered(&self) -> usize {
        self.send.as_ref().map_or(0, SendHalf::buffered)
    }

    /// Ready when everything is sent, or cannot be.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let (Some(send), false) = (&mut self.send, self.failed)
            && ready!(send.poll_flush(cx)).is_err()
        {
            self.failed = true;
        }
        Poll::Ready(())
    }

    /// The response's head.
    pub fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<UpstreamHead, Failure>> {
        let Some(response) = &mut self.response else { return Poll::Pending };
        if let Poll::Ready(Some(informational)) = response.poll_informational(cx) {
            let (parts, ()) = informational.map_err(|error| failure(&error))?.into_parts();
            let head = convert::response_head(&parts);
            return Poll::Ready(Ok(UpstreamHead { head, end: false, upgrade: None }));
        }
        let response = ready!(Pin::new(response).poll(cx)).map_err(|error| failure(&error))?;
        self.response = None;
        let (parts, body) = response.into_parts();
        let recv = RecvHalf::new(body);
        let (head, end) = (convert::response_head(&parts), recv.done);
        self.head_bytes.0 = head.headers.wire_len() as u64;
        self.recv = Some(recv);
        Poll::Ready(Ok(UpstreamHead { head, end, upgrade: None }))
    }

    /// The next piece of the response.
    pub fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Result<Frame, Failure>> {
        let Some(recv) = &mut self.recv else { return Poll::Ready(Ok(Frame::End)) };
        recv.poll_frame(cx).map_err(|error| failure(&error))
    }

    /// Bytes received and sent for this request (heads uncompressed).
    pub fn wire_bytes(&self) -> (u64, u64) {
        let received = self.recv.as_ref().map_or(0, |recv| recv.received);
        let sent = self.send.as_ref().map_or(0, |send| send.sent);
        (received + self.head_bytes.0, sent + self.head_bytes.1)
    }
}

impl Drop for H2Stream {
    fn drop(&mut self) {
        let shared = &self.conn.shared;
        shared.active.set(shared.active.get() - 1);
        shared.idle_since.set(Instant::now());
        // A stream that is not complete on both sides is given up; h2 resets the receiving half by itself.
        let complete = self.recv.as_ref().is_some_and(|recv| recv.at_end());
        if let (Some(send), false) = (&mut self.send, complete) {
            send.reset(h2::Reason::CANCEL);
        }
    }
}

use std::future::Future;

fn failure(error: &h2::Error) -> Failure {
    if error.is_reset() || error.is_go_away() {
        let refused = error.reason() == Some(h2::Reason::REFUSED_STREAM);
        if error.is_remote() {
            return Failure::UpstreamReset { refused };
        }
    }
    if error.is_io() || error.is_go_away() {
        return Failure::UpstreamClosed { stale: false };
    }
    Failure::UpstreamProtocol("HTTP/2 protocol error")
}
