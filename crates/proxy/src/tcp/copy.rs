//! Copies bytes both ways between two connections.

use crate::config::FilterChain;
use crate::http::io::Io;
use crate::timer::LazyTimer;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

/// First and largest size of a direction's buffer: it grows only where a peer fills it.
const SMALL: usize = 8 << 10;
const LARGE: usize = 64 << 10;

/// When a session ends by itself.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// After so long without a byte.
    pub idle: Option<Duration>,
    /// At this age.
    pub life: Option<Duration>,
}

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

/// One direction.
struct Direction {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    read_done: bool,
    shut: bool,
    copied: u64,
}

/// Which side of a direction failed.
enum Side {
    Reading,
    Writing,
}

impl Direction {
    fn new() -> Self {
        Direction { buffer: Vec::new(), start: 0, end: 0, read_done: false, shut: false, copied: 0 }
    }

    /// Ready when this direction has ended, half close included.
    fn poll(&mut self, cx: &mut Context<'_>, from: &mut Io, to: &mut Io) -> Poll<Result<(), Side>> {
        loop {
            if self.start < self.end {
                let data = &self.buffer[self.start..self.end];
                let n = ready!(Pin::new(&mut *to).poll_write(cx, data)).map_err(|_| Side::Writing)?;
                if n == 0 {
                    return Poll::Ready(Err(Side::Writing));
                }
                self.start += n;
                self.copied += n as u64;
                continue;
            }
            if self.read_done {
                if !self.shut {
                    ready!(Pin::new(&mut *to).poll_shutdown(cx)).map_err(|_| Side::Writing)?;
                    self.shut = true;
                    self.buffer = Vec::new();
                }
                return Poll::Ready(Ok(()));
            }
            let n = match self.poll_read(cx, from) {
                Poll::Ready(result) => result.map_err(|_| Side::Reading)?,
                Poll::Pending => {
                    // TLS may hold back what was written.
                    if !matches!(to, Io::Plain(_)) {
                        let _ = Pin::new(&mut *to).poll_flush(cx);
                    }
                    return Poll::Pending;
                }
            };
            (self.start, self.end) = (0, n);
            self.read_done = n == 0;
        }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, from: &mut Io) -> Poll<io::Result<usize>> {
        if self.buffer.is_empty() {
            self.buffer.resize(SMALL, 0);
        } else if self.end == self.buffer.len() && self.buffer.len() < LARGE {
            self.buffer.resize(self.buffer.len() * 2, 0);
        }
        let mut buf = ReadBuf::new(&mut self.buffer);
        ready!(Pin::new(from).poll_read(cx, &mut buf))?;
        Poll::Ready(Ok(buf.filled().len()))
    }
}

/// Copies until both directions have ended, or something else ends the session.
pub async fn copy(chain: &FilterChain, mut down: Io, mut up: Io, limits: Limits) -> (Counts, Ended) {
    let (mut out, mut back) = (Direction::new(), Direction::new());
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
    (Counts { to_upstream: out.copied, to_downstream: back.copied }, ended)
}

/// In the way back the upstream is read and the client written.
fn turn(side: Side) -> Side {
    match side {
        Side::Reading => Side::Writing,
        Side::Writing => Side::Reading,
    }
}
