//! One check of one endpoint, on a connection of its own.

use super::verdict::Told;
use crate::config::{Cluster, Endpoint, HealthCheck, HttpProbe, Probe};
use crate::http::h1::{BodyKind, H1Conn, Limits};
use crate::http::io::Io;
use crate::http::{Headers, RequestHead, Scheme};
use crate::upstream::Wanted;
use bytes::{Bytes, BytesMut};
use std::future::poll_fn;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Bytes of an answer that are read at most.
const LARGEST_ANSWER: usize = 16 << 10;

/// Asks an endpoint how it is, within the check's time.
pub(super) async fn ask(cluster: &Cluster, endpoint: &Arc<Endpoint>, check: &HealthCheck) -> Told {
    let asking = async {
        match &check.probe {
            Probe::Http(probe) => http(cluster, endpoint, check, probe).await,
            Probe::Tcp { send, receive } => tcp(cluster, endpoint, check, send, receive).await,
            Probe::Grpc { service, authority, metadata } => {
                let authority = host(cluster, endpoint, authority.as_deref());
                let io = open(cluster, endpoint, check, &authority).await?;
                let head = grpc_head(&authority, metadata);
                let answer = http2(io, &head, Some(grpc_message(service))).await?;
                Some(grpc_verdict(&answer))
            }
        }
    };
    match tokio::time::timeout(check.timeout, asking).await {
        Ok(Some(told)) => told,
        Ok(None) | Err(_) => Told::Unreachable,
    }
}

/// The host that is asked for: the endpoint's own, the check's, or the cluster's name.
fn host(cluster: &Cluster, endpoint: &Endpoint, of_check: Option<&str>) -> String {
    let own = endpoint.check.as_ref().and_then(|check| check.hostname.as_deref());
    own.or(of_check).unwrap_or(&cluster.name).to_owned()
}

async fn open(
    cluster: &Cluster,
    endpoint: &Arc<Endpoint>,
    check: &HealthCheck,
    authority: &str,
) -> Option<Io> {
    let port = endpoint.check.as_ref().and_then(|check| check.port).or(check.port);
    let mut target = Endpoint::clone(endpoint);
    if let Some(port) = port {
        target.address.set_port(port);
    }
    let name = cluster.transport.auto_sni().map(|_| crate::config::without_port(authority));
    let wanted = Wanted { name, ..Wanted::default() };
    let stats = crate::tls::TlsShard::default();
    crate::upstream::open(cluster, &target, wanted, &stats).await.ok().map(|opened| opened.io)
}

async fn tcp(
    cluster: &Cluster,
    endpoint: &Arc<Endpoint>,
    check: &HealthCheck,
    send: &Bytes,
    receive: &[Bytes],
) -> Option<Told> {
    let mut io = open(cluster, endpoint, check, "").await?;
    if !send.is_empty() {
        io.write_all(send).await.ok()?;
        io.flush().await.ok()?;
    }
    let mut got = BytesMut::new();
    while !holds_in_order(&got, receive) {
        if got.len() >= LARGEST_ANSWER || io.read_buf(&mut got).await.ok()? == 0 {
            return None;
        }
    }
    Some(Told::Healthy)
}

/// Whether `bytes` holds all pieces one after the other, with anything between them.
fn holds_in_order(mut bytes: &[u8], pieces: &[Bytes]) -> bool {
    pieces.iter().all(|piece| match memchr::memmem::find(bytes, piece) {
        Some(at) => {
            bytes = &bytes[at + piece.len()..];
            true
        }
        None => false,
    })
}

async fn http(
    cluster: &Cluster,
    endpoint: &Arc<Endpoint>,
    check: &HealthCheck,
    probe: &HttpProbe,
) -> Option<Told> {
    let host = host(cluster, endpoint, probe.host.as_deref());
    let io = open(cluster, endpoint, check, &host).await?;
    let mut headers = Headers::new();
    headers.append_static("user-agent", "Envoy/HC");
    for (name, value) in &probe.headers {
        headers.append_own(name.clone().into(), value.clone().into());
    }
    let head = RequestHead {
        method: probe.method.clone(),
        authority: host.into(),
        path: probe.path.clone().into(),
        scheme: if cluster.transport.is_plain() { Scheme::Http } else { Scheme::Https },
        headers,
    };
    let status = if probe.http2 { http2(io, &head, None).await?.status } else { http1(io, &head).await? };
    let within =
        |ranges: &[std::ops::RangeInclusive<u16>]| ranges.iter().any(|range| range.contains(&status));
    Some(match () {
        () if within(&probe.expected) => Told::Healthy,
        () if within(&probe.retriable) => Told::Unreachable,
        () => Told::Unhealthy,
    })
}

/// The status of an answer over HTTP/1.
async fn http1(io: Io, head: &RequestHead) -> Option<u16> {
    let mut conn = H1Conn::new(io, BytesMut::new());
    conn.push_request(head, BodyKind::None, None);
    let to_head = head.method == http::Method::HEAD;
    loop {
        let answer = poll_fn(|cx| {
            if let std::task::Poll::Ready(Err(error)) = conn.poll_flush(cx) {
                return std::task::Poll::Ready(Err(error.into()));
            }
            conn.poll_response(cx, Limits::default(), to_head)
        });
        let status = answer.await.ok()?.head.status;
        if status >= 200 {
            return Some(status);
        }
    }
}

/// An answer over HTTP/2.
struct Answer {
    status: u16,
    grpc_status: Option<u32>,
    body: BytesMut,
}

async fn http2(io: Io, head: &RequestHead, body: Option<Bytes>) -> Option<Answer> {
    let (mut send, connection) = h2::client::handshake(io).await.ok()?;
    // It ends with the check: the last handle is dropped then.
    let driver = tokio::task::spawn_local(async move { drop(connection.await) });
    let answer = async {
        poll_fn(|cx| send.poll_ready(cx)).await.ok()?;
        let request = crate::http::h2::request_from(head)?;
        let (response, mut stream) = send.send_request(request, body.is_none()).ok()?;
        if let Some(body) = body {
            stream.send_data(body, true).ok()?;
        }
        let (parts, mut recv) = response.await.ok()?.into_parts();
        let mut body = BytesMut::new();
        while let Some(piece) = recv.data().await {
            let piece = piece.ok()?;
            recv.flow_control().release_capacity(piece.len()).ok()?;
            body.extend_from_slice(&piece);
            if body.len() > LARGEST_ANSWER {
                return None;
            }
        }
        let trailers = recv.trailers().await.ok()?.unwrap_or_default();
        let of = |headers: &http::HeaderMap| headers.get("grpc-status")?.to_str().ok()?.parse().ok();
        let grpc_status = of(&trailers).or_else(|| of(&parts.headers));
        Some(Answer { status: parts.status.as_u16(), grpc_status, body })
    }
    .await;
    driver.abort();
    answer
}

/// `grpc.health.v1.HealthCheckRequest`.
#[derive(Clone, PartialEq, prost::Message)]
struct HealthCheckRequest {
    #[prost(string, tag = "1")]
    service: String,
}

/// `grpc.health.v1.HealthCheckResponse`.
#[derive(Clone, Copy, PartialEq, prost::Message)]
struct HealthCheckResponse {
    #[prost(int32, tag = "1")]
    status: i32,
}

/// `grpc.health.v1.HealthCheckResponse.ServingStatus.SERVING`.
const SERVING: i32 = 1;

fn grpc_head(authority: &str, metadata: &[(String, String)]) -> RequestHead {
    let mut headers = Headers::new();
    headers.append_static("content-type", "application/grpc");
    headers.append_static("te", "trailers");
    headers.append_static("user-agent", "Envoy/HC");
    for (name, value) in metadata {
        headers.append_own(name.clone().into(), value.clone().into());
    }
    RequestHead {
        method: http::Method::POST,
        authority: authority.to_owned().into(),
        path: Bytes::from_static(b"/grpc.health.v1.Health/Check"),
        scheme: Scheme::Http,
        headers,
    }
}

/// A message with gRPC's prefix: not compressed, its length.
fn grpc_message(service: &str) -> Bytes {
    use prost::Message as _;
    let message = HealthCheckRequest { service: service.to_owned() }.encode_to_vec();
    let mut body = Vec::with_capacity(message.len() + 5);
    body.push(0);
    body.extend_from_slice(&u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes());
    body.extend_from_slice(&message);
    body.into()
}

fn grpc_verdict(answer: &Answer) -> Told {
    use prost::Message as _;
    if answer.status != 200 || answer.grpc_status != Some(0) {
        return Told::Unhealthy;
    }
    let message = answer.body.get(5..).and_then(|message| HealthCheckResponse::decode(message).ok());
    match message {
        Some(HealthCheckResponse { status: SERVING }) => Told::Healthy,
        _ => Told::Unhealthy,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_must_come_in_their_order() {
        let pieces = [Bytes::from_static(b"ab"), Bytes::from_static(b"c")];
        assert!(holds_in_order(b"xabyc", &pieces));
        assert!(!holds_in_order(b"cxab", &pieces));
        assert!(holds_in_order(b"", &[]));
    }

    #[test]
    fn a_grpc_server_is_healthy_when_it_says_that_it_serves() {
        let answer = |status, grpc_status, body: &[u8]| Answer { status, grpc_status, body: body.into() };
        assert_eq!(grpc_verdict(&answer(200, Some(0), &[0, 0, 0, 0, 2, 8, 1])), Told::Healthy);
        assert_eq!(grpc_verdict(&answer(200, Some(0), &[0, 0, 0, 0, 2, 8, 2])), Told::Unhealthy);
        assert_eq!(grpc_verdict(&answer(200, Some(12), &[])), Told::Unhealthy);
        assert_eq!(grpc_verdict(&answer(503, None, &[])), Told::Unhealthy);
        assert_eq!(&grpc_message("a")[..], [0, 0, 0, 0, 3, 10, 1, b'a']);
    }
}
