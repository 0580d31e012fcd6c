//! The agent's own server on 15020: health, merged metrics, the application's probes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, Uri, header};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use crate::addresses;
use crate::admin;
use crate::client;
use crate::names::Resolver;
use crate::prober::Probers;
use crate::security::Security;
use crate::startup::Startup;

/// What the server answers from.
#[derive(Debug)]
pub struct Status {
    /// The application's probes.
    pub probers: Probers,
    /// Where the application serves metrics, if it does.
    pub application: Option<ApplicationMetrics>,
    /// Cancelled to end the agent.
    pub quit: CancellationToken,
    /// Cancelled once the agent drains: from then on it is not ready.
    pub draining: CancellationToken,
    /// The workload's identity.
    pub security: Security,
    /// The pod's resolver, where its DNS is captured.
    pub resolver: Option<Resolver>,
    /// When the proxy was ready.
    pub startup: Startup,
}

/// `ISTIO_PROMETHEUS_ANNOTATIONS`.
#[derive(Clone, Debug, Deserialize)]
pub struct ApplicationMetrics {
    #[serde(default)]
    scrape: String,
    #[serde(default)]
    path: String,
    #[serde(default)]
    port: String,
}

/// Serves until `quit` is cancelled.
///
/// # Errors
/// The port is taken.
pub async fn serve(port: u16, status: Arc<Status>) -> std::io::Result<()> {
    let listener = addresses::listen(port)?;
    let quit = status.quit.clone();
    let router = Router::new()
        .route("/healthz/ready", get(ready))
        .route("/stats/prometheus", get(metrics))
        .route("/metrics", get(metrics))
        .route("/quitquitquit", post(quit_agent))
        .route("/app-health/{container}/{probe}", get(probe))
        .with_state(status);
    axum::serve(listener, router).with_graceful_shutdown(quit.cancelled_owned()).await
}

async fn ready(State(status): State<Arc<Status>>) -> impl IntoResponse {
    if status.draining.is_cancelled() {
        return (StatusCode::SERVICE_UNAVAILABLE, "the proxy drains\n".to_owned());
    }
    if status.resolver.as_ref().is_some_and(|resolver| !resolver.is_ready()) {
        return (StatusCode::SERVICE_UNAVAILABLE, "the table of names is not there yet\n".to_owned());
    }
    match admin::ready().await {
        Ok(()) => (StatusCode::OK, String::new()),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
    }
}

async fn quit_agent(State(status): State<Arc<Status>>) -> &'static str {
    status.quit.cancel();
    "OK\n"
}

async fn probe(State(status): State<Arc<Status>>, uri: Uri) -> StatusCode {
    status.probers.probe(uri.path()).await
}

/// The proxy's metrics, then the application's.
async fn metrics(State(status): State<Arc<Status>>) -> impl IntoResponse {
    let (proxy, application) = tokio::join!(admin::metrics(), application(status.application.as_ref()));
    let mut text = Vec::new();
    match proxy {
        Ok(metrics) => text.extend_from_slice(&metrics),
        Err(reason) => tracing::warn!(reason, "metrics without the proxy's"),
    }
    if let Some(expiry) = status.security.certificate_expiry() {
        text.extend_from_slice(expiry_metric(expiry).as_bytes());
    }
    text.extend_from_slice(status.startup.metric().as_bytes());
    if let Some(resolver) = &status.resolver {
        text.extend_from_slice(resolver.metrics().as_bytes());
    }
    if let Some(metrics) = application {
        if !text.is_empty() && !text.ends_with(b"\n") {
            text.push(b'\n');
        }
        text.extend_from_slice(&metrics);
    }
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text)
}

/// How long the workload's certificate lives on, under the name of Istio's agent.
fn expiry_metric(expiry: u64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    let left = i64::try_from(expiry).unwrap_or(i64::MAX) - i64::try_from(now).unwrap_or(i64::MAX);
    let name = "istio_agent_cert_expiry_seconds";
    format!(
        "# HELP {name} The time remaining, in seconds, before the certificate chain will expire.\n# TYPE {name} gauge\n\
         {name}{{resource_name=\"default\"}} {left}\n"
    )
}

async fn application(metrics: Option<&ApplicationMetrics>) -> Option<bytes::Bytes> {
    let metrics = metrics.filter(|m| m.scrape == "true")?;
    let port: u16 = if metrics.port.is_empty() { 80 } else { metrics.port.parse().ok()? };
    let path = if metrics.path.is_empty() { "/metrics" } else { &metrics.path };
    let ask = |ip: IpAddr| client::call("GET", (ip, port).into(), path, Duration::from_secs(5));
    let answer = match ask(Ipv4Addr::LOCALHOST.into()).await {
        // It may listen by IPv6 alone.
        Err(refused) => ask(Ipv6Addr::LOCALHOST.into()).await.map_err(|_| refused),
        answer => answer,
    };
    match answer {
        Ok(answer) if answer.status() == StatusCode::OK => Some(answer.into_body()),
        Ok(answer) => {
            tracing::warn!(status = %answer.status(), "the application's metrics cannot be had");
            None
        }
        Err(error) => {
            tracing::warn!(%error, "the application's metrics cannot be had");
            None
        }
    }
}
