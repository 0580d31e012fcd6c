//! A connection that is secured. It owns no buffers while it waits: bytes pass through those of the worker, and only what
//! could not be passed on yet is kept.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::{fmt, io};

use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::ServerName;
use rustls::server::UnbufferedServerConnection;
use rustls::{ClientConfig, CommonState, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::records::{Kept, Outputs, Session, Wants, invalid};
use crate::http::io::Prefixed;

/// Bytes that one read takes from the socket: a largest record fits (RFC 8446, 5.2).
const READ: usize = 32 << 10;
/// Plain bytes that one write takes.
const WRITE: usize = 48 << 10;
/// What a record adds at most, a key update before it included.
const OVERHEAD: usize = 512;
/// A largest record, and with it the least that is encrypted at a time.
const RECORD: usize = 16 << 10;
/// Bytes of a peer that do not become a message: handshake messages are shorter.
const MOST_WAITING: usize = 128 << 10;

thread_local! {
    static INCOMING: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ].into());
    static GATHERED: RefCell<Box<[u8]>> = RefCell::new(vec![0; WRITE].into());
    static OUTGOING: RefCell<Box<[u8]>> = RefCell::new(vec![0; WRITE + 4 * OVERHEAD].into());
}

/// A TLS connection, as either end.
pub struct TlsStream {
    io: Prefixed,
    session: Session,
    /// Bytes of the peer that are no whole record yet.
    incoming: Vec<u8>,
    /// Bytes for the peer that the socket did not take yet.
    outgoing: Kept,
    /// Bytes of the peer, in plain, that the reader did not take yet.
    plain: Kept,
    /// The peer has said that it sends no more.
    ended: bool,
    /// We have said so.
    closed: bool,
}

impl fmt::Debug for TlsStream {
    /// Leaves out the session, which holds keys, and data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsStream").field("io", &self.io).field("ended", &self.ended).finish_non_exhaustive()
    }
}

impl TlsStream {
    /// Speaks as a client.
    ///
    /// # Errors
    /// The handshake or the connection fails.
    pub async fn connect(
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
        alpn: Option<Vec<Vec<u8>>>,
        io: Prefixed,
    ) -> io::Result<TlsStream> {
        let session = match alpn {
            Some(alpn) => UnbufferedClientConnection::new_with_alpn(config, name, alpn),
            None => UnbufferedClientConnection::new(config, name),
        };
        TlsStream::new(Session::Client(session.map_err(invalid)?), io, Vec::new()).handshake().await
    }

    /// Serves a client, of which `incoming` was read already.
    ///
    /// # Errors
    /// The handshake or the connection fails.
    pub async fn accept(config: Arc<ServerConfig>, io: Prefixed, incoming: Vec<u8>) -> io::Result<TlsStream> {
        let session = UnbufferedServerConnection::new(config).map_err(invalid)?;
        TlsStream::new(Session::Server(session), io, incoming).handshake().await
    }

    fn new(session: Session, io: Prefixed, incoming: Vec<u8>) -> TlsStream {
        let (outgoing, plain) = (Kept::default(), Kept::default());
        TlsStream { io, session, incoming, outgoing, plain, ended: false, closed: false }
    }

    /// What was agreed.
    pub fn session(&self) -> &CommonState {
        self.session.facts()
    }

    /// The transport.
    pub fn io(&self) -> &Prefixed {
        &self.io
    }

    async fn handshake(mut self) -> io::Result<TlsStream> {
        poll_fn(|cx| self.poll_handshake(cx)).await?;
        Ok(self)
    }

    fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let mut incoming = std::mem::take(&mut self.incoming);
            let outcome = self.process(&mut incoming, &mut ReadBuf::new(&mut []));
            let outcome = outcome.map(|(used, wants)| {
                incoming.drain(..used);
                if !incoming.is_empty() {
                    self.incoming = incoming;
                }
                wants
            });
            let sent = self.poll_send(cx);
            // A peer that is refused is told so, if it can be.
            let wants = outcome?;
            ready!(sent)?;
            if wants == Wants::Nothing && !self.session().is_handshaking() {
                return Poll::Ready(Ok(()));
            }
            if self.ended || ready!(self.poll_more(cx))? == 0 {
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::UnexpectedEof, "tls handshake eof")));
            }
        }
    }

    /// Reads once, behind what was kept.
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.incoming.len() > MOST_WAITING {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "message buffer full")));
        }
        INCOMING.with_borrow_mut(|scratch| {
            let mut buffer = ReadBuf::new(scratch);
            ready!(Pin::new(&mut self.io).poll_read(cx, &mut buffer))?;
            self.incoming.extend_from_slice(buffer.filled());
            Poll::Ready(Ok(buffer.filled().len()))
        })
    }

    /// Processes records: their plain bytes go to `out`, what does not fit is kept, and answers go to `outgoing`. Gives
    /// how many bytes were used up, and what is wanted next.
    fn process(&mut self, records: &mut [u8], out: &mut ReadBuf<'_>) -> io::Result<(usize, Wants)> {
        let TlsStream { session, plain, outgoing, ended, .. } = self;
        let mut to = Outputs { out, plain, outgoing, ended };
        session.drive(records, &mut to).map_err(invalid)
    }

    /// Sends what waits; ready when nothing does.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.outgoing.is_empty() {
            let n = ready!(Pin::new(&mut self.io).poll_write(cx, self.outgoing.rest()))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.outgoing.advance(n);
        }
        Poll::Ready(Ok(()))
    }

    /// Reads from the socket and processes; ready with whether there was anything.
    fn poll_records(&mut self, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<bool>> {
        if !self.incoming.is_empty() {
            if ready!(self.poll_more(cx))? == 0 {
                return Poll::Ready(Ok(false));
            }
            let mut incoming = std::mem::take(&mut self.incoming);
            let (used, _) = self.process(&mut incoming, out)?;
            if used < incoming.len() {
                incoming.drain(..used);
                self.incoming = incoming;
            }
            return Poll::Ready(Ok(true));
        }
        INCOMING.with_borrow_mut(|scratch| {
            let mut buffer = ReadBuf::new(scratch);
            ready!(Pin::new(&mut self.io).poll_read(cx, &mut buffer))?;
            let records = buffer.filled_mut();
            if records.is_empty() {
                return Poll::Ready(Ok(false));
            }
            let (used, _) = self.process(records, out)?;
            self.incoming.extend_from_slice(&records[used..]);
            Poll::Ready(Ok(true))
        })
    }

    /// Encrypts into `buffer`; gives the bytes taken and the bytes written.
    fn encrypt(&mut self, data: &[u8], buffer: &mut [u8]) -> io::Result<(usize, usize)> {
        let (mut taken, mut written) = (0, 0);
        while taken < data.len() && buffer.len() - written >= RECORD + OVERHEAD {
            let piece = &data[taken..data.len().min(taken + RECORD)];
            let n = self.write_traffic(&mut buffer[written..], Some(piece))?;
            taken += piece.len();
            written += n;
        }
        Ok((taken, written))
    }

    /// Writes a record of data, or the one that says that nothing follows.
    fn write_traffic(&mut self, buffer: &mut [u8], data: Option<&[u8]>) -> io::Result<usize> {
        let TlsStream { session, incoming, plain, outgoing, ended, .. } = self;
        let mut out = ReadBuf::new(&mut []);
        let mut to = Outputs { out: &mut out, plain, outgoing, ended };
        let (used, written) = session.seal(incoming, &mut to, buffer, data)?;
        incoming.drain(..used);
        Ok(written)
    }
}

impl AsyncRead for TlsStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = out.filled().len();
        loop {
            if !self.plain.is_empty() {
                let n = self.plain.rest().len().min(out.remaining());
                out.put_slice(&self.plain.rest()[..n]);
                self.plain.advance(n);
            }
            if out.filled().len() > before || out.remaining() == 0 || self.ended {
                return Poll::Ready(Ok(()));
            }
            let came = ready!(self.poll_records(cx, out));
            // Answers to what came: a new key, or what was wrong with it. Where they must wait, the next write sends them.
            let sent = self.poll_send(cx);
            let came = came?;
            if let Poll::Ready(result) = sent {
                result?;
            }
            if !came {
                // Data may have been cut off (RFC 8446, 6.1).
                let text = "peer closed connection without sending TLS close_notify";
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::UnexpectedEof, text)));
            }
        }
    }
}

impl TlsStream {
    fn poll_seal(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_send(cx))?;
        OUTGOING.with_borrow_mut(|buffer| {
            let (taken, written) = self.encrypt(data, buffer)?;
            let mut sent = 0;
            // What the session had to say before comes before.
            while self.outgoing.is_empty() && sent < written {
                match Pin::new(&mut self.io).poll_write(cx, &buffer[sent..written]) {
                    Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                    Poll::Ready(result) => sent += result?,
                    Poll::Pending => break,
                }
            }
            self.outgoing.push(&buffer[sent..written]);
            Poll::Ready(Ok(taken))
        })
    }
}

impl AsyncWrite for TlsStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_seal(cx, data)
    }

    /// Puts pieces together: each would be a record of its own otherwise.
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut filled = pieces.iter().filter(|piece| !piece.is_empty());
        let (first, second) = (filled.next(), filled.next());
        if second.is_none() {
            return self.poll_seal(cx, first.map_or(&[], |piece| piece));
        }
        GATHERED.with_borrow_mut(|gathered| {
            let mut length = 0;
            for piece in pieces {
                let n = piece.len().min(gathered.len() - length);
                gathered[length..length + n].copy_from_slice(&piece[..n]);
                length += n;
            }
            self.poll_seal(cx, &gathered[..length])
        })
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_send(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.closed {
            self.closed = true;
            let mut buffer = [0; OVERHEAD];
            // A session that cannot even say this has nothing more to say.
            if let Ok(n) = self.write_traffic(&mut buffer, None) {
                self.outgoing.push(&buffer[..n]);
            }
        }
        ready!(self.poll_send(cx))?;
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
#[path = "stream_tests.rs"]
mod tests;
