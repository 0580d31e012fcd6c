//! The ratings of a book: in memory, or in a database from version 2 on.

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

use super::product_id;
use crate::database::{Address, mongo, mysql};
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
        version if version.starts_with("v2") => return stored(id).await,
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

/// Version 2 keeps ratings in a database: the first two that it has are the reviewers'.
async fn stored(id: u64) -> Response {
    match from_database().await {
        Ok([first, second]) => {
            let ratings = json!({"Reviewer1": first, "Reviewer2": second});
            server::json(StatusCode::OK, &json!({"id": id, "ratings": ratings}))
        }
        Err(error) => {
            println!("the ratings cannot be read: {error:#}");
            let message = json!({"error": "could not connect to ratings database"});
            server::json(StatusCode::INTERNAL_SERVER_ERROR, &message)
        }
    }
}

/// Ratings from MySQL where `DB_TYPE` says so, else from MongoDB. A rating that is not there is 0, as in the sample.
async fn from_database() -> anyhow::Result<[i64; 2]> {
    let mut ratings = [0; 2];
    if env("DB_TYPE").as_deref() == Some("mysql") {
        let account = mysql::Account {
            address: Address::from_env("MYSQL_DB", "mysqldb", 3306)?,
            user: env("MYSQL_DB_USER").unwrap_or_else(|| "root".to_owned()),
            password: env("MYSQL_DB_PASSWORD").unwrap_or_default(),
            database: "test".to_owned(),
        };
        let rows = mysql::query(&account, "SELECT Rating FROM ratings").await?;
        for (rating, row) in ratings.iter_mut().zip(rows) {
            *rating = row.first().and_then(|column| column.as_ref()?.parse().ok()).unwrap_or(0);
        }
    } else {
        let url = env("MONGO_DB_URL").unwrap_or_else(|| "mongodb://mongodb:27017/test".to_owned());
        let found = mongo::find(&mongo::Database::parse(&url)?, "ratings", 2).await?;
        for (rating, document) in ratings.iter_mut().zip(found) {
            // MongoDB's shell stores numbers as doubles.
            let stars = document.get("rating").and_then(Value::as_f64);
            *rating = stars.map_or(0, |stars| stars as i64);
        }
    }
    Ok(ratings)
}
