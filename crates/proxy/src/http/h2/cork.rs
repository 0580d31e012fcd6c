//! Everything that an HTTP/2 connection writes in one turn leaves in one write.
//!
//! The codec flushes after each DATA frame, which would be a system call (and a TLS record) an answer. So the codec
//! writes into a buffer, and whoever drives the connection uncorks it when the codec has no more to say.

use crate::http::io::Io;
use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes that wait at most: more is written at once.
const MOST: usize = 32 << 10;

thread_local! {
    /// An empty buffer of this worker: connections need one only within a turn, so one serves all.
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// The transport as the codec sees it.
#[derive(Debug)]
pub struct Corked(Rc<RefCell<Inner>>);

/// The driver's hand on what the codec wrote.
#[derive(Debug)]
pub struct Cork(Rc<RefCell<Inner>>);

#[derive(Debug)]
struct Inner {
    io: Io,
    waiting: Vec<u8>,
    /// How much of `waiting` is written.
    written: usize,
    /// Whether the transport may hold bytes of its own (TLS).
    dirty: bool,
    sent: Frames,
}

/// Follows the frames that are sent, to learn of streams that the codec refuses by itself: it tells nobody.
#[derive(Debug, Default)]
struct Frames {
    /// The beginning of a frame: its header, and the code of a reset.
    head: [u8; RESET],
    have: usize,
    /// Octets of the frame that are still to come.
    skip: usize,
    refused: u32,
}

/// Length of a frame's header (RFC 9113, 4.1).
const HEADER: usize = 9;
/// Length of a RST_STREAM frame (RFC 9113, 6.4): a header and a code.
const RESET: usize = HEADER + 4;
const RST_STREAM: u8 = 3;
const PROTOCOL_ERROR: [u8; 4] = [0, 0, 0, 1];

impl Frames {
    fn follow(&mut self, mut data: &[u8]) {
        while !data.is_empty() {
            if self.skip > 0 {
                let n = self.skip.min(data.len());
                self.skip -= n;
                data = &data[n..];
                continue;
            }
            let want = if self.have >= HEADER { RESET } else { HEADER };
            let n = (want - self.have).min(data.len());
            self.head[self.have..self.have + n].copy_from_slice(&data[..n]);
            self.have += n;
            data = &data[n..];
            if self.have == HEADER && self.head[3] != RST_STREAM {
                let [a, b, c, ..] = self.head;
                (self.skip, self.have) = (u32::from_be_bytes([0, a, b, c]) as usize, 0);
            } else if self.have == RESET {
                self.refused += u32::from(self.head[HEADER..] == PROTOCOL_ERROR);
                self.have = 0;
            }
        }
    }
}

/// Puts a cork on a transport.
pub fn cork(io: Io) -> (Corked, Cork) {
    let inner = Rc::new(RefCell::new(Inner {
        io,
        waiting: Vec::new(),
        written: 0,
        dirty: false,
        sent: Frames::default(),
    }));
    (Corked(inner.clone()), Cork(inner))
}

impl Cork {
    /// Writes what waits; ready when the socket has it all.
    pub fn poll_uncork(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.borrow_mut().poll_drain(cx)
    }

    /// Streams that were reset for breaking the protocol since this was asked last.
    pub fn take_refused(&self) -> u32 {
        std::mem::take(&mut self.0.borrow_mut().sent.refused)
    }
}

impl Inner {
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.waiting.len() {
            let n = ready!(Pin::new(&mut self.io).poll_write(cx, &self.waiting[self.written..]))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += n;
            self.dirty = true;
        }
        if self.written > 0 {
            self.written = 0;
            let mut spare = std::mem::take(&mut self.waiting);
            spare.clear();
            SPARE.set(spare);
        }
        if self.dirty {
            ready!(Pin::new(&mut self.io).poll_flush(cx))?;
            self.dirty = false;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_take(&mut self, cx: &mut Context<'_>, slices: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let total: usize = slices.iter().map(|slice| slice.len()).sum();
        if self.waiting.len() + total > MOST {
            ready!(self.poll_drain(cx))?;
            if total > MOST {
                self.dirty = true;
                let written = ready!(Pin::new(&mut self.io).poll_write_vectored(cx, slices))?;
                self.follow(slices, written);
                return Poll::Ready(Ok(written));
            }
        }
        if self.waiting.capacity() == 0 {
            self.waiting = SPARE.take();
        }
        slices.iter().for_each(|slice| self.waiting.extend_from_slice(slice));
        self.follow(slices, total);
        Poll::Ready(Ok(total))
    }

    fn follow(&mut self, slices: &[io::IoSlice<'_>], mut taken: usize) {
        for slice in slices {
            let n = taken.min(slice.len());
            self.sent.follow(&slice[..n]);
            taken -= n;
        }
    }
}

impl AsyncRead for Corked {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0.borrow_mut().io).poll_read(cx, out)
    }
}

impl AsyncWrite for Corked {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        self.0.borrow_mut().poll_take(cx, &[io::IoSlice::new(data)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.0.borrow_mut().poll_take(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// The codec's flush is not the end of a turn: see [`Cork::poll_uncork`].
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut inner = self.0.borrow_mut();
        ready!(inner.poll_drain(cx))?;
        Pin::new(&mut inner.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::{Corked, Frames, MOST, cork};
    use crate::http::io::Io;
    use std::future::poll_fn;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    async fn pair() -> (Corked, super::Cork, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let ours = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (theirs, _) = listener.accept().await.unwrap();
        let (corked, cork) = cork(Io::plain(ours));
        (corked, cork, theirs)
    }

    #[test]
    fn resets_for_breaking_the_protocol_are_seen_whatever_pieces_frames_come_in() {
        let data = [&[0, 1, 44, 0, 1, 0, 0, 0, 1][..], &[3; 300]].concat();
        let reset = |code: u8| [0, 0, 4, 3, 0, 0, 0, 0, 1, 0, 0, 0, code];
        let all = [&data[..], &reset(1), &[0, 0, 0, 4, 1, 0, 0, 0, 0], &reset(8), &reset(1), &data].concat();
        for size in [1, 5, 9, 13, all.len()] {
            let mut frames = Frames::default();
            all.chunks(size).for_each(|piece| frames.follow(piece));
            assert_eq!((frames.refused, frames.have, frames.skip), (2, 0, 0), "pieces of {size}");
        }
    }

    #[tokio::test(flavor = "current_thread")]
    async fn what_is_written_and_flushed_leaves_when_it_is_uncorked() {
        let (mut corked, cork, mut peer) = pair().await;
        for piece in ["one", "two", "three"] {
            corked.write_all(piece.as_bytes()).await.unwrap();
            corked.flush().await.unwrap();
        }
        let mut got = [0; 11];
        assert_eq!(peer.try_read(&mut got).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
        poll_fn(|cx| cork.poll_uncork(cx)).await.unwrap();
        peer.read_exact(&mut got).await.unwrap();
        assert_eq!(&got, b"onetwothree");
    }

    #[tokio::test(flavor = "current_thread")]
    async fn more_than_the_bound_is_written_in_order_without_uncorking() {
        let (mut corked, cork, mut peer) = pair().await;
        let data: Vec<u8> = (0..MOST * 5 + 7).map(|n| (n / 251) as u8).collect();
        let expected = data.clone();
        let read = tokio::spawn(async move {
            let mut got = vec![0; expected.len()];
            peer.read_exact(&mut got).await.unwrap();
            assert!(got == expected);
        });
        for piece in [&data[..9], &data[9..MOST], &data[MOST..MOST * 3], &data[MOST * 3..]] {
            corked.write_all(piece).await.unwrap();
        }
        poll_fn(|cx| cork.poll_uncork(cx)).await.unwrap();
        read.await.unwrap();
    }

    #[tokio::test(flavor = "current_thread")]
    async fn shutdown_writes_what_waits() {
        let (mut corked, _cork, mut peer) = pair().await;
        corked.write_all(b"goodbye").await.unwrap();
        corked.shutdown().await.unwrap();
        let mut got = Vec::new();
        peer.read_to_end(&mut got).await.unwrap();
        assert_eq!(got, b"goodbye");
    }
}
