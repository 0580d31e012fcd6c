//! HTTP/1 from clients: one request after the other on a connection.

use super::conn::H1Conn;
use super::encode::ResponseStyle;
use super::{BodyKind, Frame, H1Error, Limits, ParsedRequest};
use crate::error::{Failure, client_protocol_reply};
use crate::http::downstream::{Connection, Downstream, Incoming};
use crate::http::exchange;
use crate::http::io::Io;
use crate::http::{Headers, ResponseHead};
use crate::request_info::{Protocol, RequestInfo};
use crate::timer::LazyTimer;
use bytes::BytesMut;
use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Instant;

/// Body bytes of an answered request that are read and dropped, so that the connection can go on.
const DRAIN_LIMIT: u64 = 64 << 10;

/// An idle connection of a chain that drains is closed when it has been idle for so long.
const LEAVE: Duration = Duration::from_secs(1);

/// What came of waiting for a request.
enum Next {
    Request(Box<ParsedRequest>),
    Closed,
    Idle,
    Drained,
    Failed(H1Error),
}

/// Serves a connection until it ends.
pub async fn serve(connection: &Connection, io: Io, prefix: BytesMut) {
    let mut conn = H1Conn::new(io, prefix);
    let (mut timer, mut served) = (LazyTimer::default(), 0u32);
    let stats = connection.stats();
    stats.downstream_cx_http1_total.inc();
    let born = Instant::now();
    loop {
        let parsed = match next(connection, &mut conn, &mut timer).await {
            Next::Request(parsed) => parsed,
            Next::Failed(error) => {
                refuse(connection, &mut conn, &mut timer, &error).await;
                break;
            }
            Next::Idle => {
                stats.downstream_cx_idle_timeout.inc();
                break;
            }
            Next::Drained => {
                stats.downstream_cx_drain_close.inc();
                break;
            }
            Next::Closed => break,
        };
        served = served.saturating_add(1);
        stats.downstream_rq_http1_total.inc();
        let manager = &connection.manager;
        let spent = manager.max_requests_per_connection.is_some_and(|most| served >= most)
            || manager.max_connection_duration.is_some_and(|most| born.elapsed() >= most);
        // Boxed: a connection that waits for its next request holds no room for one.
        if !Box::pin(one(connection, &mut conn, &mut timer, *parsed, spent)).await {
            break;
        }
    }
    stats.downstream_cx_rx_bytes_total.add(conn.bytes_in);
    stats.downstream_cx_tx_bytes_total.add(conn.bytes_out);
    close(conn, timer).await;
}

/// Waits for the next request's head.
async fn next(connection: &Connection, conn: &mut H1Conn, timer: &mut LazyTimer) -> Next {
    conn.trim();
    let manager = &connection.manager;
    let limits = Limits {
        bytes: (manager.max_request_headers_kb as usize) << 10,
        headers: manager.max_headers as usize,
    };
    let now = Instant::now();
    let idle = manager.idle_timeout.filter(|idle| !idle.is_zero()).map(|idle| now + idle);
    let head = manager.headers_timeout.or(manager.request_timeout).filter(|limit| !limit.is_zero());
    timer.set(idle);
    let (mut begun, mut leaving) = (false, None);
    poll_fn(|cx| {
        if let Poll::Ready(result) = conn.poll_request(cx, limits) {
            return Poll::Ready(match result {
                Ok(Some(parsed)) => Next::Request(Box::new(parsed)),
                Ok(None) => Next::Closed,
                Err(error) => Next::Failed(error),
            });
        }
        let drain = &connection.chain.drain;
        if drain.is_closing() {
            return Poll::Ready(Next::Drained);
        }
        if !begun && !conn.is_between_requests() {
            (begun, leaving) = (true, None);
            timer.set(head.map(|limit| Instant::now() + limit).or(idle));
        } else if !begun && leaving.is_none() && drain.is_draining() {
            // A client may be about to use a connection that served a moment ago: it hears `close` with its answer.
            leaving = Some(now + LEAVE);
            timer.set([idle, leaving].into_iter().flatten().min());
        }
        timer.poll(cx).map(|()| match leaving {
            _ if begun => Next::Failed(H1Error::Timeout),
            Some(leaving) if Instant::now() >= leaving => Next::Drained,
            _ => Next::Idle,
        })
    })
    .await
}

/// Serves one request; tells whether the connection can serve another.
async fn one(
    connection: &Connection,
    conn: &mut H1Conn,
    timer: &mut LazyTimer,
    parsed: ParsedRequest,
    spent: bool,
) -> bool {
    if !parsed.http11 && !connection.manager.accept_http10 {
        let reply = ResponseHead { status: 426, headers: Headers::new() };
        let style =
            ResponseStyle { to_head: false, http11: false, keep_alive: false, end: true, upgrade: None };
        conn.push_response(&reply, style);
        timer.set(Some(Instant::now() + Duration::from_secs(5)));
        flush(conn, timer).await;
        return false;
    }
    let upgrade = parsed.upgrade;
    let body = if upgrade.is_some() { BodyKind::None } else { parsed.body };
    let mut down = H1Down {
        conn,
        to_head: parsed.head.method == http::Method::HEAD,
        http11: parsed.http11,
        keep_alive: parsed.keep_alive && !spent,
        connection,
        aborted: false,
        tunnel: false,
    };
    let incoming = Incoming {
        head: parsed.head,
        body,
        upgrade,
        expect_continue: parsed.expect_continue,
        wire_len: parsed.wire_len,
        protocol: if parsed.http11 { Protocol::Http11 } else { Protocol::Http10 },
    };
    exchange::serve(connection, incoming, &mut down, timer).await;
    let reusable = down.keep_alive && !down.aborted && !down.tunnel;
    if down.aborted {
        return false;
    }
    if !conn.read_done() {
        return reusable && drain(conn, timer).await;
    }
    reusable
}

/// Reads and drops what is left of a request that was answered early.
async fn drain(conn: &mut H1Conn, timer: &mut LazyTimer) -> bool {
    timer.set(Some(Instant::now() + Duration::from_secs(1)));
    let mut dropped = 0;
    poll_fn(|cx| {
        loop {
            match conn.poll_frame(cx) {
                Poll::Ready(Ok(Frame::Data(data))) => dropped += data.len() as u64,
                Poll::Ready(Ok(_)) => return Poll::Ready(true),
                Poll::Ready(Err(_)) => return Poll::Ready(false),
                Poll::Pending => return timer.poll(cx).map(|()| false),
            }
            if dropped > DRAIN_LIMIT {
                return Poll::Ready(false);
            }
        }
    })
    .await
}

/// Answers a request that breaks the protocol, and logs it.
async fn refuse(connection: &Connection, conn: &mut H1Conn, timer: &mut LazyTimer, error: &H1Error) {
    connection.stats().downstream_cx_protocol_error.inc();
    if matches!(error, H1Error::Truncated | H1Error::Io(_)) {
        return;
    }
    let reply = client_protocol_reply(error);
    let mut info = RequestInfo::new(connection.info.clone(), Some(Protocol::Http11));
    let mut headers = Headers::new();
    headers.append("content-length", reply.body.len().to_string());
    headers.append_static("content-type", "text/plain");
    headers.append("server", connection.manager.server_name.clone());
    headers.append("date", connection.worker.date(info.start_wall));
    let head = ResponseHead { status: reply.status, headers };
    conn.push_response(
        &head,
        ResponseStyle { to_head: false, http11: true, keep_alive: false, end: false, upgrade: None },
    );
    info.bytes.sent = reply.body.len() as u64;
    conn.push_frame(&Frame::Data(reply.body));
    timer.set(Some(Instant::now() + Duration::from_secs(5)));
    flush(conn, timer).await;
    info.code = reply.status;
    info.flags = reply.flags;
    info.details = Some(reply.details);
    info.timings.end = Some(info.elapsed());
    let context =
        crate::request_info::LogContext { info: &info, request: None, response: Some(&head), trailers: None };
    for log in &connection.manager.access_logs {
        log.log(&context);
    }
}

async fn flush(conn: &mut H1Conn, timer: &mut LazyTimer) {
    poll_fn(|cx| match conn.poll_flush(cx) {
        Poll::Ready(_) => Poll::Ready(()),
        Poll::Pending => timer.poll(cx),
    })
    .await;
}

/// Closes a connection so that the peer still reads what was sent: our side ends, what comes is dropped for a moment.
async fn close(mut conn: H1Conn, mut timer: LazyTimer) {
    timer.set(Some(Instant::now() + Duration::from_secs(1)));
    conn.shutdown_when_flushed();
    flush(&mut conn, &mut timer).await;
    if conn.saw_end() {
        return;
    }
    let mut dropped = 0;
    conn.become_tunnel();
    poll_fn(|cx| {
        loop {
            match conn.poll_frame(cx) {
                Poll::Ready(Ok(Frame::Data(data))) if dropped < DRAIN_LIMIT * 16 => {
                    dropped += data.len() as u64
                }
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return timer.poll(cx),
            }
        }
    })
    .await;
}

/// The client's side of one HTTP/1 request.
struct H1Down<'a> {
    conn: &'a mut H1Conn,
    to_head: bool,
    http11: bool,
    keep_alive: bool,
    connection: &'a Connection,
    aborted: bool,
    tunnel: bool,
}

fn failure(error: H1Error) -> Failure {
    match error {
        H1Error::Truncated | H1Error::Io(_) => Failure::ClientClosed,
        other => Failure::ClientProtocol(other),
    }
}

impl Downstream for H1Down<'_> {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Result<Frame, Failure>> {
        if self.connection.chain.drain.is_closing() {
            return Poll::Ready(Err(Failure::Drained));
        }
        self.conn.poll_frame(cx).map_err(failure)
    }

    fn poll_closed(&mut self, cx: &mut Context<'_>) -> Poll<Failure> {
        if self.connection.chain.drain.is_closing() {
            return Poll::Ready(Failure::Drained);
        }
        self.conn.poll_closed(cx).map(|()| Failure::ClientClosed)
    }

    fn push_head(&mut self, head: &ResponseHead, end: bool, upgrade: Option<&[u8]>) {
        if head.status >= 200 && self.connection.chain.drain.is_set() {
            self.keep_alive = false;
        }
        let style = ResponseStyle {
            to_head: self.to_head,
            http11: self.http11,
            keep_alive: self.keep_alive,
            end,
            upgrade,
        };
        let keep_alive = self.conn.push_response(head, style);
        if head.status >= 200 {
            self.keep_alive = keep_alive;
        }
    }

    fn push_frame(&mut self, frame: Frame) {
        self.conn.push_frame(&frame);
    }

    fn buffered(&self) -> usize {
        self.conn.buffered()
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        self.conn.poll_flush(cx).map_err(|_| Failure::ClientClosed)
    }

    fn become_tunnel(&mut self) {
        self.tunnel = true;
        self.conn.become_tunnel();
    }

    fn shutdown_when_flushed(&mut self) {
        self.conn.shutdown_when_flushed();
    }

    fn abort(&mut self) {
        self.aborted = true;
    }
}
