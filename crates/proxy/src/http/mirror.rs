//! Mirrors: copies of requests that go out at the same time, and whose answers nobody waits for.

use super::RequestHead;
use super::exchange::Exchange;
use super::h1::{BodyKind, Frame};
use super::{egress, server_name};
use crate::config::{AlpnOverride, MirrorPolicy, RouteAction};
use crate::error::Failure;
use crate::request_info::Protocol;
use crate::upstream::balancer::Choice;
use crate::upstream::{LocalCluster, RequestPermit, UpstreamStream, Wanted};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// Bytes that may wait for a mirror that does not keep up; then it is given up.
const MOST_WAITING: usize = 1 << 20;
/// Bytes that may wait to be sent before more of the body is taken.
const HIGH_WATER: usize = 128 << 10;
/// Limit of a copy where the route has no timeout.
const LIMIT: Duration = Duration::from_secs(15);

/// The mirrors of a route, or else of its route configuration.
fn targets<'a>(
    exchange: &'a Exchange<'_>,
    action: &'a RouteAction,
) -> impl Iterator<Item = &'a MirrorPolicy> {
    let table = exchange.matched.table.as_ref().filter(|_| action.mirrors.is_empty());
    action.mirrors.iter().chain(table.into_iter().flat_map(|table| &table.config.mirrors))
}

/// Copies of one request that are under way. Dropped before the request's end, it ends them.
#[derive(Debug, Default)]
pub struct Mirrors(Vec<Rc<Feed>>);

impl Mirrors {
    /// Gives the copies a piece of the request.
    pub fn push(&self, frame: &Frame) {
        self.0.iter().for_each(|feed| feed.push(frame));
    }
}

impl Drop for Mirrors {
    fn drop(&mut self) {
        self.0.iter().for_each(|feed| feed.close());
    }
}

/// What a copy has yet to send.
#[derive(Debug, Default)]
struct Feed(RefCell<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    frames: VecDeque<Frame>,
    bytes: usize,
    /// The end of the request was seen, or never will be.
    closed: bool,
    reader: Option<Waker>,
}

impl Feed {
    fn push(&self, frame: &Frame) {
        let mut waiting = self.0.borrow_mut();
        if waiting.closed {
            return;
        }
        match frame {
            Frame::Data(data) => waiting.bytes += data.len(),
            Frame::Trailers(_) | Frame::End => waiting.closed = true,
        }
        if waiting.bytes > MOST_WAITING {
            waiting.closed = true;
            waiting.frames.clear();
        } else {
            waiting.frames.push_back(frame.clone());
        }
        waiting.reader.take().into_iter().for_each(Waker::wake);
    }

    fn close(&self) {
        let mut waiting = self.0.borrow_mut();
        waiting.closed = true;
        waiting.reader.take().into_iter().for_each(Waker::wake);
    }

    /// The next piece; none: the request will never be complete.
    fn poll(&self, cx: &mut Context<'_>) -> Poll<Option<Frame>> {
        let mut waiting = self.0.borrow_mut();
        match waiting.frames.pop_front() {
            Some(Frame::Data(data)) => {
                waiting.bytes -= data.len();
                Poll::Ready(Some(Frame::Data(data)))
            }
            Some(end) => Poll::Ready(Some(end)),
            None if waiting.closed => Poll::Ready(None),
            None => {
                waiting.reader = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

/// Begins to send copies of a request whose head is complete.
pub fn start(exchange: &Exchange<'_>, action: &RouteAction, timeout: Option<Duration>) -> Mirrors {
    let worker = &exchange.connection.worker;
    let mut feeds = Vec::new();
    for mirror in targets(exchange, action) {
        if !mirror.fraction.hits(worker.random()) {
            continue;
        }
        let Some(cluster) = worker.cluster(&mirror.cluster) else { continue };
        let mut head = exchange.head.clone();
        if !mirror.keep_host {
            head.authority = egress::shadow_authority(&head.authority);
        }
        let feed = Rc::<Feed>::default();
        let copy = Copy {
            cluster,
            head,
            body: exchange.body,
            protocol: exchange.info.protocol,
            feed: feed.clone(),
            random: worker.random(),
            alpn: exchange.connection.manager.alpn_override.clone(),
        };
        feeds.push(feed);
        tokio::task::spawn_local(async move {
            match tokio::time::timeout(timeout.unwrap_or(LIMIT), copy.send()).await {
                Ok(Ok(())) => {}
                Ok(Err(failure)) => tracing::debug!(?failure, "mirrored request failed"),
                Err(_) => tracing::debug!("mirrored request timed out"),
            }
        });
    }
    Mirrors(feeds)
}

/// One copy.
struct Copy {
    cluster: Rc<LocalCluster>,
    head: RequestHead,
    body: BodyKind,
    protocol: Option<Protocol>,
    feed: Rc<Feed>,
    random: u64,
    alpn: Option<Arc<AlpnOverride>>,
}

impl Copy {
    async fn send(self) -> Result<(), Failure> {
        let cluster = &self.cluster;
        let choice = Choice { random: self.random, hash: None, avoid: (&[], 0), subset: None };
        let endpoint = cluster.choose(choice, None)?;
        let _permit =
            RequestPermit::new(&cluster.slot, &endpoint.state, cluster.limits(false), cluster.worker)?;
        let speaks = cluster.speaks(self.protocol, false);
        let name = server_name(&self.head, cluster.config.transport.auto_sni());
        let name = name.as_deref().and_then(|name| std::str::from_utf8(name).ok());
        let alpn = self.alpn.as_deref().and_then(|alpn| speaks.alpn(alpn));
        // As with Envoy, copies come from the proxy itself.
        let wanted = Wanted { name, alpn, source: None };
        let mut up = cluster.request(&endpoint, false, wanted, speaks).await?;
        up.push_request(&self.head, self.body, None)?;
        let (mut sent, mut answered) = (self.body == BodyKind::None, false);
        poll_fn(|cx| {
            self.poll_body(cx, &mut up, &mut sent)?;
            while !answered {
                match up.poll_head(cx)? {
                    Poll::Ready(head) => answered = head.head.status >= 200,
                    Poll::Pending => return Poll::Pending,
                }
            }
            loop {
                match up.poll_frame(cx)? {
                    Poll::Ready(Frame::Data(_)) => {}
                    Poll::Ready(_) => return Poll::Ready(Ok(())),
                    Poll::Pending => return Poll::Pending,
                }
            }
        })
        .await?;
        up.finish(cluster);
        Ok(())
    }

    /// Sends what has come of the body.
    fn poll_body(
        &self,
        cx: &mut Context<'_>,
        up: &mut UpstreamStream,
        sent: &mut bool,
    ) -> Result<(), Failure> {
        loop {
            while !*sent && up.buffered() < HIGH_WATER {
                match self.feed.poll(cx) {
                    Poll::Ready(Some(frame)) => {
                        *sent = !matches!(frame, Frame::Data(_));
                        up.push_frame(frame);
                    }
                    // The client went away, or we cannot keep up.
                    Poll::Ready(None) => return Err(Failure::ClientClosed),
                    Poll::Pending => break,
                }
            }
            let full = up.buffered() >= HIGH_WATER;
            if up.poll_flush(cx).is_pending() || !full {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn read(feed: &Feed) -> Poll<Option<Frame>> {
        feed.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn a_copy_gets_the_whole_body_or_learns_that_it_will_not() {
        let feed = Rc::<Feed>::default();
        let mirrors = Mirrors(vec![feed.clone()]);
        mirrors.push(&Frame::Data(Bytes::from_static(b"a")));
        assert!(matches!(read(&feed), Poll::Ready(Some(Frame::Data(data))) if data == "a"));
        assert!(read(&feed).is_pending());
        mirrors.push(&Frame::End);
        drop(mirrors);
        assert!(matches!(read(&feed), Poll::Ready(Some(Frame::End))));
        assert!(matches!(read(&feed), Poll::Ready(None)));
    }

    #[test]
    fn a_copy_that_does_not_keep_up_is_given_up() {
        let feed = Rc::<Feed>::default();
        let mirrors = Mirrors(vec![feed.clone()]);
        for _ in 0..3 {
            mirrors.push(&Frame::Data(Bytes::from(vec![0; MOST_WAITING / 2])));
        }
        mirrors.push(&Frame::End);
        assert!(matches!(read(&feed), Poll::Ready(None)));
    }
}
