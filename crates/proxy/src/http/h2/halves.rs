//! The two halves of an HTTP/2 stream, the same on both sides.

use super::convert;
use crate::http::h1::Frame;
use bytes::Bytes;
use h2::{RecvStream, SendStream};
use std::collections::VecDeque;
use std::task::{Context, Poll, ready};

/// What we send: frames wait here for the peer's window.
#[derive(Debug)]
pub struct SendHalf {
    stream: SendStream<Bytes>,
    queue: VecDeque<Frame>,
    buffered: usize,
    /// Body bytes sent so far.
    pub sent: u64,
    done: bool,
}

impl SendHalf {
    /// The sending half of a stream whose head was sent; `done`: nothing follows.
    pub fn new(stream: SendStream<Bytes>, done: bool) -> Self {
        SendHalf { stream, queue: VecDeque::new(), buffered: 0, sent: 0, done }
    }

    /// Takes a piece of the message.
    pub fn push(&mut self, frame: Frame) {
        if let Frame::Data(data) = &frame {
            if data.is_empty() {
                return;
            }
            self.buffered += data.len();
        }
        // The end rides on the last data frame where that still waits.
        self.queue.push_back(frame);
    }

    /// Bytes that wait for the window.
    pub fn buffered(&self) -> usize {
        self.buffered
    }

    /// Whether the end was sent.
    pub fn is_done(&self) -> bool {
        self.done
    }

    /// Ready when all is handed to the connection.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        while let Some(frame) = self.queue.pop_front() {
            match frame {
                Frame::Data(data) => {
                    self.stream.reserve_capacity(data.len());
                    let capacity = self.stream.capacity();
                    if capacity == 0 {
                        match self.stream.poll_capacity(cx) {
                            Poll::Ready(Some(Ok(_))) => self.queue.push_front(Frame::Data(data)),
                            Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(error)),
                            Poll::Ready(None) => return Poll::Ready(Err(h2::Reason::CANCEL.into())),
                            Poll::Pending => {
                                self.queue.push_front(Frame::Data(data));
                                return Poll::Pending;
                            }
                        }
                        continue;
                    }
                    self.send_data(data, capacity)?;
                }
                Frame::Trailers(trailers) => {
                    self.done = true;
                    self.stream.send_trailers(convert::map_from(&trailers))?;
                }
                Frame::End => {
                    if !std::mem::replace(&mut self.done, true) {
                        self.stream.send_data(Bytes::new(), true)?;
                    }
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    fn send_data(&mut self, mut data: Bytes, capacity: usize) -> Result<(), h2::Error> {
        let piece = data.split_to(capacity.min(data.len()));
        self.buffered -= piece.len();
        self.sent += piece.len() as u64;
        let last = data.is_empty() && matches!(self.queue.front(), Some(Frame::End));
        self.stream.send_data(piece, last)?;
        if last {
            self.done = true;
            self.queue.clear();
        }
        if !data.is_empty() {
            self.queue.push_front(Frame::Data(data));
        }
        Ok(())
    }

    /// Ready when the peer resets the stream.
    pub fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<Result<h2::Reason, h2::Error>> {
        self.stream.poll_reset(cx)
    }

    /// Resets the stream.
    pub fn reset(&mut self, reason: h2::Reason) {
        self.stream.send_reset(reason);
    }
}

/// What we receive.
#[derive(Debug)]
pub struct RecvHalf {
    stream: RecvStream,
    data_done: bool,
    /// Whether the end was received.
    pub done: bool,
    /// Body bytes received so far.
    pub received: u64,
}

impl RecvHalf {
    /// The receiving half of a stream.
    pub fn new(stream: RecvStream) -> Self {
        let done = stream.is_end_stream();
        RecvHalf { stream, data_done: done, done, received: 0 }
    }

    /// The next piece.
    pub fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Result<Frame, h2::Error>> {
        if self.done {
            return Poll::Ready(Ok(Frame::End));
        }
        if !self.data_done {
            match ready!(self.stream.poll_data(cx)) {
                Some(data) => {
                    let data = data?;
                    self.received += data.len() as u64;
                    // What is taken is written on at once or held within the other side's bound.
                    self.stream.flow_control().release_capacity(data.len())?;
                    return Poll::Ready(Ok(Frame::Data(data)));
                }
                None => self.data_done = true,
            }
        }
        let trailers = ready!(self.stream.poll_trailers(cx))?;
        self.done = true;
        Poll::Ready(Ok(match trailers {
            Some(map) => Frame::Trailers(convert::headers_from(&map)),
            None => Frame::End,
        }))
    }

    /// Whether the end has come, though it may not have been read.
    pub fn at_end(&self) -> bool {
        self.done || self.stream.is_end_stream()
    }
}
