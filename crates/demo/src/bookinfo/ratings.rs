//! The ratings of a book, in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use super::product_id;
use crate::server::{self, env};

/// How many products ratings are kept of; what is posted beyond is refused.
const MAX_PRODUCTS: usize = 10_000;

struct Ratings {
    version: String,
    started: Instant,
    posted: Mutex<BTreeMap<u64, Value>>,
}

impl Ratings {
    /// Whether a fault that comes and goes with this period is there now: every other period, from the second on.
    fn in_odd_period(&self, seconds: u64) -> bool {
        (self.started.elapsed().as_secs() / seconds) % 2 == 1
    }
}

/// `/ratings/ID` (GET and POST) and `/health`.
pub fn router(version: &str) -> Router {
    let version = env("SERVICE_VERSION").unwrap_or_else(|| version.to_owned());
    let state = Arc::new(Ratings { version, started: Instant::now(), posted: Mutex::default() });
    Router::new()
        .route("/health", get(health))
        .route("/ratings/{id}", get(read).post(write))
        .with_state(state)
}

async fn health(State(ratings): State<Arc<Ratings>>) -> Response {
    if ratings.version == "v-unhealthy" && ratings.in_odd_period(15 * 60) {
        return server::json(StatusCode::INTERNAL_SERVER_ERROR, &json!({"status": "Ratings is not healthy"}));
    }
    server::json(StatusCode::OK, &json!({"status": "Ratings is healthy"}))
}

fn bad_request(message: &str) -> Response {
    server::json(StatusCode::BAD_REQUEST, &json!({"error": message}))
}

async fn write(State(ratings): State<Arc<Ratings>>, Path(id): Path<String>, body: Bytes) -> Response {
    let Some(id) = product_id(&id) else { return bad_request("please provide numeric product ID") };
    let Ok(given @ Value::Object(_)) = serde_json::from_slice(&body) else {
        return bad_request("please provide valid ratings JSON");
    };
    if ratings.version.starts_with("v2") {
        let message = json!({"error": "Post not implemented for database backed ratings"});
        return server::json(StatusCode::NOT_IMPLEMENTED, &message);
    }
    let mut posted = ratings.posted.lock().unwrap_or_else(PoisonError::into_inner);
    if posted.len() >= MAX_PRODUCTS && !posted.contains_key(&id) {
        return server::json(
            StatusCode::INSUFFICIENT_STORAGE,
            &json!({"error": "too many products are rated"}),
        );
    }
    posted.insert(id, given.clone());
    server::json(StatusCode::OK, &json!({"id": id, "ratings": given}))
}

async fn read(State(ratings): State<Arc<Ratings>>, Path(id): Path<String>) -> Response {
    let Some(id) = product_id(&id) else { return bad_request("please provide numeric product ID") };
    match ratings.version.as_str() {
        "v2" => {
            if let Err(error) = reach_database().await {
                println!("the ratings database is not reached: {error:#}");
                let message = json!({"error": "could not connect to ratings database"});
                return server::json(StatusCode::INTERNAL_SERVER_ERROR, &message);
            }
        }
        "v-faulty" if rand::random() => {
            return server::json(StatusCode::SERVICE_UNAVAILABLE, &json!({"error": "Service unavailable"}));
        }
        "v-delayed" if rand::random() => tokio::time::sleep(Duration::from_secs(7)).await,
        "v-unavailable" if ratings.in_odd_period(60) => {
            return server::json(StatusCode::SERVICE_UNAVAILABLE, &json!({"error": "Service unavailable"}));
        }
        "v-unhealthy" if ratings.in_odd_period(15 * 60) => {
            return server::json(
                StatusCode::INTERNAL_SERVER_ERROR,
                &json!({"error": "Internal server error"}),
            );
        }
        _ => {}
    }
    let posted = ratings.posted.lock().unwrap_or_else(PoisonError::into_inner).get(&id).cloned();
    let values = posted.unwrap_or_else(|| json!({"Reviewer1": 5, "Reviewer2": 4}));
    server::json(StatusCode::OK, &json!({"id": id, "ratings": values}))
}

/// Version 2 depends on a database: it must be reachable. This application speaks no database's protocol, so the
/// ratings themselves are always those that the sample's databases begin with.
async fn reach_database() -> anyhow::Result<()> {
    let address = if env("DB_TYPE").as_deref() == Some("mysql") {
        let host = env("MYSQL_DB_HOST").unwrap_or_else(|| "mysqldb".to_owned());
        format!("{host}:{}", env("MYSQL_DB_PORT").unwrap_or_else(|| "3306".to_owned()))
    } else {
        let url = env("MONGO_DB_URL").unwrap_or_else(|| "mongodb://mongodb:27017/test".to_owned());
        let rest = url.strip_prefix("mongodb://").unwrap_or(&url);
        let host =
            rest.split('/').next().unwrap_or_default().rsplit('@').next().unwrap_or_default().to_owned();
        if host.contains(':') { host } else { format!("{host}:27017") }
    };
    tokio::time::timeout(Duration::from_secs(2), TcpStream::connect(&address)).await??;
    Ok(())
}
