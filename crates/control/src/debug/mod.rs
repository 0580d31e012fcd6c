//! Readiness, metrics and the debug pages, under istiod's paths.

mod authenticationz;
mod config_dump;
mod distribution;
mod guard;
mod ndsz;
mod pages;
mod syncz;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::routing::get;
use axum::{Router, middleware};
pub(crate) use guard::{Guard, may_see};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::{Context, status};

fn debug_pages() -> Router<Arc<Context>> {
    Router::new()
        .route("/debug", get(pages::index))
        .route("/debug/syncz", get(syncz::syncz))
        .route("/debug/config_dump", get(config_dump::config_dump))
        .route("/debug/ndsz", get(ndsz::ndsz))
        .route("/debug/authenticationz", get(authenticationz::authenticationz))
        .route("/debug/endpointz", get(pages::endpointz))
        .route("/debug/registryz", get(pages::registryz))
        .route("/debug/configz", get(pages::configz))
}

/// What a debug page says, for callers of whom it is known that they may see it.
///
/// # Errors
/// There is no such page; in words.
pub(crate) async fn page(context: Arc<Context>, path: &str) -> Result<Vec<u8>, String> {
    let request = Request::get(path).body(Body::empty()).map_err(|error| error.to_string())?;
    let response = match debug_pages().with_state(context).oneshot(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    };
    let status = response.status();
    let body = to_bytes(response.into_body(), usize::MAX).await.map_err(|error| error.to_string())?;
    match status.is_success() {
        true => Ok(body.to_vec()),
        false => Err(format!("{path}: {status} {}", String::from_utf8_lossy(&body).trim())),
    }
}

/// Serves readiness, metrics and, to those who may see them, debug pages until `shutdown`.
pub(crate) async fn serve(
    listener: TcpListener,
    context: Arc<Context>,
    guard: Guard,
    shutdown: CancellationToken,
) {
    let debug = debug_pages()
        .route_layer(middleware::from_fn_with_state((guard, Arc::clone(&context)), guard::check));
    let router = Router::new()
        .route("/ready", get(pages::ready))
        .route("/metrics", get(pages::metrics))
        .route("/version", get(pages::version))
        // Counts alone, for which control planes ask each other.
        .route(status::PAGE, get(distribution::distribution))
        .merge(debug)
        .with_state(context);
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    let served = axum::serve(listener, service).with_graceful_shutdown(shutdown.clone().cancelled_owned());
    tokio::select! {
        // A client that keeps its connection open must not hold up the end.
        () = async { shutdown.cancelled().await; tokio::time::sleep(std::time::Duration::from_secs(2)).await } => {}
        result = served => if let Err(error) = result {
            tracing::warn!(%error, "debug server ended");
        }
    }
}
