//! The proxy's administration interface, which is the same for Lateen's proxy and for Envoy.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;

use crate::bootstrap::ADMIN_PORT;
use crate::client;

const LIMIT: Duration = Duration::from_secs(5);

fn address() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, ADMIN_PORT).into()
}

/// Whether the proxy has its configuration and its workers run; the reason if not.
///
/// # Errors
/// In words, for whoever looks at the probe's answer.
pub async fn ready() -> Result<(), String> {
    let answer = client::call("GET", address(), "/ready", LIMIT).await;
    let answer = answer.map_err(|error| format!("the proxy does not answer: {error}"))?;
    match answer.status() {
        StatusCode::OK => Ok(()),
        _ => Err(format!("the proxy is {}", String::from_utf8_lossy(answer.body()).trim())),
    }
}

/// The proxy's metrics in Prometheus' text format.
///
/// # Errors
/// In words.
pub async fn metrics() -> Result<Bytes, String> {
    let answer = client::call("GET", address(), "/stats/prometheus", LIMIT).await;
    Ok(answer.map_err(|error| format!("the proxy's metrics: {error}"))?.into_body())
}

/// Connections that clients hold to the proxy's inbound listeners and to a gateway's.
pub async fn active_connections() -> Option<u64> {
    let path = "/stats?filter=^listener%5C..*%5C.downstream_cx_active$";
    let answer = client::call("GET", address(), path, LIMIT).await.ok()?;
    let text = String::from_utf8_lossy(answer.body()).into_owned();
    let own = ["listener.admin", "15090", "15021"];
    let lines = text.lines().filter(|line| !own.iter().any(|name| line.contains(name)));
    Some(lines.filter_map(|line| line.rsplit_once(": ")?.1.trim().parse::<u64>().ok()).sum())
}

/// Has the proxy turn connections away as gently as it can.
pub async fn drain() {
    for path in ["/healthcheck/fail", "/drain_listeners?inboundonly&graceful"] {
        if let Err(error) = client::call("POST", address(), path, LIMIT).await {
            tracing::warn!(%error, path, "the proxy cannot be told to drain");
        }
    }
}
