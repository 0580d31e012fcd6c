//! The reviews of a book, with ratings (stars) from version 2 on.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::get;
use serde_json::{Value, json};

use super::{product_id, service_url};
use crate::client;
use crate::forward::forwarded;
use crate::server::{self, env, pod_name};

/// What the reviews show.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The pod that answers.
    pub pod: String,
    /// The cluster that it is in; `null` when it is not known.
    pub cluster: String,
    /// How ratings are asked for and shown; not at all in version 1.
    pub stars: Option<Stars>,
    /// Base URL of ratings.
    pub ratings: String,
}

/// How ratings are asked for and shown.
#[derive(Clone, Debug)]
pub struct Stars {
    /// The stars' colour.
    pub color: String,
    /// How long ratings are waited for.
    pub timeout: Duration,
}

impl Stars {
    /// Stars of a colour: 10 s are waited for black ones (version 2), else 2.5 s, as the sample has it.
    pub fn of(color: &str) -> Self {
        Self {
            color: color.to_owned(),
            timeout: Duration::from_millis(if color == "black" { 10_000 } else { 2_500 }),
        }
    }
}

impl Settings {
    /// As the version has it, and as the sample's environment variables say.
    pub fn from_env(version: &str) -> Self {
        let rated = env("ENABLE_RATINGS").map_or(version != "v1", |value| value == "true");
        let color =
            env("STAR_COLOR").unwrap_or_else(|| if version == "v3" { "red" } else { "black" }.to_owned());
        Self {
            pod: pod_name(),
            cluster: env("CLUSTER_NAME").unwrap_or_else(|| "null".to_owned()),
            stars: rated.then(|| Stars::of(&color)),
            ratings: service_url("ratings"),
        }
    }
}

/// `/reviews/ID`, `/health` and `/`.
pub fn router(settings: Settings) -> Router {
    Router::new()
        .route(
            "/health",
            get(async || server::json(StatusCode::OK, &json!({"status": "Reviews is healthy"}))),
        )
        .route("/reviews/{id}", get(reviews))
        .route("/", get(async || "Reviews of books: /reviews/0\n"))
        .with_state(Arc::new(settings))
}

async fn reviews(State(state): State<Arc<Settings>>, Path(id): Path<String>, headers: HeaderMap) -> Response {
    let Some(number) = product_id(&id) else {
        return server::json(StatusCode::BAD_REQUEST, &json!({"error": "please provide numeric product id"}));
    };
    let rating = |answer: &Option<Value>, reviewer: &str| -> Option<Value> {
        let stars = state.stars.as_ref()?;
        let given =
            answer.as_ref().and_then(|a| a.pointer(&format!("/ratings/{reviewer}"))).and_then(Value::as_i64);
        Some(match given {
            Some(given) => json!({"stars": given, "color": stars.color}),
            None => json!({"error": "Ratings service is currently unavailable"}),
        })
    };
    let answer = match &state.stars {
        Some(stars) => ratings(&state.ratings, number, &headers, stars.timeout).await,
        None => None,
    };
    let review = |reviewer: &str, text: &str| {
        let mut review = json!({"reviewer": reviewer, "text": text});
        if let Some(rating) = rating(&answer, reviewer) {
            review["rating"] = rating;
        }
        review
    };
    let body = json!({
        "id": id,
        "podname": state.pod,
        "clustername": state.cluster,
        "reviews": [
            review("Reviewer1", "Two pairs of twins and an evening of confusion: I have rarely laughed so much!"),
            review("Reviewer2", "Fast and very funny. Do not look for the depth of the later plays, though."),
        ],
    });
    server::json(StatusCode::OK, &body)
}

async fn ratings(base: &str, id: u64, headers: &HeaderMap, timeout: Duration) -> Option<Value> {
    match client::get(&format!("{base}/ratings/{id}"), forwarded(headers), timeout).await {
        Ok(answer) if answer.status == StatusCode::OK => answer.json,
        Ok(answer) => {
            println!("unable to contact {base}: got status {}", answer.status);
            None
        }
        Err(error) => {
            println!("unable to contact {base}: {error:#}");
            None
        }
    }
}
