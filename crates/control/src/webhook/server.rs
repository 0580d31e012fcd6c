use std::sync::Arc;
use std::time::Duration;

use axum::extract::{DefaultBodyLimit, State};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use bytes::Bytes;
use http::StatusCode;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::inject::Injector;
use super::review::{Answer, Request, read, write};
use super::validate::validate;
use crate::accept::accept;
use crate::ca::ServingTls;
use crate::metrics::Metrics;

/// A review holds an object twice at most, and an object has at most 1.5 MiB (etcd's limit).
const MAX_BODY: usize = 8 << 20;

/// Connections that may be open at once: the API server needs few.
const MAX_CONNECTIONS: usize = 512;

/// How long a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// What the handlers share.
#[derive(Clone)]
pub struct Webhooks {
    /// Injects pods.
    pub injector: Arc<Injector>,
    /// The counters.
    pub metrics: Arc<Metrics>,
}

/// Serves the webhooks until `shutdown`. Before the first serving certificate is there, connections wait.
pub async fn serve(
    listener: TcpListener,
    mut tls: watch::Receiver<Option<Arc<ServingTls>>>,
    webhooks: Webhooks,
    shutdown: CancellationToken,
) {
    let router = Router::new()
        .route("/inject", post(inject))
        .route("/inject/{*environment}", post(inject))
        .route("/validate", post(validation))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(webhooks);
    tokio::select! {
        found = tls.wait_for(Option::is_some) => if found.is_err() { return },
        () = shutdown.cancelled() => return,
    }
    let stop = shutdown.clone();
    accept(listener, ("webhooks", MAX_CONNECTIONS), shutdown, |stream, _| {
        let acceptor = TlsAcceptor::from(Arc::clone(&tls.borrow().as_ref()?.webhooks));
        Some(connection(stream, acceptor, router.clone(), stop.clone()))
    })
    .await;
}

async fn connection(stream: TcpStream, acceptor: TlsAcceptor, router: Router, shutdown: CancellationToken) {
    let stream = match tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::debug!(%error, "webhook TLS handshake failed"),
        Err(_) => return tracing::debug!("webhook TLS handshake took too long"),
    };
    let builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
    let served = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut served = std::pin::pin!(served);
    let result = tokio::select! {
        result = served.as_mut() => result,
        () = shutdown.cancelled() => {
            served.as_mut().graceful_shutdown();
            tokio::time::timeout(Duration::from_secs(2), served).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "webhook connection ended");
    }
}

async fn inject(State(webhooks): State<Webhooks>, body: Bytes) -> Response {
    let (version, request) = match read(&body) {
        Ok(read) => read,
        Err(reason) => return (StatusCode::BAD_REQUEST, reason).into_response(),
    };
    let answer = webhooks.injector.inject(&request, &webhooks.metrics).await;
    reply(&version, request, answer)
}

async fn validation(State(webhooks): State<Webhooks>, body: Bytes) -> Response {
    let (version, request) = match read(&body) {
        Ok(read) => read,
        Err(reason) => return (StatusCode::BAD_REQUEST, reason).into_response(),
    };
    let answer = validate(&request, &webhooks.metrics);
    reply(&version, request, answer)
}

fn reply(version: &str, request: Request, answer: Answer) -> Response {
    Json(write(version, request.uid, answer)).into_response()
}
