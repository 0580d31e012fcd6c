//! `/portForward`: streams inside of a WebSocket (`spdy`), or, for older clients, two channels a port, data and error.

use std::sync::Arc;

use axum::extract::ws::{WebSocket, WebSocketUpgrade};
use axum::extract::{RawQuery, State};
use axum::http::HeaderMap;
use axum::http::header::SEC_WEBSOCKET_PROTOCOL;
use axum::response::Response;
use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;
use tokio::sync::mpsc;

use super::channel::{self, Incoming};
use super::{Node, Refusal, UrlPath, find, spdy};
use crate::pod::PodContext;

const CHUNK: usize = 16 << 10;
/// Channels are numbered in one byte, and each port takes two.
const MAX_PORTS: usize = 64;

fn ports(query: Option<&str>) -> Result<Vec<u16>, Refusal> {
    let named = query
        .unwrap_or_default()
        .split('&')
        .filter_map(|pair| pair.strip_prefix("ports=").or_else(|| pair.strip_prefix("port=")));
    let numbers = named.flat_map(|list| list.split(',').map(str::to_owned).collect::<Vec<_>>());
    let ports: Vec<u16> = numbers
        .map(|n| n.parse().map_err(|_| Refusal::bad(format!("ports: {n:?} is no port"))))
        .collect::<Result<_, _>>()?;
    if ports.is_empty() || ports.len() > MAX_PORTS {
        return Err(Refusal::bad(format!("name 1 to {MAX_PORTS} ports")));
    }
    Ok(ports)
}

/// Passes connections to ports of the pod's own loopback, as kubelets do.
pub(crate) async fn port_forward(
    State(pods): Node,
    UrlPath((namespace, pod)): UrlPath<(String, String)>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Result<Response, Refusal> {
    let ctx = find(&pods, &namespace, &pod)?;
    let offered =
        headers.get(SEC_WEBSOCKET_PROTOCOL).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if offered.split(',').any(|protocol| protocol.trim() == spdy::PROTOCOL) {
        return Ok(upgrade.protocols([spdy::PROTOCOL]).on_upgrade(move |socket| spdy::serve(socket, ctx)));
    }
    let ports = ports(query.as_deref())?;
    Ok(channel::negotiate(upgrade).on_upgrade(move |socket| serve(socket, ctx, ports)))
}

async fn serve(socket: WebSocket, ctx: Arc<PodContext>, ports: Vec<u16>) {
    let (mut reader, out, writer) = channel::split(socket);
    let mut inputs = Vec::new();
    let mut copies = tokio::task::JoinSet::new();
    for (i, port) in ports.into_iter().enumerate() {
        let (data, error) = ((2 * i) as u8, (2 * i + 1) as u8);
        // Both channels of a port begin with its number.
        let number = Bytes::copy_from_slice(&port.to_le_bytes());
        for channel in [data, error] {
            // A client that is gone is noticed below.
            let _ = out.send((channel, number.clone())).await;
        }
        match connect(&ctx, port).await {
            Ok(stream) => {
                let (read, write) = stream.into_split();
                copies.spawn(copy(read, data, out.clone()));
                inputs.push(Some(write));
            }
            Err(problem) => {
                let _ = out.send((error, problem.into())).await;
                inputs.push(None);
            }
        }
    }
    drop(out);
    loop {
        tokio::select! {
            incoming = reader.next() => match incoming {
                Some(Incoming::Data(channel, data)) if channel % 2 == 0 => {
                    if let Some(slot) = inputs.get_mut(usize::from(channel / 2))
                        && let Some(stream) = slot
                        && stream.write_all(&data).await.is_err()
                    {
                        *slot = None;
                    }
                }
                Some(Incoming::Closed(channel)) => {
                    if let Some(slot) = inputs.get_mut(usize::from(channel / 2)) {
                        *slot = None;
                    }
                }
                Some(Incoming::Data(..)) => {}
                None => break,
            },
            done = copies.join_next() => if done.is_none() || copies.is_empty() { break },
        }
    }
    copies.shutdown().await;
    // The writer ends with its last sender.
    let _ = writer.await;
}

/// Connects with a port of the pod's own loopback.
pub(super) async fn connect(ctx: &PodContext, port: u16) -> Result<TcpStream, String> {
    let fail =
        |e: &dyn std::fmt::Display| format!("an error occurred forwarding to port {port} in the pod: {e}");
    let connect = move || std::net::TcpStream::connect((std::net::Ipv4Addr::LOCALHOST, port));
    let stream = match ctx.network() {
        Some(network) => network.inside(connect).await.map_err(|e| fail(&e))?,
        None => tokio::task::spawn_blocking(connect).await.map_err(|e| fail(&e))?,
    };
    let stream = stream.map_err(|e| fail(&e))?;
    stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream)).map_err(|e| fail(&e))
}

async fn copy(mut stream: OwnedReadHalf, channel: u8, out: mpsc::Sender<(u8, Bytes)>) {
    let mut chunk = vec![0; CHUNK];
    while let Ok(len @ 1..) = stream.read(&mut chunk).await {
        if out.send((channel, Bytes::copy_from_slice(&chunk[..len]))).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_listed_or_repeated() {
        assert_eq!(ports(Some("ports=80,443&ports=8080")).ok(), Some(vec![80, 443, 8080]));
        assert!(ports(Some("ports=http")).is_err());
        assert!(ports(None).is_err());
    }
}
