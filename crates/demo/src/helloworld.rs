//! The helloworld sample.

use axum::Router;
use axum::routing::get;

use crate::server::{env, pod_name};

/// `/hello` and `/health`.
pub fn router(version: &str) -> Router {
    let version = env("SERVICE_VERSION").unwrap_or_else(|| version.to_owned());
    let hello = format!("Hello version: {version}, instance: {}\n", pod_name());
    Router::new()
        .route("/hello", get(async move || hello.clone()))
        .route("/health", get(async || "Helloworld is healthy"))
}
