//! HTTP/2 from clients: every stream is a task of its own on the connection's worker.

use super::convert;
use super::cork::{Cork, Corked, cork};
use super::halves::{RecvHalf, SendHalf};
use crate::error::Failure;
use crate::http::ResponseHead;
use crate::http::downstream::{Connection, Downstream, Incoming};
use crate::http::exchange;
use crate::http::h1::{BodyKind, Frame};
use crate::http::io::{Io, Prefixed};
use crate::request_info::{LogContext, Protocol, RequestInfo, ResponseFlags};
use crate::timer::LazyTimer;
use bytes::{Bytes, BytesMut};
use h2::server::SendResponse;
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};
use tokio::time::Instant;

/// Streams that a client may reset before we have answered them, at a time: more is an attack (CVE-2023-44487).
const MAX_RESET_STREAMS: usize = 50;

/// Timers that are kept for further streams.
const MAX_SPARE_TIMERS: usize = 16;

/// Serves a connection until it ends.
pub async fn serve(connection: Rc<Connection>, io: Io, prefix: BytesMut) {
    let manager = &connection.manager;
    connection.stats().downstream_cx_http2_total.inc();
    let io = match io {
        Io::Plain(inner) => Io::Plain(Prefixed { prefix, tcp: inner.tcp }),
        tls => tls,
    };
    let mut builder = h2::server::Builder::new();
    builder
        .initial_window_size(manager.http2.stream_window)
        .initial_connection_window_size(manager.http2.connection_window)
        .max_concurrent_streams(manager.http2.max_concurrent_streams)
        .max_header_list_size(manager.max_request_headers_kb << 10)
        .max_pending_accept_reset_streams(MAX_RESET_STREAMS)
        .max_concurrent_reset_streams(MAX_RESET_STREAMS);
    let (io, cork) = cork(io);
    let handshake =
        tokio::time::timeout(std::time::Duration::from_secs(10), builder.handshake::<_, Bytes>(io));
    match handshake.await {
        Ok(Ok(http2)) => accept(&connection, http2, &cork).await,
        _ => connection.stats().downstream_cx_protocol_error.inc(),
    }
}

/// Accepts streams until the connection is drained, idle for too long, or gone.
async fn accept(connection: &Rc<Connection>, mut http2: h2::server::Connection<Corked, Bytes>, cork: &Cork) {
    let manager = &connection.manager;
    let (streams, mut timer) = (Rc::new(Streams::default()), LazyTimer::default());
    let idle = manager.idle_timeout.filter(|idle| !idle.is_zero());
    let drain = &connection.chain.drain;
    // A connection that has not served yet may serve once: a new one would meet the same chain.
    let (mut closing, mut served) = (false, false);
    loop {
        timer.set(idle.map(|idle| Instant::now() + idle));
        let event = poll_fn(|cx| {
            if let Poll::Ready(stream) = http2.poll_accept(cx) {
                return Poll::Ready(Event::Stream(stream.map(|stream| stream.map(Box::new))));
            }
            refused(connection, cork.take_refused(), "http2.violation.of.messaging.rule");
            if let Poll::Ready(Err(_)) = cork.poll_uncork(cx) {
                return Poll::Ready(Event::Close);
            }
            if drain.is_closing() {
                return Poll::Ready(Event::Close);
            }
            if !closing && served && drain.is_set() {
                return Poll::Ready(Event::Drain);
            }
            timer.poll(cx).map(|()| Event::Idle)
        })
        .await;
        match event {
            Event::Stream(Some(Ok(stream))) => {
                let (request, respond) = *stream;
                connection.stats().downstream_rq_http2_total.inc();
                served = true;
                spawn(connection, &streams, request, respond);
            }
            Event::Stream(Some(Err(error))) => {
                if !error.is_io() {
                    refused(connection, 1, "http2.protocol_error");
                }
                return;
            }
            Event::Stream(None) => return,
            Event::Close => return,
            Event::Drain => {
                connection.stats().downstream_cx_drain_close.inc();
                closing = true;
                http2.graceful_shutdown();
            }
            Event::Idle if streams.active.get() == 0 && !closing => {
                connection.stats().downstream_cx_idle_timeout.inc();
                closing = true;
                http2.graceful_shutdown();
            }
            Event::Idle => {}
        }
    }
}

/// Counts and logs streams that were refused for breaking the protocol: nothing else is known of them.
fn refused(connection: &Connection, streams: u32, details: &'static str) {
    for _ in 0..streams {
        connection.stats().downstream_cx_protocol_error.inc();
        let mut info = RequestInfo::new(connection.info.clone(), Some(Protocol::Http2));
        info.flags = ResponseFlags::DPE;
        info.details = Some(details.into());
        info.timings.end = Some(info.elapsed());
        let context = LogContext { info: &info, request: None, response: None, trailers: None };
        for log in &connection.manager.access_logs {
            log.log(&context);
        }
    }
}

/// The streams of a connection.
#[derive(Debug, Default)]
struct Streams {
    active: Cell<usize>,
    /// Timers of streams that have ended, for those that follow: arming one anew is what costs.
    timers: RefCell<Vec<LazyTimer>>,
}

impl Streams {
    fn end(&self, timer: LazyTimer) {
        self.active.set(self.active.get() - 1);
        let mut timers = self.timers.borrow_mut();
        if timers.len() < MAX_SPARE_TIMERS {
            timers.push(timer);
        }
    }
}

type Stream = (http::Request<h2::RecvStream>, SendResponse<Bytes>);

enum Event {
    Stream(Option<Result<Box<Stream>, h2::Error>>),
    Drain,
    Close,
    Idle,
}

fn spawn(
    connection: &Rc<Connection>,
    streams: &Rc<Streams>,
    request: http::Request<h2::RecvStream>,
    respond: SendResponse<Bytes>,
) {
    let (connection, streams) = (connection.clone(), streams.clone());
    streams.active.set(streams.active.get() + 1);
    let serving = async move {
        let mut timer = streams.timers.borrow_mut().pop().unwrap_or_default();
        let (parts, body) = request.into_parts();
        let recv = RecvHalf::new(body);
        let head = convert::request_head(parts);
        let sized = head.headers.get_str("content-length").and_then(|text| text.parse().ok());
        let body = match (recv.done, sized) {
            (true, _) => BodyKind::None,
            (false, Some(length)) => BodyKind::Length(length),
            (false, None) => BodyKind::UntilClose,
        };
        let wire_len = head.headers.wire_len() + head.path.len() + head.authority.len();
        let expect_continue =
            head.headers.get("expect").is_some_and(|v| v.eq_ignore_ascii_case(b"100-continue"));
        let incoming =
            Incoming { head, body, upgrade: None, expect_continue, wire_len, protocol: Protocol::Http2 };
        let mut down = H2Down { connection: connection.clone(), recv, respond, send: None, failed: None };
        serve_stream(&connection, incoming, &mut down, &mut timer).await;
        streams.end(timer);
    };
    // Boxed: the runtime would move the whole future three times.
    tokio::task::spawn_local(Box::pin(serving));
}

async fn serve_stream(connection: &Connection, incoming: Incoming, down: &mut H2Down, timer: &mut LazyTimer) {
    let valid = !incoming.head.path.is_empty() || incoming.head.method == http::Method::CONNECT;
    let authority = incoming.head.authority.iter().all(|byte| crate::http::h1::is_authority_byte(*byte));
    if !valid || !authority || incoming.head.authority.is_empty() {
        down.respond.send_reset(h2::Reason::PROTOCOL_ERROR);
        return;
    }
    exchange::serve(connection, incoming, down, timer).await;
    // An answer that is complete before the request is (RFC 9113, 8.1): the rest is not wanted.
    if !down.recv.at_end() {
        match &mut down.send {
            Some(send) if send.is_done() => send.reset(h2::Reason::NO_ERROR),
            _ => {}
        }
    }
}

/// The client's side of one HTTP/2 request.
struct H2Down {
    connection: Rc<Connection>,
    recv: RecvHalf,
    respond: SendResponse<Bytes>,
    send: Option<SendHalf>,
    failed: Option<h2::Error>,
}

impl H2Down {
    fn failure(&self, error: &h2::Error) -> Failure {
        match error.is_io() || error.is_go_away() {
            true if self.connection.chain.drain.is_closing() => Failure::Drained,
            true => Failure::ClientClosed,
            false => Failure::ClientReset,
        }
    }
}

impl Downstream for H2Down {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Result<Frame, Failure>> {
        self.recv.poll_frame(cx).map_err(|error| self.failure(&error))
    }

    fn poll_closed(&mut self, cx: &mut Context<'_>) -> Poll<Failure> {
        let reset = match &mut self.send {
            Some(send) => send.poll_reset(cx),
            None => self.respond.poll_reset(cx),
        };
        match reset {
            // A peer that has read all it wants says so with NO_ERROR.
            Poll::Ready(Ok(_)) => Poll::Ready(Failure::ClientReset),
            Poll::Ready(Err(error)) => Poll::Ready(self.failure(&error)),
            Poll::Pending => Poll::Pending,
        }
    }

    fn push_head(&mut self, head: &ResponseHead, end: bool, _upgrade: Option<&[u8]>) {
        if head.status < 200 {
            // A client that is gone is noticed by what follows.
            let _ = self.respond.send_informational(convert::response_from(head));
            return;
        }
        match self.respond.send_response(convert::response_from(head), end) {
            Ok(stream) => self.send = Some(SendHalf::new(stream, end)),
            Err(error) => self.failed = Some(error),
        }
    }

    fn push_frame(&mut self, frame: Frame) {
        if let Some(send) = self.send.as_mut().filter(|send| !send.is_done()) {
            send.push(frame);
        }
    }

    fn buffered(&self) -> usize {
        self.send.as_ref().map_or(0, SendHalf::buffered)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        if let Some(error) = &self.failed {
            return Poll::Ready(Err(self.failure(error)));
        }
        match &mut self.send {
            Some(send) => send.poll_flush(cx).map_err(|error| self.failure(&error)),
            None => Poll::Ready(Ok(())),
        }
    }

    fn become_tunnel(&mut self) {}

    fn shutdown_when_flushed(&mut self) {}

    fn abort(&mut self) {
        match &mut self.send {
            Some(send) => send.reset(h2::Reason::INTERNAL_ERROR),
            None => self.respond.send_reset(h2::Reason::INTERNAL_ERROR),
        }
    }
}
