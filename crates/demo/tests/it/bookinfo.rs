//! Bookinfo: page, sessions, forwarded headers, failures.

use std::time::Duration;

use axum::Router;
use axum::extract::Path;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::get;
use lateen_demo::bookinfo::{details, productpage, ratings, reviews};
use lateen_demo::client;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::start;

/// One raw exchange; the connection is closed afterwards.
async fn exchange(port: u16, request: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

fn local(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}

fn review_settings(ratings: u16, stars: Option<reviews::Stars>) -> reviews::Settings {
    reviews::Settings { pod: "reviews-pod".into(), cluster: "null".into(), stars, ratings: local(ratings) }
}

/// The product page over the given reviews.
async fn page_over(reviews: u16) -> u16 {
    let details = start(details::router("v1")).await;
    let settings = productpage::Settings {
        details: local(details),
        reviews: local(reviews),
        ratings: local(reviews),
        flood: 0,
    };
    start(productpage::router(settings)).await
}

async fn page(port: u16) -> String {
    exchange(port, "GET /productpage HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await
}

#[tokio::test]
async fn the_page_shows_details_reviews_and_red_stars() {
    let ratings = start(ratings::router("v1")).await;
    let reviews = start(reviews::router(review_settings(ratings, Some(reviews::Stars::of("red"))))).await;
    let html = page(page_over(reviews).await).await;
    assert!(html.starts_with("HTTP/1.1 200"));
    for part in [
        "<title>Simple Bookstore App</title>",
        "William Shakespeare",
        "paperback",
        "<u>reviews-pod</u>",
        "Sign in",
    ] {
        assert!(html.contains(part), "{part} is missing in {html}");
    }
    assert_eq!(html.matches("<font color=\"red\">").count(), 2);
}

#[tokio::test]
async fn without_ratings_the_page_says_so() {
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let reviews = start(reviews::router(review_settings(closed, Some(reviews::Stars::of("black"))))).await;
    let html = page(page_over(reviews).await).await;
    assert_eq!(html.matches("Ratings service is currently unavailable").count(), 2);
    assert!(!html.contains("glyphicon-star"));
}

#[tokio::test]
async fn slow_reviews_are_asked_for_twice_and_then_given_up() {
    let calls = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
    let counted = calls.clone();
    let failing = Router::new().route(
        "/reviews/{id}",
        get(async move |Path(_): Path<String>| {
            counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            StatusCode::SERVICE_UNAVAILABLE
        }),
    );
    let html = page(page_over(start(failing).await).await).await;
    assert!(html.contains("Error fetching product reviews!"));
    assert!(html.contains("Sorry, product reviews are currently unavailable for this book."));
    assert_eq!(calls.load(std::sync::atomic::Ordering::Relaxed), 2);
}

#[tokio::test]
async fn who_signs_in_is_named_to_the_services_behind() {
    let seen = Router::new().route(
        "/reviews/{id}",
        get(async |Path(_): Path<String>, headers: HeaderMap| {
            let text =
                |name: &str| headers.get(name).map(|v| v.to_str().unwrap().to_owned()).unwrap_or_default();
            let all =
                ["end-user", "x-request-id", "traceparent", "user-agent", "b3", "accept"].map(text).join("|");
            axum::Json(json!({"podname": all, "reviews": []}))
        }),
    );
    let port = page_over(start(seen).await).await;
    let login = "POST /login HTTP/1.1\r\nhost: x\r\nreferer: http://x/productpage?u=test\r\nconnection: close\r\n\
                 content-type: application/x-www-form-urlencoded\r\ncontent-length: 20\r\n\r\nusername=jason&passwd";
    let answer = exchange(port, login).await;
    assert!(
        answer.starts_with("HTTP/1.1 302") && answer.contains("location: /productpage?u=test\r\n"),
        "{answer}"
    );
    let cookie =
        answer.lines().find_map(|l| l.strip_prefix("set-cookie: ")).unwrap().split(';').next().unwrap();
    let request = format!(
        "GET /productpage HTTP/1.1\r\nhost: x\r\ncookie: {cookie}\r\nx-request-id: r1\r\ntraceparent: t1\r\n\
         user-agent: tester\r\nb3: b1\r\naccept: text/html\r\nconnection: close\r\n\r\n"
    );
    let html = exchange(port, &request).await;
    assert!(html.contains("<u>jason|r1|t1|tester|b1|</u>"), "{html}");
    assert!(html.contains("sign out") && html.contains("jason</span>"));
    let evil =
        "POST /login HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 17\r\n\r\nusername=a%0d%0ab";
    assert!(exchange(port, evil).await.starts_with("HTTP/1.1 400"));
}

#[tokio::test]
async fn the_api_answers_in_the_samples_json() {
    let ratings = start(ratings::router("v1")).await;
    let get = async |path: &str| {
        client::get(&format!("{}{path}", local(ratings)), HeaderMap::new(), Duration::from_secs(5))
            .await
            .unwrap()
    };
    assert_eq!(
        get("/ratings/0").await.json,
        Some(json!({"id": 0, "ratings": {"Reviewer1": 5, "Reviewer2": 4}}))
    );
    assert_eq!(get("/ratings/x").await.status, StatusCode::BAD_REQUEST);
    assert_eq!(get("/health").await.json, Some(json!({"status": "Ratings is healthy"})));
    let post = "POST /ratings/7 HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 16\r\n\r\n{\"Reviewer1\": 1}";
    assert!(exchange(ratings, post).await.contains("{\"id\":7,\"ratings\":{\"Reviewer1\":1}}"));
    assert_eq!(get("/ratings/7").await.json, Some(json!({"id": 7, "ratings": {"Reviewer1": 1}})));

    let reviews = start(reviews::router(review_settings(ratings, None))).await;
    let url = format!("{}/reviews/0", local(reviews));
    let body = client::get(&url, HeaderMap::new(), Duration::from_secs(5)).await.unwrap().json.unwrap();
    assert_eq!(
        (&body["id"], &body["podname"], &body["clustername"]),
        (&json!("0"), &json!("reviews-pod"), &json!("null"))
    );
    assert!(body["reviews"][0].get("rating").is_none());

    let port = page_over(reviews).await;
    let products =
        exchange(port, "GET /api/v1/products HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    assert!(products.contains("\"The Comedy of Errors\""));
    let details =
        exchange(port, "GET /api/v1/products/0 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    assert!(details.contains("\"ISBN-10\":\"1234567890\""));
}
