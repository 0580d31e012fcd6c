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

/// Whether the proxy lives, has taken clusters and listeners from the control plane, and its workers run; the
/// reason if not. As Istio's agent does: Envoy's own `/ready` is content with configuration that it refused.
///
/// # Errors
/// In words, for whoever looks at the probe's answer.
pub async fn ready() -> Result<(), String> {
    let answer = client::call("GET", address(), "/ready", LIMIT).await;
    let answer = answer.map_err(|error| format!("the proxy does not answer: {error}"))?;
    if answer.status() != StatusCode::OK {
        return Err(format!("the proxy is {}", String::from_utf8_lossy(answer.body()).trim()));
    }
    let path = "/stats?filter=^(listener_manager%5C.workers_started%7C\
                (cluster_manager%5C.cds%7Clistener_manager%5C.lds)%5C.update_(success%7Crejected))$";
    let answer = client::call("GET", address(), path, LIMIT).await;
    let answer = answer.map_err(|error| format!("the proxy does not answer: {error}"))?;
    match answer.status() {
        StatusCode::OK => judge(&String::from_utf8_lossy(answer.body())),
        status => Err(format!("the proxy's administration answers {status}")),
    }
}

/// Readiness from the lines of `/stats`.
fn judge(stats: &str) -> Result<(), String> {
    let value = |name: &str| {
        let line = stats.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        line.and_then(|value| value.trim().parse::<u64>().ok())
    };
    for (prefix, what) in [("cluster_manager.cds", "clusters"), ("listener_manager.lds", "listeners")] {
        let count = |name: &str| value(&format!("{prefix}.{name}")).unwrap_or(0);
        if count("update_success") == 0 {
            return Err(match count("update_rejected") {
                0 => format!("the proxy has no {what} from the control plane yet"),
                _ => format!("the proxy refused the {what} that the control plane sent"),
            });
        }
    }
    match value("listener_manager.workers_started") {
        Some(1) => Ok(()),
        _ => Err("the proxy's workers have not started".to_owned()),
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

#[cfg(test)]
mod tests {
    use super::*;

    const READY: &str = "cluster_manager.cds.update_rejected: 0\ncluster_manager.cds.update_success: 1\n\
        listener_manager.lds.update_rejected: 1\nlistener_manager.lds.update_success: 2\n\
        listener_manager.workers_started: 1\n";

    #[test]
    fn a_proxy_with_configuration_and_workers_is_ready() {
        assert_eq!(judge(READY), Ok(()));
    }

    #[test]
    fn a_proxy_that_refused_its_configuration_is_not_ready() {
        let refused = judge(&READY.replace("lds.update_success: 2", "lds.update_success: 0"));
        assert!(refused.unwrap_err().contains("refused the listeners"));
        let none = judge(&READY.replace("cds.update_success: 1", "cds.update_success: 0"));
        assert!(none.unwrap_err().contains("no clusters"));
        assert!(judge("").is_err());
    }

    #[test]
    fn a_proxy_whose_workers_have_not_started_is_not_ready() {
        assert!(judge(&READY.replace("workers_started: 1", "workers_started: 0")).is_err());
    }
}
