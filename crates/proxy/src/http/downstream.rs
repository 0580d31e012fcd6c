//! The seam between protocols and the path: one request as the client's side sees it.

use super::h1::{BodyKind, Frame};
use super::{RequestHead, ResponseHead};
use crate::config::{FilterChain, HttpConnectionManager};
use crate::error::Failure;
use crate::request_info::{ConnectionInfo, Protocol};
use crate::worker::Worker;
use bytes::Bytes;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

/// A downstream HTTP connection's surroundings; shared by its requests.
#[derive(Debug)]
pub struct Connection {
    /// The worker.
    pub worker: Rc<Worker>,
    /// The connection's facts.
    pub info: Arc<ConnectionInfo>,
    /// The manager's settings.
    pub manager: Arc<HttpConnectionManager>,
    /// The filter chain that took it.
    pub chain: Arc<FilterChain>,
}

impl Connection {
    /// This worker's counters of the manager.
    pub fn stats(&self) -> &crate::upstream::stats::HttpShard {
        self.manager.stats.of(self.worker.index)
    }
}

/// A request that was received.
#[derive(Debug)]
pub struct Incoming {
    /// Its head.
    pub head: RequestHead,
    /// How its body is framed (`UntilClose`: until the stream ends).
    pub body: BodyKind,
    /// The protocol that the client wants to upgrade to.
    pub upgrade: Option<Bytes>,
    /// The client waits for 100 Continue.
    pub expect_continue: bool,
    /// Bytes of the head.
    pub wire_len: usize,
    /// The protocol.
    pub protocol: Protocol,
}

/// The client's side of one request.
pub trait Downstream {
    /// The next piece of the request.
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Result<Frame, Failure>>;

    /// Ready when the client has gone away; asked once the request is complete.
    fn poll_closed(&mut self, cx: &mut Context<'_>) -> Poll<Failure>;

    /// Sends the response's head (or an informational one).
    fn push_head(&mut self, head: &ResponseHead, end: bool, upgrade: Option<&[u8]>);

    /// Sends a piece of the response.
    fn push_frame(&mut self, frame: Frame);

    /// Bytes that wait to be sent.
    fn buffered(&self) -> usize;

    /// Ready when everything is sent.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>>;

    /// Turns the connection into a tunnel after an upgrade.
    fn become_tunnel(&mut self);

    /// Ends our side of a tunnel.
    fn shutdown_when_flushed(&mut self);

    /// The response cannot be completed: the client must see that it is not.
    fn abort(&mut self);
}
