//! An httpbin: answers about the request that it got, and answers that are asked for.

mod inspect;
mod shapes;

use axum::Router;
use axum::routing::{any, get, post};
use clap::{Args, ValueEnum};

/// How the answers look.
#[derive(Debug, Args)]
pub struct Httpbin {
    /// The port that it listens on
    #[arg(long, default_value_t = 8000)]
    pub port: u16,
    /// The original's answers, or those of its rewrite in Go, in which headers and arguments are lists
    #[arg(long, value_enum, default_value_t = Style::Classic)]
    pub style: Style,
}

/// Whose answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Style {
    /// The original: single values.
    Classic,
    /// go-httpbin: lists of values.
    Go,
}

/// The common paths.
pub fn router(style: Style) -> Router {
    Router::new()
        .route("/", get(shapes::index))
        .route("/get", get(inspect::get))
        .route("/post", post(inspect::with_body))
        .route("/put", axum::routing::put(inspect::with_body))
        .route("/patch", axum::routing::patch(inspect::with_body))
        .route("/delete", axum::routing::delete(inspect::with_body))
        .route("/anything", any(inspect::anything))
        .route("/anything/{*rest}", any(inspect::anything))
        .route("/headers", get(inspect::headers))
        .route("/ip", get(inspect::ip))
        .route("/user-agent", get(inspect::user_agent))
        .route("/cookies", get(inspect::cookies))
        .route("/cookies/set", get(inspect::set_cookies))
        .route("/basic-auth/{user}/{password}", get(inspect::basic_auth))
        .route("/bearer", get(inspect::bearer))
        .route("/status/{codes}", any(shapes::status))
        .route("/delay/{seconds}", any(shapes::delay))
        .route("/bytes/{count}", get(shapes::bytes))
        .route("/stream/{count}", get(shapes::stream))
        .route("/stream-bytes/{count}", get(shapes::bytes))
        .route("/redirect/{count}", get(shapes::redirect))
        .route("/relative-redirect/{count}", get(shapes::redirect))
        .route("/absolute-redirect/{count}", get(shapes::redirect))
        .route("/redirect-to", any(shapes::redirect_to))
        .route("/response-headers", get(shapes::response_headers).post(shapes::response_headers))
        .route("/uuid", get(shapes::uuid))
        .route("/base64/{text}", get(shapes::base64))
        .route("/html", get(shapes::html))
        .route("/json", get(shapes::json))
        .route("/xml", get(shapes::xml))
        .route("/robots.txt", get(async || "User-agent: *\nDisallow: /deny\n"))
        .route("/deny", get(async || "Robots are not welcome here.\n"))
        .route("/hostname", get(shapes::hostname))
        .route("/env", get(shapes::environment))
        .with_state(style)
}
