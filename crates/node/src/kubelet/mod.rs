//! The kubelet's interface for logs, exec, attach and port-forward, on a unix socket.
//!
//! Streams are WebSockets in Kubernetes' `v5.channel.k8s.io` and `v4.channel.k8s.io` sub-protocols: each message begins with the
//! number of its channel.

mod channel;
mod exec;
mod logs;
mod port_forward;
mod spdy;
mod terminal;

use std::io;
use std::path::Path;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Path as UrlPath, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::UnixListener;
use tokio::task::JoinHandle;

use crate::cluster::Pods;

/// An error for the caller, who shows it to the user.
pub(crate) struct Refusal(StatusCode, String);

impl Refusal {
    fn missing(message: impl Into<String>) -> Self {
        Self(StatusCode::NOT_FOUND, message.into())
    }

    fn bad(message: impl Into<String>) -> Self {
        Self(StatusCode::BAD_REQUEST, message.into())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.0, self.1).into_response()
    }
}

/// Starts the server.
///
/// # Errors
/// If the socket cannot be made.
pub(crate) fn serve(socket: &Path, pods: Arc<Pods>) -> io::Result<JoinHandle<()>> {
    if let Err(error) = std::fs::remove_file(socket)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error);
    }
    let listener = UnixListener::bind(socket)?;
    std::fs::set_permissions(socket, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    let router = Router::new()
        .route("/healthz", get(|| async { "ok" }))
        .route("/containerLogs/{namespace}/{pod}/{container}", get(logs::logs))
        .route("/exec/{namespace}/{pod}/{container}", get(exec::exec).post(exec::exec))
        .route("/attach/{namespace}/{pod}/{container}", get(exec::attach).post(exec::attach))
        .route("/portForward/{namespace}/{pod}", get(port_forward::port_forward))
        .with_state(pods);
    Ok(tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::error!(%error, "the kubelet interface has ended");
        }
    }))
}

/// The container that a request names.
type ContainerPath = UrlPath<(String, String, String)>;
type Node = State<Arc<Pods>>;

fn find(pods: &Pods, namespace: &str, pod: &str) -> Result<Arc<crate::pod::PodContext>, Refusal> {
    pods.find(namespace, pod)
        .ok_or_else(|| Refusal::missing(format!("pod {pod:?} does not run on this node")))
}
