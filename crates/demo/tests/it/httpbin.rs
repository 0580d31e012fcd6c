//! httpbin's answers.

use std::time::{Duration, Instant};

use axum::http::{HeaderMap, HeaderValue, StatusCode};
use lateen_demo::client::{self, Answer};
use lateen_demo::httpbin::{Style, router};

use crate::start;

async fn get(port: u16, path: &str) -> Answer {
    let mut headers = HeaderMap::new();
    headers.insert("x-custom-header", HeaderValue::from_static("v"));
    client::get(&format!("http://127.0.0.1:{port}{path}"), headers, Duration::from_secs(10)).await.unwrap()
}

#[tokio::test]
async fn requests_are_described_in_both_styles() {
    let (classic, go) = (start(router(Style::Classic)).await, start(router(Style::Go)).await);
    let json = get(classic, "/get?a=1").await.json.unwrap();
    assert_eq!((&json["args"]["a"], &json["headers"]["X-Custom-Header"]), (&"1".into(), &"v".into()));
    assert_eq!(json["url"], format!("http://127.0.0.1:{classic}/get?a=1"));
    let json = get(go, "/headers").await.json.unwrap();
    assert_eq!(json["headers"]["X-Custom-Header"], serde_json::json!(["v"]));
}

#[tokio::test]
async fn statuses_are_those_that_are_asked_for() {
    let port = start(router(Style::Classic)).await;
    for code in [200, 404, 418, 503] {
        assert_eq!(get(port, &format!("/status/{code}")).await.status.as_u16(), code);
    }
    for bad in ["/status/abc", "/status/99", "/status/100", "/delay/x", "/delay/-1", "/delay/NaN"] {
        assert_eq!(get(port, bad).await.status, StatusCode::BAD_REQUEST, "{bad}");
    }
    let mixed = get(port, "/status/200:0,503:1").await.status;
    assert_eq!(mixed, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(get(port, "/basic-auth/u/p").await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(get(port, "/redirect/3").await.status, StatusCode::FOUND);
}

#[tokio::test]
async fn delays_are_kept() {
    let port = start(router(Style::Classic)).await;
    let began = Instant::now();
    assert_eq!(get(port, "/delay/0.3").await.status, StatusCode::OK);
    assert!(began.elapsed() >= Duration::from_millis(300));
}
