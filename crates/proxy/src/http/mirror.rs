//! Mirrors: copies of requests whose answers nobody waits for.

use super::RequestHead;
use super::exchange::Exchange;
use super::h1::{BodyKind, Frame};
use super::{egress, server_name};
use crate::config::{AlpnOverride, MirrorPolicy, RouteAction, UpstreamProtocol};
use crate::error::Failure;
use crate::upstream::balancer::Choice;
use crate::upstream::{LocalCluster, RequestPermit, UpstreamStream, Wanted};
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

/// The mirrors of a route, or else of its route configuration.
pub fn targets<'a>(
    exchange: &'a Exchange<'_>,
    action: &'a RouteAction,
) -> impl Iterator<Item = &'a MirrorPolicy> {
    let table = exchange.matched.table.as_ref().filter(|_| action.mirrors.is_empty());
    action.mirrors.iter().chain(table.into_iter().flat_map(|table| &table.config.mirrors))
}

/// Sends copies of a request that is complete.
pub fn send(exchange: &Exchange<'_>, action: &RouteAction, frames: &[Frame]) {
    let worker = &exchange.connection.worker;
    for mirror in targets(exchange, action) {
        if !mirror.fraction.hits(worker.random()) {
            continue;
        }
        let Some(cluster) = worker.cluster(&mirror.cluster) else { continue };
        let mut head = exchange.head.clone();
        if !mirror.keep_host {
            head.authority = egress::shadow_authority(&head.authority);
        }
        let (frames, body, random) = (frames.to_vec(), exchange.body, worker.random());
        let alpn = exchange.connection.manager.alpn_override.clone();
        tokio::task::spawn_local(async move {
            let copying = copy(cluster, head, body, frames, random, alpn);
            match tokio::time::timeout(Duration::from_secs(15), copying).await {
                Ok(Ok(())) => {}
                Ok(Err(failure)) => tracing::debug!(?failure, "mirrored request failed"),
                Err(_) => tracing::debug!("mirrored request timed out"),
            }
        });
    }
}

async fn copy(
    cluster: Rc<LocalCluster>,
    head: RequestHead,
    body: BodyKind,
    frames: Vec<Frame>,
    random: u64,
    alpn: Option<Arc<AlpnOverride>>,
) -> Result<(), Failure> {
    let endpoint = cluster.choose(Choice { random, hash: None, avoid: (&[], 0) }, None)?;
    let _permit = RequestPermit::new(&cluster.slot, &endpoint.state, cluster.limits(false), cluster.worker)?;
    let http2 = cluster.config.protocol == UpstreamProtocol::Http2;
    let name = server_name(&head, cluster.config.transport.auto_sni());
    let name = name.as_deref().and_then(|name| std::str::from_utf8(name).ok());
    let wanted = Wanted { name, alpn: alpn.as_deref().map(|alpn| alpn.of(http2)) };
    let mut up = match cluster.config.protocol {
        UpstreamProtocol::Http2 => {
            UpstreamStream::H2(Box::new(cluster.http2(&endpoint, false, wanted).await?))
        }
        _ => UpstreamStream::h1(cluster.http1(&endpoint, false, wanted).await?),
    };
    up.push_request(&head, body, None)?;
    for frame in frames {
        up.push_frame(frame);
    }
    poll_fn(|cx| up.poll_flush(cx)).await;
    loop {
        let head = poll_fn(|cx| {
            let _ = up.poll_flush(cx);
            up.poll_head(cx)
        })
        .await?;
        if head.head.status >= 200 {
            break;
        }
    }
    while let Frame::Data(_) = poll_fn(|cx| -> Poll<Result<Frame, Failure>> { up.poll_frame(cx) }).await? {}
    up.finish(&cluster);
    Ok(())
}
