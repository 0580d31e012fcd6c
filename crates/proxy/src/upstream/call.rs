//! Requests of the proxy itself to a cluster: key sets, external authorization.

use super::balancer::Choice;
use super::connect::Wanted;
use super::local::LocalCluster;
use super::permit::RequestPermit;
use super::stream::UpstreamStream;
use crate::config::{ClusterSlot, UpstreamProtocol};
use crate::error::Failure;
use crate::http::h1::{BodyKind, Frame};
use crate::http::{Headers, RequestHead, ResponseHead, server_name};
use crate::worker::Worker;
use bytes::{Bytes, BytesMut};
use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

/// A response that was read to its end.
#[derive(Debug)]
pub struct Answer {
    /// Its head.
    pub head: ResponseHead,
    /// Its body.
    pub body: Bytes,
    /// Its trailers.
    pub trailers: Option<Headers>,
}

/// A request of the proxy itself.
#[derive(Debug)]
pub struct Call<'a> {
    /// Its head, with `content-length` where HTTP/1 needs it.
    pub head: &'a RequestHead,
    /// Its body.
    pub body: Bytes,
    /// Speak HTTP/2 whatever the cluster says (gRPC).
    pub http2: bool,
    /// Limit of the whole exchange.
    pub limit: Duration,
    /// Most bytes of the response's body.
    pub most: usize,
}

/// Sends a request and reads the response.
///
/// # Errors
/// What sending or receiving fails with; [`Failure::UpstreamProtocol`] for a body that is too long,
/// [`Failure::NoCluster`] where the cluster is not in force.
pub async fn call(worker: &Worker, slot: &Arc<ClusterSlot>, call: Call<'_>) -> Result<Answer, Failure> {
    let cluster = worker.cluster(slot).ok_or(Failure::NoCluster(503))?;
    let limit = call.limit;
    match tokio::time::timeout(limit, exchange(&cluster, call, worker.random())).await {
        Ok(answer) => answer,
        Err(_) => Err(Failure::Timeout),
    }
}

async fn exchange(cluster: &LocalCluster, call: Call<'_>, random: u64) -> Result<Answer, Failure> {
    let Call { head, body, http2, most, .. } = call;
    let endpoint = cluster.choose(Choice { random, hash: None, avoid: (&[], 0), subset: None }, None)?;
    let _permit = RequestPermit::new(&cluster.slot, &endpoint.state, cluster.limits(false), cluster.worker)?;
    let name = server_name(head, cluster.config.transport.auto_sni());
    let name = name.as_deref().and_then(|name| std::str::from_utf8(name).ok());
    let wanted = Wanted { name, ..Wanted::default() };
    let mut up = if http2 || cluster.config.protocol == UpstreamProtocol::Http2 {
        UpstreamStream::H2(Box::new(cluster.http2(&endpoint, false, wanted).await?))
    } else {
        UpstreamStream::h1(cluster.http1(&endpoint, false, wanted).await?)
    };
    let kind = if body.is_empty() { BodyKind::None } else { BodyKind::Length(body.len() as u64) };
    up.push_request(head, kind, None)?;
    if !body.is_empty() {
        up.push_frame(Frame::Data(body));
        up.push_frame(Frame::End);
    }
    let (head, end) = loop {
        let next = poll_fn(|cx| {
            let _ = up.poll_flush(cx);
            up.poll_head(cx)
        });
        let next = next.await?;
        if next.head.status >= 200 {
            break (next.head, next.end);
        }
    };
    let (body, trailers) = if end { (Bytes::new(), None) } else { read(&mut up, most).await? };
    up.finish(cluster);
    Ok(Answer { head, body, trailers })
}

/// Reads a body of at most so many bytes, and its trailers.
async fn read(up: &mut UpstreamStream, most: usize) -> Result<(Bytes, Option<Headers>), Failure> {
    let mut body = BytesMut::new();
    loop {
        let frame = poll_fn(|cx| {
            let _ = up.poll_flush(cx);
            up.poll_frame(cx)
        });
        match frame.await? {
            Frame::Data(data) if body.len() + data.len() > most => {
                return Err(Failure::UpstreamProtocol("the body is too long"));
            }
            Frame::Data(data) => body.extend_from_slice(&data),
            Frame::Trailers(trailers) => return Ok((body.freeze(), Some(trailers))),
            Frame::End => return Ok((body.freeze(), None)),
        }
    }
}
