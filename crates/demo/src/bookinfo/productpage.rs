//! The product page: calls details and reviews and shows what they say.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::header::{CONTENT_TYPE, COOKIE, LOCATION, REFERER, SET_COOKIE};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::{page, service_url};
use crate::client::{self, Answer};
use crate::forward::forwarded;
use crate::server::{self, env};

/// How long another service is waited for.
const TIMEOUT: Duration = Duration::from_secs(3);
/// How often reviews are asked for: the sample's deliberate fault, which fault injection brings to light.
const REVIEW_TRIES: usize = 2;
/// The most useless calls of reviews that a page makes, whatever `FLOOD_FACTOR` says.
const MAX_FLOOD: usize = 10_000;
/// The longest user name.
const MAX_USER: usize = 64;

/// What the product page calls.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Base URL of details.
    pub details: String,
    /// Base URL of reviews.
    pub reviews: String,
    /// Base URL of ratings.
    pub ratings: String,
    /// How many useless calls of reviews each page makes.
    pub flood: usize,
}

impl Settings {
    /// As the sample's environment variables say.
    pub fn from_env() -> Self {
        Self {
            details: service_url("details"),
            reviews: service_url("reviews"),
            ratings: service_url("ratings"),
            flood: env("FLOOD_FACTOR").and_then(|n| n.parse().ok()).unwrap_or(0).min(MAX_FLOOD),
        }
    }
}

/// The page, its API, its static files, `/login`, `/logout` and `/health`.
pub fn router(settings: Settings) -> Router {
    Router::new()
        .route("/", get(async || Html(page::index())))
        .route("/index.html", get(async || Html(page::index())))
        .route("/health", get(async || "Product page is healthy"))
        .route("/productpage", get(front))
        .route("/login", post(login))
        .route("/logout", get(logout))
        .route("/static/{*path}", get(async |Path(path): Path<String>| static_file(&path)))
        .route("/api/v1/products", get(async || server::json(StatusCode::OK, &json!([page::product()]))))
        .route("/api/v1/products/{id}", get(api_details))
        .route("/api/v1/products/{id}/reviews", get(api_reviews))
        .route("/api/v1/products/{id}/ratings", get(api_ratings))
        .with_state(Arc::new(settings))
}

fn static_file(path: &str) -> Response {
    match path {
        "style.css" => ([(CONTENT_TYPE, "text/css; charset=utf-8")], page::STYLE).into_response(),
        "book.svg" => ([(CONTENT_TYPE, "image/svg+xml")], page::BOOK).into_response(),
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}

/// The user that is signed in.
fn user(headers: &HeaderMap) -> Option<String> {
    let cookies = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let session =
        cookies.flat_map(|line| line.split(';')).find_map(|pair| pair.trim().strip_prefix("session="))?;
    let name = String::from_utf8(URL_SAFE_NO_PAD.decode(session).ok()?).ok()?;
    valid_user(&name).then_some(name)
}

/// The name travels in a header: printable ASCII only.
fn valid_user(name: &str) -> bool {
    !name.is_empty() && name.len() <= MAX_USER && name.bytes().all(|b| (0x21..0x7f).contains(&b) || b == b' ')
}

/// The headers for the services behind: those that are handed on, and who is signed in.
fn outgoing(incoming: &HeaderMap) -> HeaderMap {
    let mut headers = forwarded(incoming);
    if let Some(value) = user(incoming).and_then(|name| HeaderValue::from_str(&name).ok()) {
        headers.insert("end-user", value);
    }
    headers
}

async fn login(headers: HeaderMap, body: Bytes) -> Response {
    let name = server::form(&body).into_iter().find(|(name, _)| name == "username").map(|(_, value)| value);
    let name = name.unwrap_or_default().trim().to_owned();
    if !valid_user(&name) {
        return (StatusCode::BAD_REQUEST, "a user name has 1 to 64 printable characters").into_response();
    }
    let cookie = format!("session={}; HttpOnly; Path=/; SameSite=Lax", URL_SAFE_NO_PAD.encode(name));
    back(&headers, &cookie)
}

async fn logout(headers: HeaderMap) -> Response {
    back(&headers, "session=; Max-Age=0; HttpOnly; Path=/; SameSite=Lax")
}

/// Sends the browser back to the page that it came from, on this host.
fn back(headers: &HeaderMap, cookie: &str) -> Response {
    let referer =
        headers.get(REFERER).and_then(|value| value.to_str().ok()).and_then(|url| url.parse::<Uri>().ok());
    let path = referer.as_ref().and_then(Uri::path_and_query).map(|path| path.as_str());
    let path = path.filter(|path| path.starts_with('/') && !path.starts_with("//")).unwrap_or("/productpage");
    (StatusCode::FOUND, [(LOCATION, path), (SET_COOKIE, cookie)]).into_response()
}

async fn front(State(state): State<Arc<Settings>>, headers: HeaderMap) -> Html<String> {
    let outgoing = outgoing(&headers);
    let details = ask(&state.details, "details", "0", &outgoing, 1).await;
    flood(&state, &outgoing).await;
    let reviews = ask(&state.reviews, "reviews", "0", &outgoing, REVIEW_TRIES).await;
    Html(page::front(user(&headers).as_deref(), &details, &reviews))
}

/// Calls reviews again and again and ignores the answers, to show rate limits at work.
async fn flood(state: &Settings, headers: &HeaderMap) {
    let calls = (0..state.flood).map(|_| ask(&state.reviews, "reviews", "0", headers, REVIEW_TRIES));
    futures::future::join_all(calls).await;
}

async fn api_details(
    State(state): State<Arc<Settings>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Response {
    answer(ask(&state.details, "details", &id, &outgoing(&headers), 1).await)
}

async fn api_reviews(
    State(state): State<Arc<Settings>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Response {
    answer(ask(&state.reviews, "reviews", &id, &outgoing(&headers), REVIEW_TRIES).await)
}

async fn api_ratings(
    State(state): State<Arc<Settings>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Response {
    answer(ask(&state.ratings, "ratings", &id, &outgoing(&headers), 1).await)
}

fn answer((status, body): (StatusCode, Value)) -> Response {
    server::json(status, &body)
}

/// What a service says of a product, or the status and words that the sample has for its failure.
async fn ask(base: &str, what: &str, id: &str, headers: &HeaderMap, tries: usize) -> (StatusCode, Value) {
    let mut status = StatusCode::INTERNAL_SERVER_ERROR;
    if super::product_id(id).is_none() {
        return (StatusCode::BAD_REQUEST, json!({"error": "please provide numeric product id"}));
    }
    for _ in 0..tries {
        match client::get(&format!("{base}/{what}/{id}"), headers.clone(), TIMEOUT).await {
            Ok(Answer { status: StatusCode::OK, json: Some(body) }) => return (StatusCode::OK, body),
            Ok(Answer { status: other, .. }) => {
                println!("{what} answered {other}");
                status = if other == StatusCode::OK { StatusCode::INTERNAL_SERVER_ERROR } else { other };
            }
            Err(error) => {
                println!("{what} did not answer: {error:#}");
                status = StatusCode::INTERNAL_SERVER_ERROR;
            }
        }
    }
    (status, json!({"error": format!("Sorry, product {what} are currently unavailable for this book.")}))
}
