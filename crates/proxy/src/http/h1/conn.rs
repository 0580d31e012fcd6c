//! One HTTP/1 connection, as server or client: buffers, and the message that is being read and written.

use super::H1Error;
use super::body::{BodyKind, Decoder, Encoder, Frame};
use super::encode::{ResponseStyle, write_request_head, write_response_head};
use super::parse::{self, Limits, ParsedRequest, ParsedResponse};
use crate::http::io::Io;
use crate::http::{RequestHead, ResponseHead};
use bytes::{Buf, BytesMut};
use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes that one read asks for; doubled up to the largest while the peer fills it.
const SMALLEST_READ: usize = 4 << 10;
const LARGEST_READ: usize = 64 << 10;

thread_local! {
    static SCRATCH: RefCell<[u8; SMALLEST_READ]> = const { RefCell::new([0; SMALLEST_READ]) };
}

/// An HTTP/1 connection.
#[derive(Debug)]
pub struct H1Conn {
    io: Io,
    read: BytesMut,
    write: BytesMut,
    decoder: Decoder,
    encoder: Encoder,
    /// Bytes of an incomplete head that hold no line end, so that a dripping peer costs no new parse a byte.
    scanned: usize,
    next_read: usize,
    eof: bool,
    shutdown: bool,
    /// Bytes read from and written to the transport so far.
    pub bytes_in: u64,
    /// See `bytes_in`.
    pub bytes_out: u64,
}

impl H1Conn {
    /// A connection over `io`; `read` was read already.
    pub fn new(io: Io, read: BytesMut) -> Self {
        H1Conn {
            io,
            bytes_in: read.len() as u64,
            read,
            write: BytesMut::new(),
            decoder: Decoder::Done,
            encoder: Encoder::None,
            scanned: 0,
            next_read: SMALLEST_READ,
            eof: false,
            shutdown: false,
            bytes_out: 0,
        }
    }

    /// The transport.
    pub fn io(&self) -> &Io {
        &self.io
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.eof {
            return Poll::Ready(Ok(0));
        }
        if self.read.is_empty() && self.next_read == SMALLEST_READ {
            return self.poll_first(cx);
        }
        self.read.reserve(self.next_read);
        let room = self.read.capacity() - self.read.len();
        let n = ready!(tokio_util::io::poll_read_buf(Pin::new(&mut self.io), cx, &mut self.read))?;
        if n == room {
            self.next_read = (self.next_read * 2).min(LARGEST_READ);
        }
        self.eof = n == 0;
        self.bytes_in += n as u64;
        Poll::Ready(Ok(n))
    }

    /// Reads what begins a message by way of the worker's own buffer: a connection that waits holds no memory.
    fn poll_first(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let io = &mut self.io;
        let read = &mut self.read;
        let n = SCRATCH.with_borrow_mut(|scratch| {
            let mut buffer = ReadBuf::new(scratch);
            let polled = Pin::new(io).poll_read(cx, &mut buffer);
            read.extend_from_slice(buffer.filled());
            polled.map_ok(|()| buffer.filled().len())
        });
        if n.is_pending() {
            self.read = BytesMut::new();
            if self.write.is_empty() {
                self.write = BytesMut::new();
            }
        }
        let n = ready!(n)?;
        if n == SMALLEST_READ {
            self.next_read *= 2;
        }
        self.eof = n == 0;
        self.bytes_in += n as u64;
        Poll::Ready(Ok(n))
    }

    /// Whether the buffer may hold a whole head: bytes that were looked at hold none.
    fn has_new_line(&mut self) -> bool {
        let found = memchr::memchr(b'\n', &self.read[self.scanned.min(self.read.len())..]).is_some();
        self.scanned = self.read.len();
        found
    }

    /// The next request's head; none: the client closed the connection between requests.
    pub fn poll_request(
        &mut self,
        cx: &mut Context<'_>,
        limits: Limits,
    ) -> Poll<Result<Option<ParsedRequest>, H1Error>> {
        loop {
            if (self.has_new_line() || self.read.len() >= limits.bytes)
                && let Some(parsed) = parse::request(&mut self.read, limits)?
            {
                self.scanned = 0;
                self.decoder = parsed.body.into();
                return Poll::Ready(Ok(Some(parsed)));
            }
            if ready!(self.poll_fill(cx))? == 0 {
                let clean = self.read.iter().all(|byte| matches!(byte, b'\r' | b'\n'));
                return Poll::Ready(if clean { Ok(None) } else { Err(H1Error::Truncated) });
            }
        }
    }

    /// Whether nothing of a next request has come yet.
    pub fn is_between_requests(&self) -> bool {
        self.read.is_empty() && self.decoder.is_done()
    }

    /// The next response's head (also 1xx). `to_head`: the request was a HEAD.
    pub fn poll_response(
        &mut self,
        cx: &mut Context<'_>,
        limits: Limits,
        to_head: bool,
    ) -> Poll<Result<ParsedResponse, H1Error>> {
        loop {
            if (self.has_new_line() || self.read.len() >= limits.bytes)
                && let Some(mut parsed) = parse::response(&mut self.read, limits)?
            {
                self.scanned = 0;
                if parsed.head.status == 101 {
                    parsed.body = BodyKind::UntilClose;
                } else if to_head || parse::no_body(parsed.head.status) {
                    parsed.body = BodyKind::None;
                }
                parsed.keep_alive &= parsed.body != BodyKind::UntilClose;
                self.decoder = parsed.body.into();
                return Poll::Ready(Ok(parsed));
            }
            if ready!(self.poll_fill(cx))? == 0 {
                return Poll::Ready(Err(H1Error::Truncated));
            }
        }
    }

    /// The next piece of the message that is being read.
    pub fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Result<Frame, H1Error>> {
        loop {
            if let Some(frame) = self.decoder.decode(&mut self.read)? {
                return Poll::Ready(Ok(frame));
            }
            if ready!(self.poll_fill(cx))? == 0 {
                return Poll::Ready(self.decoder.at_eof());
            }
        }
    }

    /// Whether the message that is being read is complete.
    pub fn read_done(&self) -> bool {
        self.decoder.is_done()
    }

    /// From here on bytes flow both ways until the connection ends (after an upgrade).
    pub fn become_tunnel(&mut self) {
        self.decoder = Decoder::UntilClose;
        self.encoder = Encoder::Raw;
    }

    /// Ready when the peer has closed its side or failed, while no message is being read. What else it sends (the
    /// next request) is kept, within bounds.
    pub fn poll_closed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if self.read.len() >= LARGEST_READ {
                return Poll::Pending;
            }
            match ready!(self.poll_fill(cx)) {
                Ok(0) | Err(_) => return Poll::Ready(()),
                Ok(_) => {}
            }
        }
    }

    /// Writes a request's head to the buffer.
    pub fn push_request(&mut self, head: &RequestHead, body: BodyKind, upgrade: Option<&[u8]>) {
        self.encoder = write_request_head(head, body, upgrade, &mut self.write);
    }

    /// Writes a response's head to the buffer; tells whether the connection can stay open.
    pub fn push_response(&mut self, head: &ResponseHead, style: ResponseStyle<'_>) -> bool {
        let (encoder, keep_alive) = write_response_head(head, style, &mut self.write);
        if head.status >= 200 || head.status == 101 {
            self.encoder = encoder;
        }
        keep_alive
    }

    /// Writes a piece of the message to the buffer.
    pub fn push_frame(&mut self, frame: &Frame) {
        self.encoder.encode(frame, &mut self.write);
    }

    /// Bytes that wait to be sent.
    pub fn buffered(&self) -> usize {
        self.write.len()
    }

    /// Ends our side once everything is sent.
    pub fn shutdown_when_flushed(&mut self) {
        self.shutdown = true;
    }

    /// Ready when everything is sent.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.write.is_empty() {
            let n = ready!(Pin::new(&mut self.io).poll_write(cx, &self.write))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.bytes_out += n as u64;
            self.write.advance(n);
        }
        if !matches!(self.io, Io::Plain(_)) {
            ready!(Pin::new(&mut self.io).poll_flush(cx))?;
        }
        if self.shutdown {
            ready!(Pin::new(&mut self.io).poll_shutdown(cx))?;
            self.shutdown = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Whether an idle client connection is still good: nothing came from the peer, no end, no fault.
    pub fn is_reusable(&self) -> bool {
        self.read.is_empty() && self.write.is_empty() && !self.eof && !self.io.looks_readable()
    }

    /// Whether the peer's side has ended.
    pub fn saw_end(&self) -> bool {
        self.eof
    }

    /// Gives back the memory of buffers that grew; for connections that wait.
    pub fn trim(&mut self) {
        if self.read.is_empty() && self.next_read > SMALLEST_READ {
            self.read = BytesMut::new();
            self.next_read = SMALLEST_READ;
        }
        if self.write.is_empty() && self.write.capacity() > 2 * LARGEST_READ {
            self.write = BytesMut::new();
        }
    }
}
