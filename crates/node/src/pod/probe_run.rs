//! One probe: a question to a container, with the answer or what went wrong.

use std::net::SocketAddr;
use std::time::Duration;

use http_body_util::{BodyExt, Empty, Full, Limited};
use hyper::body::Bytes;
use hyper_util::rt::{TokioExecutor, TokioIo};
use k8s_openapi::api::core::v1::{Container, HTTPGetAction, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::record::Live;
use super::{PodContext, hooks, probe_tls};

const MAX_BODY: usize = 10 << 10;

/// Asks once.
///
/// # Errors
/// In kubelet's words, for the Unhealthy event.
pub(crate) async fn check(
    ctx: &PodContext,
    container: &Container,
    live: &Live,
    probe: &Probe,
) -> Result<(), String> {
    let limit = Duration::from_secs(probe.timeout_seconds.unwrap_or(1).max(1).unsigned_abs().into());
    if let Some(action) = &probe.http_get {
        return http(ctx, container, action, limit).await;
    }
    if let Some(action) = &probe.tcp_socket {
        let address = address(ctx, container, action.host.as_deref(), &action.port)?;
        return connect(address, limit).await.map(drop);
    }
    if let Some(action) = &probe.exec {
        let argv = action.command.clone().unwrap_or_default();
        let run = hooks::exec(ctx, live, argv);
        return match timeout(limit, run).await {
            Err(_) => Err(format!("command timed out after {}s", limit.as_secs())),
            Ok(Err(error)) => Err(format!("{error:#}")),
            Ok(Ok((exit, output))) if exit.code != 0 => Err(output.trim().to_owned()),
            Ok(Ok(_)) => Ok(()),
        };
    }
    if let Some(action) = &probe.grpc {
        let address = address(ctx, container, None, &IntOrString::Int(action.port))?;
        let service = action.service.clone().unwrap_or_default();
        return match timeout(limit, grpc(address, &service)).await {
            Err(_) => Err(format!("timeout: health rpc did not complete within {}s", limit.as_secs())),
            Ok(answer) => answer,
        };
    }
    Ok(())
}

fn address(
    ctx: &PodContext,
    container: &Container,
    host: Option<&str>,
    port: &IntOrString,
) -> Result<SocketAddr, String> {
    let ports = container.ports.as_deref().unwrap_or_default();
    let number = match port {
        IntOrString::Int(number) => *number,
        IntOrString::String(name) => match ports.iter().find(|p| p.name.as_deref() == Some(name)) {
            Some(port) => port.container_port,
            None => name.parse().map_err(|_| format!("couldn't find port: {name}"))?,
        },
    };
    let port = u16::try_from(number).map_err(|_| format!("invalid port number: {number}"))?;
    let ip = match host.filter(|h| !h.is_empty()) {
        Some(host) => host.parse().map_err(|_| format!("host {host:?} is no IP address"))?,
        None => ctx.ip().ok_or("the pod has no address")?.into(),
    };
    Ok(SocketAddr::new(ip, port))
}

async fn connect(address: SocketAddr, limit: Duration) -> Result<TcpStream, String> {
    match timeout(limit, TcpStream::connect(address)).await {
        Err(_) => Err(format!("dial tcp {address}: i/o timeout")),
        Ok(Err(error)) => Err(format!("dial tcp {address}: connect: {error}")),
        Ok(Ok(stream)) => Ok(stream),
    }
}

/// An HTTP probe or hook: any answer from 200 to 399 is success.
///
/// # Errors
/// In kubelet's words.
pub(crate) async fn http(
    ctx: &PodContext,
    container: &Container,
    action: &HTTPGetAction,
    limit: Duration,
) -> Result<(), String> {
    let secure = action.scheme.as_deref().is_some_and(|s| s.eq_ignore_ascii_case("HTTPS"));
    let address = address(ctx, container, action.host.as_deref(), &action.port)?;
    let path = match action.path.as_deref().unwrap_or("/") {
        "" => "/".to_owned(),
        path if path.starts_with('/') => path.to_owned(),
        path => format!("/{path}"),
    };
    let mut request =
        hyper::Request::get(&path).header("user-agent", "kube-probe/1.34").header("accept", "*/*");
    let mut named_host = None;
    for header in action.http_headers.iter().flatten() {
        if header.name.eq_ignore_ascii_case("host") {
            named_host = Some(header.value.clone());
        } else {
            request = request.header(&header.name, &header.value);
        }
    }
    let server = named_host.clone();
    let request = request.header("host", named_host.unwrap_or_else(|| address.to_string()));
    let request = request.body(Empty::<Bytes>::new()).map_err(|e| e.to_string())?;
    let scheme = if secure { "https" } else { "http" };
    let url = format!("{scheme}://{address}{path}");
    let asked = async {
        let stream = dial(address).await?;
        if !secure {
            return exchange(stream, request).await;
        }
        exchange(probe_tls::shake_hands(stream, address, server.as_deref()).await?, request).await
    };
    match timeout(limit, asked).await {
        Err(_) => Err(format!("Get \"{url}\": context deadline exceeded")),
        Ok(Err(error)) => Err(format!("Get \"{url}\": {error}")),
        Ok(Ok(code)) if (200..400).contains(&code) => Ok(()),
        Ok(Ok(code)) => Err(format!("HTTP probe failed with statuscode: {code}")),
    }
}

async fn dial(address: SocketAddr) -> Result<TcpStream, String> {
    TcpStream::connect(address).await.map_err(|e| format!("dial tcp {address}: connect: {e}"))
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: hyper::Request<Empty<Bytes>>,
) -> Result<u16, String> {
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|e| e.to_string())?;
    let connection = tokio::spawn(connection);
    let answer = sender.send_request(request).await.map_err(|e| e.to_string());
    let code = match answer {
        Ok(response) => {
            let code = response.status().as_u16();
            // Read to be polite; more than a probe's worth is not.
            let _ = Limited::new(response.into_body(), MAX_BODY).collect().await;
            Ok(code)
        }
        Err(error) => Err(error),
    };
    connection.abort();
    code
}

/// `grpc.health.v1.Health/Check`: a message of one string field in, one enum field out (1: SERVING).
async fn grpc(address: SocketAddr, service: &str) -> Result<(), String> {
    let stream = dial(address).await?;
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|e| e.to_string())?;
    let connection = tokio::spawn(connection);
    let name = service.as_bytes();
    let Ok(len) = u8::try_from(name.len()) else { return Err("grpc.service is too long".into()) };
    let message = if len == 0 { Vec::new() } else { [&[0x0a, len][..], name].concat() };
    let frame = [&[0][..], &(message.len() as u32).to_be_bytes(), &message].concat();
    let request = hyper::Request::post(format!("http://{address}/grpc.health.v1.Health/Check"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Full::new(Bytes::from(frame)))
        .map_err(|e| e.to_string())?;
    let answer = async {
        let response = sender.send_request(request).await.map_err(|e| e.to_string())?;
        let body = Limited::new(response.into_body(), MAX_BODY).collect().await.map_err(|e| e.to_string())?;
        Ok::<_, String>(body.to_bytes())
    }
    .await;
    connection.abort();
    match answer?.get(5..) {
        Some([0x08, 0x01, ..]) => Ok(()),
        Some([0x08, status, ..]) => Err(format!("service unhealthy (responded with status {status})")),
        _ => Err("service unhealthy (no answer of grpc.health.v1)".into()),
    }
}
