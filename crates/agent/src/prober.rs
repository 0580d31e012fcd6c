//! The application's own probes, asked from inside the pod.
//!
//! The kubelet's requests would be captured; injection points them at the agent, which asks the application
//! (Istio, "Health Checking of Istio Services").

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::Empty;
use serde::Deserialize;
use tokio::net::{TcpSocket, TcpStream};

use crate::addresses::INBOUND_SOURCE_V6;
use crate::{client, health};

/// Connections from this address are not captured (Istio's `istio-iptables`).
const PASS_THROUGH_SOURCE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 6);

/// One probe, as injection describes it.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Prober {
    http_get: Option<HttpGet>,
    tcp_socket: Option<TcpTarget>,
    grpc: Option<GrpcTarget>,
    #[serde(default = "one_second")]
    timeout_seconds: u64,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct HttpGet {
    #[serde(default)]
    path: String,
    port: u16,
    host: Option<String>,
    #[serde(default)]
    scheme: String,
    #[serde(default)]
    http_headers: Vec<Header>,
}

#[derive(Clone, Debug, Deserialize)]
struct Header {
    name: String,
    value: String,
}

#[derive(Clone, Debug, Deserialize)]
struct TcpTarget {
    port: u16,
}

#[derive(Clone, Debug, Deserialize)]
struct GrpcTarget {
    port: u16,
    #[serde(default)]
    service: String,
}

fn one_second() -> u64 {
    1
}

/// All probes of a pod by the path at which the agent serves them.
#[derive(Clone, Debug, Default)]
pub struct Probers {
    by_path: BTreeMap<String, Prober>,
    address: Option<IpAddr>,
}

impl Probers {
    /// Reads `ISTIO_KUBE_APP_PROBERS`.
    ///
    /// # Errors
    /// It is not the JSON that injection writes.
    pub fn parse(json: Option<&str>, address: IpAddr) -> Result<Probers> {
        let by_path = match json {
            Some(json) => {
                serde_json::from_str(json).context("environment variable ISTIO_KUBE_APP_PROBERS")?
            }
            None => BTreeMap::new(),
        };
        Ok(Probers { by_path, address: Some(address) })
    }

    /// Asks the application; the status to answer the kubelet with.
    pub async fn probe(&self, path: &str) -> StatusCode {
        let (Some(prober), Some(address)) = (self.by_path.get(path), self.address) else {
            return StatusCode::NOT_FOUND;
        };
        let limit = Duration::from_secs(prober.timeout_seconds.max(1));
        match tokio::time::timeout(limit, prober.ask(address, limit)).await {
            Ok(Some(status)) => status,
            Ok(None) | Err(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl Prober {
    async fn ask(&self, address: IpAddr, limit: Duration) -> Option<StatusCode> {
        if let Some(get) = &self.http_get {
            let stream = connect(address, get.port).await?;
            let request = get.request(address)?;
            let answer = if get.scheme.eq_ignore_ascii_case("HTTPS") {
                let stream = health::shake_hands(stream, address).await?;
                client::send(stream, request, limit).await
            } else {
                client::send(stream, request, limit).await
            };
            return Some(answer.ok()?.status());
        }
        if let Some(grpc) = &self.grpc {
            let stream = connect(address, grpc.port).await?;
            let serving = health::is_serving(stream, &grpc.service).await?;
            return Some(if serving { StatusCode::OK } else { StatusCode::INTERNAL_SERVER_ERROR });
        }
        connect(address, self.tcp_socket.as_ref()?.port).await.map(|_connected| StatusCode::OK)
    }
}

impl HttpGet {
    fn request(&self, address: IpAddr) -> Option<Request<Empty<Bytes>>> {
        let slash = if self.path.starts_with('/') { "" } else { "/" };
        let mut request = Request::builder().uri(format!("{slash}{}", self.path));
        let mut host = self.host.clone().unwrap_or_else(|| SocketAddr::new(address, self.port).to_string());
        for header in &self.http_headers {
            if header.name.eq_ignore_ascii_case("host") {
                host.clone_from(&header.value);
            } else {
                request = request.header(&header.name, &header.value);
            }
        }
        request.header(http::header::HOST, host).body(Empty::new()).ok()
    }
}

async fn connect(address: IpAddr, port: u16) -> Option<TcpStream> {
    let target = SocketAddr::new(address, port);
    let (socket, source) = match address {
        IpAddr::V4(_) => (TcpSocket::new_v4().ok()?, IpAddr::V4(PASS_THROUGH_SOURCE)),
        IpAddr::V6(_) => (TcpSocket::new_v6().ok()?, IpAddr::V6(INBOUND_SOURCE_V6)),
    };
    match socket.bind((source, 0).into()) {
        // Where nothing is captured by IPv6, the address is not there, nor is it needed.
        Err(error) if error.kind() != io::ErrorKind::AddrNotAvailable => None,
        _ => socket.connect(target).await.ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn the_applications_answer_is_passed_on() {
        let app = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = app.local_addr().unwrap().port();
        let router = axum::Router::new()
            .route("/ok", axum::routing::get(|| async { "fine" }))
            .fallback(|| async { StatusCode::SERVICE_UNAVAILABLE });
        tokio::spawn(async move { axum::serve(app, router).await });
        let json = format!(
            r#"{{"/app-health/a/readyz":{{"httpGet":{{"path":"/ok","port":{port},"scheme":"HTTP"}},"timeoutSeconds":1}},
                 "/app-health/a/livez":{{"httpGet":{{"path":"/no","port":{port}}}}},
                 "/app-health/b/readyz":{{"tcpSocket":{{"port":{port}}}}}}}"#
        );
        let probers = Probers::parse(Some(&json), Ipv4Addr::LOCALHOST.into()).unwrap();
        assert_eq!(probers.probe("/app-health/a/readyz").await, StatusCode::OK);
        assert_eq!(probers.probe("/app-health/a/livez").await, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(probers.probe("/app-health/b/readyz").await, StatusCode::OK);
        assert_eq!(probers.probe("/app-health/c/readyz").await, StatusCode::NOT_FOUND);
    }
}
