//! Copies bytes both ways between two connections.

use super::exchange::{Peel, Peeled};
use crate::config::FilterChain;
use crate::http::io::Io;
use crate::request_info::PeerMetadata;
use crate::timer::LazyTimer;
use bytes::BytesMut;
use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

/// Bytes that one read takes at most.
const SCRATCH_SIZE: usize = 64 << 10;

/// When a session ends by itself.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// After so long without a byte.
    pub idle: Option<Duration>,
    /// At this age.
    pub life: Option<Duration>,
}

/// Which sides of a session begin with messages that tell who they are.
#[derive(Debug)]
pub struct Exchange<'a> {
    /// The client's side.
    pub down: bool,
    /// The upstream's side.
    pub up: bool,
    /// What we tell.
    pub own: &'a [u8],
    /// What was read of the client already.
    pub read: BytesMut,
}

/// Who the client and the upstream are.
pub type Peers = (Option<Arc<PeerMetadata>>, Option<Arc<PeerMetadata>>);

/// Bytes copied.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// From the client to the upstream.
    pub to_upstream: u64,
    /// From the upstream to the client.
    pub to_downstream: u64,
}

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Both sides have ended.
    Both,
    /// Nothing happened for too long.
    Idle,
    /// It lived for too long.
    Life,
    /// Its filter chain was drained.
    Drained,
    /// The client's connection failed.
    Downstream,
    /// The upstream's connection failed.
    Upstream,
}

/// One direction. It holds no memory while nothing waits to be written.
struct Direction {
    /// What was read and not yet written, from `start` on.
    pending: Vec<u8>,
    start: usize,
    read_done: bool,
    shut: bool,
    copied: u64,
    /// The reader's side begins with a message that tells who it is.
    peel: Option<Peel>,
    peer: Option<Arc<PeerMetadata>>,
    /// Bytes of our own at the beginning, which do not count.
    own: usize,
}

/// Which side of a direction failed.
enum Side {
    Reading,
    Writing,
}

thread_local! {
    /// Where a worker reads into: sessions that wait need no buffers of their own.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; SCRATCH_SIZE].into());
}

impl Direction {
    /// `own` is sent before all else.
    fn new(peel: bool, own: &[u8]) -> Self {
        Direction {
            pending: own.to_vec(),
            start: 0,
            read_done: false,
            shut: false,
            copied: 0,
            peel: peel.then(Peel::default),
            peer: None,
            own: own.len(),
        }
    }

    /// Ready when this direction has ended, half close included.
    fn poll(&mut self, cx: &mut Context<'_>, from: &mut Io, to: &mut Io) -> Poll<Result<(), Side>> {
        loop {
            if self.start < self.pending.len() {
                let n = ready!(write(cx, to, &self.pending[self.start..]))?;
                self.wrote(n);
                self.start += n;
                continue;
            }
            (self.pending, self.start) = (Vec::new(), 0);
            if self.read_done {
                if !self.shut {
                    ready!(Pin::new(&mut *to).poll_shutdown(cx)).map_err(|_| Side::Writing)?;
                    self.shut = true;
                }
                return Poll::Ready(Ok(()));
            }
            let moved = SCRATCH.with_borrow_mut(|scratch| self.pass(cx, from, to, scratch));
            if moved?.is_pending() {
                // TLS may hold back what was written.
                if !matches!(to, Io::Plain(_)) {
                    let _ = Pin::new(&mut *to).poll_flush(cx);
                }
                return Poll::Pending;
            }
        }
    }

    /// Reads once and writes at once what the writer takes.
    fn pass(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Io,
        to: &mut Io,
        scratch: &mut [u8],
    ) -> Result<Poll<()>, Side> {
        let mut buffer = ReadBuf::new(scratch);
        match Pin::new(from).poll_read(cx, &mut buffer) {
            Poll::Pending => return Ok(Poll::Pending),
            Poll::Ready(result) => result.map_err(|_| Side::Reading)?,
        }
        let data = buffer.filled();
        self.read_done = data.is_empty();
        if let Some(peel) = &mut self.peel {
            if let Peeled::Done(peer, rest) = peel.feed(data) {
                (self.peel, self.peer, self.pending) = (None, peer, rest);
            }
        } else if !data.is_empty() {
            let n = match write(cx, to, data) {
                Poll::Ready(result) => result?,
                Poll::Pending => 0,
            };
            self.wrote(n);
            self.pending.extend_from_slice(&data[n..]);
        }
        Ok(Poll::Ready(()))
    }

    fn wrote(&mut self, n: usize) {
        let own = self.own.min(n);
        self.own -= own;
        self.copied += (n - own) as u64;
    }
}

fn write(cx: &mut Context<'_>, to: &mut Io, data: &[u8]) -> Poll<Result<usize, Side>> {
    let n = ready!(Pin::new(to).poll_write(cx, data)).map_err(|_| Side::Writing)?;
    Poll::Ready(if n == 0 { Err(Side::Writing) } else { Ok(n) })
}

/// Copies until both directions have ended, or something else ends the session.
pub async fn copy(
    chain: &FilterChain,
    mut down: Io,
    mut up: Io,
    limits: Limits,
    exchange: Exchange<'_>,
    mut opened: impl FnMut(Peers),
) -> (Counts, Ended) {
    let Exchange { down: client_tells, up: upstream_tells, own, read } = exchange;
    let own = |tell: bool| if tell { own } else { &[] };
    let mut out = Direction::new(client_tells, own(upstream_tells));
    // Who we are comes before all that the client sends.
    out.pending.extend_from_slice(&read);
    drop(read);
    let mut back = Direction::new(upstream_tells, own(client_tells));
    let mut known = false;
    let mut timer = LazyTimer::default();
    let start = Instant::now();
    let life = limits.life.map(|life| start + life);
    let mut idle_at = limits.idle.map(|idle| start + idle);
    let mut seen = 0;
    let ended = poll_fn(|cx| {
        let mut both = true;
        for result in [out.poll(cx, &mut down, &mut up), back.poll(cx, &mut up, &mut down).map_err(turn)] {
            match result {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(Side::Reading)) => return Poll::Ready(Ended::Downstream),
                Poll::Ready(Err(Side::Writing)) => return Poll::Ready(Ended::Upstream),
                Poll::Pending => both = false,
            }
        }
        if !known && out.peel.is_none() && back.peel.is_none() {
            known = true;
            opened((out.peer.take(), back.peer.take()));
        }
        if both {
            return Poll::Ready(Ended::Both);
        }
        // Whoever closes the chain wakes its connections.
        if chain.drain.is_closing() {
            return Poll::Ready(Ended::Drained);
        }
        loop {
            timer.set([life, idle_at].into_iter().flatten().min());
            if timer.poll(cx).is_pending() {
                return Poll::Pending;
            }
            let now = Instant::now();
            if life.is_some_and(|life| now >= life) {
                return Poll::Ready(Ended::Life);
            }
            let copied = out.copied + back.copied;
            if std::mem::replace(&mut seen, copied) == copied {
                return Poll::Ready(Ended::Idle);
            }
            idle_at = limits.idle.map(|idle| now + idle);
        }
    })
    .await;
    if !known {
        opened((out.peer.take(), back.peer.take()));
    }
    (Counts { to_upstream: out.copied, to_downstream: back.copied }, ended)
}

/// In the way back the upstream is read and the client written.
fn turn(side: Side) -> Side {
    match side {
        Side::Reading => Side::Writing,
        Side::Writing => Side::Reading,
    }
}
