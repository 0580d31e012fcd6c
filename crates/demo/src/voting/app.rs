//! The page to vote on. It keeps votes in the store and asks analytics what they come to.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::header::{CONTENT_TYPE, COOKIE, LOCATION, SET_COOKIE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::Value;

use super::Choices;
use super::page::{self, Flag, View};
use super::store::Store;
use crate::client;
use crate::database::Address;
use crate::forward::forwarded;
use crate::server::{self, env};

/// How long analytics are waited for: longer than they wait for their store.
const TIMEOUT: Duration = Duration::from_secs(12);
/// How long a browser keeps the feature flag.
const FLAG_LIFE: Duration = Duration::from_secs(15 * 60);

/// What the page is made of.
#[derive(Clone, Debug)]
pub struct App {
    /// The version of the application.
    pub version: String,
    /// The page's title.
    pub title: String,
    /// What votes are for.
    pub choices: Choices,
    /// Where votes are kept.
    pub store: Store,
    /// The URL of analytics.
    pub analytics: String,
    /// Whether the page tells its pod and its store.
    pub details: bool,
    /// Whether the page lets one choose the feature flag.
    pub feature_flag: bool,
    /// The pod's name.
    pub pod: String,
}

impl App {
    /// As the version has it, and as the sample's environment variables say.
    ///
    /// # Errors
    /// Names the variable that is not what it must be.
    pub fn from_env(version: &str) -> anyhow::Result<Self> {
        let Address { host, port } = Address::from_env("ANALYTICS", "voting-analytics", 8080)?;
        let on = |name: &str| env(name).as_deref() == Some("true");
        Ok(Self {
            version: version.to_owned(),
            title: env("TITLE").unwrap_or_else(|| "AKS Voting App".to_owned()),
            choices: Choices::from_env(),
            store: Store::from_env(version)?,
            analytics: format!("http://{host}:{port}/analytics"),
            details: on("SHOWDETAILS"),
            feature_flag: on("FEATUREFLAG"),
            pod: server::pod_name(),
        })
    }
}

/// `/` (GET and POST), `/featureflag/set`, `/featureflag/clear`, `/style.css`.
pub fn router(app: App) -> Router {
    Router::new()
        .route("/", get(show).post(vote))
        .route("/featureflag/set", post(async || flag(true)))
        .route("/featureflag/clear", post(async || flag(false)))
        .route("/style.css", get(async || ([(CONTENT_TYPE, "text/css; charset=utf-8")], page::STYLE)))
        .with_state(Arc::new(app))
}

async fn show(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    let (status, results) = match analytics(&app.analytics, &headers).await {
        Ok(text) => (StatusCode::OK, text),
        Err(error) => {
            println!("analytics are not available: {error:#}");
            (StatusCode::SERVICE_UNAVAILABLE, format!("The votes cannot be counted now: {error:#}"))
        }
    };
    let flag = if !app.feature_flag {
        Flag::Hidden
    } else if has_flag(&headers) {
        Flag::Set
    } else {
        Flag::Clear
    };
    let view = View { app: &app, results: &results, flag };
    (status, Html(page::vote(&view))).into_response()
}

/// What analytics say of the votes.
async fn analytics(url: &str, headers: &HeaderMap) -> anyhow::Result<String> {
    let answer = client::get(url, forwarded(headers), TIMEOUT).await?;
    let field = |name: &str| answer.json.as_ref().and_then(|json| json.get(name)).and_then(Value::as_str);
    if answer.status == StatusCode::OK
        && let Some(text) = field("text")
    {
        return Ok(text.to_owned());
    }
    anyhow::bail!("analytics answered {}: {}", answer.status, field("error").unwrap_or("without a reason"))
}

/// Any value of the cookie counts for the page; routes tell `featureflag=on`.
fn has_flag(headers: &HeaderMap) -> bool {
    let cookies = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    cookies.flat_map(|line| line.split(';')).any(|pair| {
        pair.trim().split_once('=').is_some_and(|(name, value)| name == "featureflag" && !value.is_empty())
    })
}

async fn vote(State(app): State<Arc<App>>, body: Bytes) -> Response {
    let choice = server::form(&body).into_iter().find(|(name, _)| name == "vote").map(|(_, value)| value);
    let choice = choice.unwrap_or_default();
    let done = if choice == "reset" {
        app.store.reset(&app.choices).await
    } else if [&app.choices.first, &app.choices.second].contains(&&choice) {
        app.store.vote(&choice).await
    } else {
        let message = format!("vote must be {}, {} or reset", app.choices.first, app.choices.second);
        return (StatusCode::BAD_REQUEST, message).into_response();
    };
    match done {
        Ok(()) => (StatusCode::FOUND, [(LOCATION, "/")]).into_response(),
        Err(error) => {
            println!("the vote is not kept: {error:#}");
            (StatusCode::SERVICE_UNAVAILABLE, format!("The vote is not kept: {error:#}\n")).into_response()
        }
    }
}

/// Sets or clears the cookie, and sends the browser back to the page.
fn flag(set: bool) -> Response {
    let cookie = if set {
        let end = httpdate::fmt_http_date(SystemTime::now() + FLAG_LIFE);
        format!("featureflag=on; Path=/; Expires={end}")
    } else {
        "featureflag=; Path=/; Expires=Thu, 01 Jan 1970 00:00:00 GMT".to_owned()
    };
    (StatusCode::FOUND, [(LOCATION, "/"), (SET_COOKIE, cookie.as_str())]).into_response()
}
