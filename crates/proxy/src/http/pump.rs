//! Moves a message's pieces between the two sides, within bounds, both ways at once.

use super::downstream::Downstream;
use super::exchange::Exchange;
use super::h1::Frame;
use super::mirror::Mirrors;
use crate::error::Failure;
use crate::timer::LazyTimer;
use crate::upstream::{UpstreamHead, UpstreamStream};
use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Instant;

/// Bytes that may wait on one side before the other is read no more.
const HIGH_WATER: usize = 128 << 10;

/// What was read of a request's body, for further tries; copies of it go to mirrors.
#[derive(Debug)]
pub struct Replay {
    /// The pieces so far.
    pub frames: Vec<Frame>,
    bytes: usize,
    limit: usize,
    /// Whether everything was kept so far.
    pub whole: bool,
    /// Mirrors that take pieces as they come.
    pub mirrors: Mirrors,
}

impl Replay {
    /// Keeps at most `limit` bytes; keeps nothing when not `wanted`.
    pub fn new(wanted: bool, limit: usize) -> Self {
        Replay {
            frames: Vec::new(),
            bytes: 0,
            limit: if wanted { limit } else { 0 },
            whole: true,
            mirrors: Mirrors::default(),
        }
    }

    fn keep(&mut self, frame: &Frame) {
        if let Frame::Data(data) = frame {
            self.bytes += data.len();
        }
        if self.whole && self.bytes > self.limit {
            self.whole = false;
            self.frames = Vec::new();
        }
        if self.whole && self.limit > 0 {
            self.frames.push(frame.clone());
        }
        self.mirrors.push(frame);
    }
}

/// Deadlines of a request.
#[derive(Debug)]
pub struct Deadlines {
    /// The route's timeout, counted from the request's end.
    pub timeout: Option<Duration>,
    /// When the route's timeout is over.
    pub global: Option<Instant>,
    /// When this try is over.
    pub per_try: Option<Instant>,
    /// When the stream has lived too long.
    pub life: Option<Instant>,
    /// Longest silence.
    pub idle: Option<Duration>,
    idle_at: Option<Instant>,
    active: bool,
}

impl Deadlines {
    /// The deadlines of a request that begins now.
    pub fn new(timeout: Option<Duration>, idle: Option<Duration>, life: Option<Duration>) -> Self {
        let now = Instant::now();
        Deadlines {
            timeout,
            global: None,
            per_try: None,
            life: life.map(|life| now + life),
            idle,
            idle_at: idle.map(|idle| now + idle),
            active: false,
        }
    }

    fn next(&self) -> Option<Instant> {
        [self.global, self.per_try, self.life, self.idle_at].into_iter().flatten().min()
    }

    /// The request was received in full: its timeout begins.
    pub fn request_complete(&mut self) {
        if self.global.is_none() {
            self.global = self.timeout.map(|timeout| Instant::now() + timeout);
        }
    }

    /// Something moved: the stream is not idle.
    pub fn touch(&mut self) {
        self.active = true;
    }

    /// Ready when a deadline has passed.
    pub fn poll(&mut self, timer: &mut LazyTimer, cx: &mut Context<'_>) -> Poll<Failure> {
        loop {
            timer.set(self.next());
            if timer.poll(cx).is_pending() {
                return Poll::Pending;
            }
            if let Some(failure) = self.passed() {
                return Poll::Ready(failure);
            }
        }
    }

    /// Which deadline has passed; none: silence was broken meanwhile.
    fn passed(&mut self) -> Option<Failure> {
        let now = Instant::now();
        let due = |at: Option<Instant>| at.is_some_and(|at| now >= at);
        if due(self.global) {
            return Some(Failure::Timeout);
        }
        if due(self.per_try) {
            return Some(Failure::PerTryTimeout);
        }
        if due(self.life) {
            return Some(Failure::MaxDuration);
        }
        if due(self.idle_at) {
            if !std::mem::take(&mut self.active) {
                return Some(Failure::StreamIdle);
            }
            self.idle_at = self.idle.map(|idle| now + idle);
        }
        None
    }
}

/// The two sides of one try.
pub struct Pump<'p, 'x, D> {
    /// The request.
    pub exchange: &'p mut Exchange<'x>,
    /// The client's side.
    pub down: &'p mut D,
    /// The upstream's side.
    pub up: &'p mut UpstreamStream,
    /// Deadlines.
    pub deadlines: &'p mut Deadlines,
    /// What is kept of the request.
    pub replay: &'p mut Replay,
    /// Whether the request was read in full.
    pub request_done: &'p mut bool,
}

impl<D: Downstream> Pump<'_, '_, D> {
    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<Failure> {
        self.deadlines.poll(self.exchange.timer, cx)
    }

    /// Moves the request on; ready only by a failure of the client.
    fn poll_request(&mut self, cx: &mut Context<'_>) -> Poll<Failure> {
        loop {
            let mut full = false;
            while !*self.request_done {
                full = self.up.buffered() >= HIGH_WATER;
                if full {
                    break;
                }
                let next = match self.exchange.buffered.pop_front() {
                    Some(frame) => Poll::Ready(Ok(frame)),
                    None => self.down.poll_frame(cx),
                };
                match next {
                    Poll::Ready(Ok(frame)) => self.take_request_frame(frame),
                    Poll::Ready(Err(failure)) => return Poll::Ready(failure),
                    Poll::Pending => break,
                }
            }
            if self.up.poll_flush(cx).is_pending() || !full {
                break;
            }
        }
        if *self.request_done { self.down.poll_closed(cx) } else { Poll::Pending }
    }

    fn take_request_frame(&mut self, frame: Frame) {
        self.deadlines.touch();
        self.replay.keep(&frame);
        if let Frame::Data(data) = &frame {
            self.exchange.info.bytes.received += data.len() as u64;
        } else {
            *self.request_done = true;
            self.exchange.info.timings.request_end = Some(self.exchange.info.elapsed());
            self.deadlines.request_complete();
        }
        self.up.push_frame(frame);
    }

    /// Sends the request and waits for a response's head.
    ///
    /// # Errors
    /// Any failure of either side or a deadline.
    pub async fn head(&mut self) -> Result<UpstreamHead, Failure> {
        poll_fn(|cx| {
            if let Poll::Ready(failure) = self.poll_request(cx) {
                return Poll::Ready(Err(failure));
            }
            if let Poll::Ready(result) = self.up.poll_head(cx) {
                return Poll::Ready(result);
            }
            self.poll_deadline(cx).map(Err)
        })
        .await
    }

    /// Moves the response's body on, and what is left of the request, until the response is complete and sent.
    ///
    /// # Errors
    /// Any failure of either side or a deadline.
    pub async fn body(&mut self) -> Result<(), Failure> {
        let mut response_done = false;
        self.deadlines.per_try = None;
        poll_fn(|cx| {
            let sending = !*self.request_done || self.up.buffered() > 0;
            if sending && let Poll::Ready(failure) = self.poll_request(cx) {
                return Poll::Ready(Err(failure));
            }
            if let Poll::Ready(result) = self.poll_response(cx, &mut response_done) {
                return Poll::Ready(result);
            }
            if *self.request_done
                && !response_done
                && let Poll::Ready(failure) = self.down.poll_closed(cx)
            {
                return Poll::Ready(Err(failure));
            }
            self.poll_deadline(cx).map(Err)
        })
        .await
    }

    fn poll_response(&mut self, cx: &mut Context<'_>, done: &mut bool) -> Poll<Result<(), Failure>> {
        loop {
            let mut full = false;
            while !*done {
                full = self.down.buffered() >= HIGH_WATER;
                if full {
                    break;
                }
                match self.up.poll_frame(cx)? {
                    Poll::Ready(frame) => *done = self.take_response_frame(frame),
                    Poll::Pending => break,
                }
            }
            match self.down.poll_flush(cx)? {
                Poll::Ready(()) if *done => return Poll::Ready(Ok(())),
                Poll::Ready(()) if full => {}
                _ => return Poll::Pending,
            }
        }
    }

    fn take_response_frame(&mut self, frame: Frame) -> bool {
        self.deadlines.touch();
        let done = match &frame {
            Frame::Data(data) => {
                self.exchange.info.bytes.sent += data.len() as u64;
                false
            }
            Frame::Trailers(trailers) => {
                self.exchange.trailers = Some(trailers.clone());
                true
            }
            Frame::End => true,
        };
        self.down.push_frame(frame);
        done
    }

    /// Moves bytes both ways until both sides have ended (after an upgrade).
    ///
    /// # Errors
    /// Either side failed.
    pub async fn tunnel(&mut self) -> Result<(), Failure> {
        self.down.become_tunnel();
        self.up.become_tunnel();
        let (mut to_up, mut to_down) = (false, false);
        self.deadlines.global = None;
        poll_fn(|cx| {
            while !to_up && self.up.buffered() < HIGH_WATER {
                match self.down.poll_frame(cx)? {
                    Poll::Ready(Frame::Data(data)) => {
                        self.exchange.info.bytes.received += data.len() as u64;
                        self.up.push_frame(Frame::Data(data));
                        self.deadlines.touch();
                    }
                    Poll::Ready(_) => {
                        to_up = true;
                        self.up.shutdown_when_flushed();
                    }
                    Poll::Pending => break,
                }
            }
            while !to_down && self.down.buffered() < HIGH_WATER {
                match self.up.poll_frame(cx)? {
                    Poll::Ready(Frame::Data(data)) => {
                        self.exchange.info.bytes.sent += data.len() as u64;
                        self.down.push_frame(Frame::Data(data));
                        self.deadlines.touch();
                    }
                    Poll::Ready(_) => {
                        to_down = true;
                        self.down.shutdown_when_flushed();
                    }
                    Poll::Pending => break,
                }
            }
            let held = self.up.buffered() >= HIGH_WATER || self.down.buffered() >= HIGH_WATER;
            let flushed_up = self.up.poll_flush(cx).is_ready();
            let flushed_down = self.down.poll_flush(cx)?.is_ready();
            if to_up && to_down && flushed_up && flushed_down {
                return Poll::Ready(Ok(()));
            }
            if held && (flushed_up || flushed_down) {
                // What was held back by a full buffer may go on now.
                cx.waker().wake_by_ref();
            }
            self.poll_deadline(cx).map(Err)
        })
        .await
    }
}
