//! The transport of a connection: plain TCP or TLS, with bytes that sniffing has read already.

use bytes::{Buf, BytesMut};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::tls::TlsStream;

/// TCP whose first bytes were read by the listener filters.
#[derive(Debug)]
pub struct Prefixed {
    /// Bytes that come before what the socket gives.
    pub prefix: BytesMut,
    /// The socket.
    pub tcp: TcpStream,
}

impl AsyncRead for Prefixed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.prefix.is_empty() {
            let n = self.prefix.len().min(out.remaining());
            out.put_slice(&self.prefix[..n]);
            self.prefix.advance(n);
            if self.prefix.is_empty() {
                // The connection may live for long, and this was for its beginning.
                self.prefix = BytesMut::new();
            }
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.tcp).poll_read(cx, out)
    }
}

impl AsyncWrite for Prefixed {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write(cx, data)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write_vectored(cx, data)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}

/// The transport of a connection.
#[derive(Debug)]
pub enum Io {
    /// Plain TCP.
    Plain(Prefixed),
    /// TLS, as either end.
    Tls(Box<TlsStream>),
}

impl Io {
    /// A plain socket of which nothing was read.
    pub fn plain(tcp: TcpStream) -> Self {
        Io::Plain(Prefixed { prefix: BytesMut::new(), tcp })
    }

    /// The socket.
    pub fn tcp(&self) -> &TcpStream {
        match self {
            Io::Plain(io) => &io.tcp,
            Io::Tls(io) => &io.io().tcp,
        }
    }

    /// The protocol that TLS agreed on.
    pub fn alpn(&self) -> Option<&[u8]> {
        match self {
            Io::Plain(_) => None,
            Io::Tls(io) => io.session().alpn_protocol(),
        }
    }

    /// Whether the socket has something to read (data, or its end), as far as the reactor knows: no system call.
    pub fn looks_readable(&self) -> bool {
        self.tcp().poll_read_ready(&mut Context::from_waker(Waker::noop())).is_ready()
    }
}

macro_rules! dispatch {
    ($self:expr, $io:ident => $call:expr) => {
        match $self.get_mut() {
            Io::Plain(inner) => {
                let $io = Pin::new(inner);
                $call
            }
            Io::Tls(inner) => {
                let $io = Pin::new(&mut **inner);
                $call
            }
        }
    };
}

impl AsyncRead for Io {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        dispatch!(self, io => io.poll_read(cx, out))
    }
}

impl AsyncWrite for Io {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        dispatch!(self, io => io.poll_write(cx, data))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        dispatch!(self, io => io.poll_write_vectored(cx, data))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        dispatch!(self, io => io.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        dispatch!(self, io => io.poll_shutdown(cx))
    }
}
