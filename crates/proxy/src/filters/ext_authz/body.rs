//! A request's body, read for the authorization service and kept for the upstream.

use crate::config::AuthzBody;
use crate::error::{Failure, LocalReply};
use crate::http::downstream::Downstream;
use crate::http::exchange::Exchange;
use crate::http::h1::{BodyKind, Frame};
use crate::request_info::ResponseFlags;
use bytes::{Bytes, BytesMut};
use std::future::poll_fn;
use std::task::Poll;
use tokio::time::Instant;

/// What was read of a body.
#[derive(Debug)]
pub(super) struct Body {
    /// Its beginning, as much as the service gets.
    pub(super) bytes: Bytes,
    /// Whether there is more.
    pub(super) cut: bool,
    /// Whether it is sent as bytes.
    pub(super) raw: bool,
}

/// Reads a body up to its limit. The frames wait in [`Exchange::buffered`] for the upstream.
///
/// # Errors
/// The client broke off its request, or was silent for too long.
pub(super) async fn read<D: Downstream>(
    exchange: &mut Exchange<'_>,
    limit: AuthzBody,
    down: &mut D,
) -> Result<Result<Body, Box<LocalReply>>, Failure> {
    let (mut bytes, mut done) = (BytesMut::new(), exchange.body == BodyKind::None);
    // What another filter has read already.
    for frame in &exchange.buffered {
        match frame {
            Frame::Data(data) => bytes.extend_from_slice(data),
            Frame::Trailers(_) | Frame::End => done = true,
        }
    }
    while !done && bytes.len() <= limit.max {
        match next(exchange, down).await? {
            Frame::Data(data) => {
                bytes.extend_from_slice(&data);
                exchange.buffered.push_back(Frame::Data(data));
            }
            last => {
                exchange.buffered.push_back(last);
                done = true;
            }
        }
    }
    let cut = bytes.len() > limit.max || !done;
    if cut && !limit.partial {
        let details = "request_payload_too_large";
        let reply = LocalReply::new(413, "Payload Too Large", ResponseFlags::default(), details);
        return Ok(Err(Box::new(reply)));
    }
    bytes.truncate(limit.max);
    Ok(Ok(Body { bytes: bytes.freeze(), cut, raw: limit.raw }))
}

async fn next<D: Downstream>(exchange: &mut Exchange<'_>, down: &mut D) -> Result<Frame, Failure> {
    let idle = exchange.connection.manager.stream_idle_timeout.filter(|idle| !idle.is_zero());
    exchange.timer.set(idle.map(|idle| Instant::now() + idle));
    poll_fn(|cx| {
        if let Poll::Ready(frame) = down.poll_frame(cx) {
            return Poll::Ready(frame);
        }
        exchange.timer.poll(cx).map(|()| Err(Failure::StreamIdle))
    })
    .await
}
