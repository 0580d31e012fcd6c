//! Readiness, metrics and the debug pages, under istiod's paths.

mod authenticationz;
mod config_dump;
mod distribution;
mod pages;
mod syncz;

use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{Context, status};

/// Serves readiness, metrics and debug pages until `shutdown`.
pub async fn serve(listener: TcpListener, context: Arc<Context>, shutdown: CancellationToken) {
    let router = Router::new()
        .route("/ready", get(pages::ready))
        .route("/metrics", get(pages::metrics))
        .route("/version", get(pages::version))
        .route("/debug", get(pages::index))
        .route("/debug/syncz", get(syncz::syncz))
        .route("/debug/config_dump", get(config_dump::config_dump))
        .route(status::PAGE, get(distribution::distribution))
        .route("/debug/authenticationz", get(authenticationz::authenticationz))
        .route("/debug/endpointz", get(pages::endpointz))
        .route("/debug/registryz", get(pages::registryz))
        .route("/debug/configz", get(pages::configz))
        .with_state(context);
    let served = axum::serve(listener, router).with_graceful_shutdown(shutdown.clone().cancelled_owned());
    tokio::select! {
        // A client that keeps its connection open must not hold up the end.
        () = async { shutdown.cancelled().await; tokio::time::sleep(std::time::Duration::from_secs(2)).await } => {}
        result = served => if let Err(error) = result {
            tracing::warn!(%error, "debug server ended");
        }
    }
}
