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

use axum::routing::get;
use axum::{Router, middleware};
pub(crate) use guard::Guard;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{Context, status};

/// Serves readiness, metrics and, to those who may see them, debug pages until `shutdown`.
pub(crate) async fn serve(
    listener: TcpListener,
    context: Arc<Context>,
    guard: Guard,
    shutdown: CancellationToken,
) {
    let debug = Router::new()
        .route("/debug", get(pages::index))
        .route("/debug/syncz", get(syncz::syncz))
        .route("/debug/config_dump", get(config_dump::config_dump))
        .route("/debug/ndsz", get(ndsz::ndsz))
        .route("/debug/authenticationz", get(authenticationz::authenticationz))
        .route("/debug/endpointz", get(pages::endpointz))
        .route("/debug/registryz", get(pages::registryz))
        .route("/debug/configz", get(pages::configz))
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
