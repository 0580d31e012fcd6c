//! The details of a book. Version 2 can ask a book service outside of the mesh.

use std::time::Duration;

use axum::Router;
use axum::extract::Path;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::get;
use serde_json::{Value, json};

use super::product_id;
use crate::client;
use crate::forward::forwarded;
use crate::server::{self, env};

/// The book's number for the service outside.
const ISBN: &str = "0486424618";

/// `/details/ID` and `/health`.
pub fn router(version: &str) -> Router {
    let external = env("ENABLE_EXTERNAL_BOOK_SERVICE").map_or(version == "v2", |value| value == "true");
    Router::new()
        .route(
            "/health",
            get(async || server::json(StatusCode::OK, &json!({"status": "Details is healthy"}))),
        )
        .route(
            "/details/{id}",
            get(async move |Path(id): Path<String>, headers: HeaderMap| {
                details(&id, &headers, external).await
            }),
        )
        .route("/", get(async || "Details of books: /details/0\n"))
}

async fn details(id: &str, headers: &HeaderMap, external: bool) -> Response {
    let Some(id) = product_id(id) else {
        return server::json(StatusCode::BAD_REQUEST, &json!({"error": "please provide numeric product id"}));
    };
    if !external {
        return server::json(StatusCode::OK, &own(id));
    }
    match ask_outside(id, headers).await {
        Ok(details) => server::json(StatusCode::OK, &details),
        Err(error) => {
            let message = format!("the book service cannot be asked: {error:#}");
            server::json(StatusCode::INTERNAL_SERVER_ERROR, &json!({"error": message}))
        }
    }
}

fn own(id: u64) -> Value {
    json!({
        "id": id,
        "author": "William Shakespeare",
        "year": 1595,
        "type": "paperback",
        "pages": 200,
        "publisher": "PublisherA",
        "language": "English",
        "ISBN-10": "1234567890",
        "ISBN-13": "123-1234567890",
    })
}

/// Asks Google's book service, in plain HTTP: with `DO_NOT_ENCRYPT` the sample leaves TLS to the proxy, and this
/// application has no other way.
async fn ask_outside(id: u64, headers: &HeaderMap) -> anyhow::Result<Value> {
    anyhow::ensure!(
        env("DO_NOT_ENCRYPT").as_deref() == Some("true"),
        "this build leaves TLS to the mesh; set DO_NOT_ENCRYPT=true and originate TLS by a DestinationRule"
    );
    let url = format!("http://www.googleapis.com/books/v1/volumes?q=isbn:{ISBN}");
    let answer = client::get(&url, forwarded(headers), Duration::from_secs(5)).await?;
    let volume = answer.json.as_ref().and_then(|json| json.pointer("/items/0/volumeInfo"));
    let Some(book) = volume else { anyhow::bail!("it answered {} without a book", answer.status) };
    let text = |pointer: &str| book.pointer(pointer).cloned().unwrap_or(Value::Null);
    let isbn = |kind: &str| -> Value {
        let all = book.get("industryIdentifiers").and_then(Value::as_array);
        let found = all.into_iter().flatten().find(|i| i.get("type").and_then(Value::as_str) == Some(kind));
        found.and_then(|i| i.get("identifier")).cloned().unwrap_or(Value::Null)
    };
    Ok(json!({
        "id": id,
        "author": text("/authors/0"),
        "year": text("/publishedDate"),
        "type": if text("/printType") == "BOOK" { "paperback" } else { "unknown" },
        "pages": text("/pageCount"),
        "publisher": text("/publisher"),
        "language": if text("/language") == "en" { "English" } else { "unknown" },
        "ISBN-10": isbn("ISBN_10"),
        "ISBN-13": isbn("ISBN_13"),
    }))
}
