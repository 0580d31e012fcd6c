//! Answers that are asked for: statuses, delays, sizes, kinds.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, State};
use axum::http::header::{CONTENT_TYPE, HeaderName, LOCATION};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use axum::response::{Html, IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use futures::stream;
use rand::{Rng, RngCore};
use serde_json::json;

use super::Style;
use crate::server::{pod_name, pretty};

/// The longest delay, as the original has it.
const MAX_DELAY: f64 = 10.0;
/// The most bytes that are made.
const MAX_BYTES: usize = 100 * 1024;
/// The most lines that are streamed.
const MAX_LINES: usize = 100;

pub async fn index() -> Html<&'static str> {
    Html(
        "<!DOCTYPE html>\n<title>httpbin</title>\n<h1>httpbin</h1>\n<p>Try <a href=\"/headers\">/headers</a>, \
          <a href=\"/get\">/get</a>, <a href=\"/status/418\">/status/418</a> or <a href=\"/delay/1\">/delay/1</a>.</p>\n",
    )
}

/// `/status/503`, or one of several by weight: `/status/200:0.9,500:0.1`.
pub async fn status(Path(codes): Path<String>) -> Response {
    let mut choices: Vec<(StatusCode, f64)> = Vec::new();
    for part in codes.split(',') {
        let (code, weight) = part.split_once(':').unwrap_or((part, "1"));
        let code = code.trim().parse().ok().and_then(|n: u16| StatusCode::from_u16(n).ok());
        match (code, weight.trim().parse::<f64>()) {
            (Some(code), Ok(weight)) if weight >= 0.0 && weight.is_finite() => choices.push((code, weight)),
            _ => return (StatusCode::BAD_REQUEST, "Invalid status code\n").into_response(),
        }
    }
    let total: f64 = choices.iter().map(|(_, weight)| weight).sum();
    let mut at = if total > 0.0 { rand::rng().random_range(0.0..total) } else { 0.0 };
    let chosen = choices.iter().find(|(_, weight)| {
        at -= weight;
        at < 0.0
    });
    answer_with(chosen.or(choices.first()).map_or(StatusCode::OK, |(code, _)| *code))
}

fn answer_with(status: StatusCode) -> Response {
    match status.as_u16() {
        301 | 302 | 303 | 305 | 307 | 308 => (status, [(LOCATION, "/redirect/1")]).into_response(),
        401 => (status, [("www-authenticate", "Basic realm=\"Fake Realm\"")]).into_response(),
        418 => (status, "I'm a teapot!\n").into_response(),
        // An informational status cannot end an exchange.
        100..=199 => (StatusCode::BAD_REQUEST, "1xx is no final status\n").into_response(),
        _ => status.into_response(),
    }
}

pub async fn delay(
    Path(seconds): Path<String>,
    state: State<Style>,
    headers: HeaderMap,
    method: Method,
    uri: Uri,
) -> Response {
    let seconds: f64 = match seconds.trim_end_matches('s').parse() {
        Ok(seconds) if (0.0..=f64::MAX).contains(&seconds) => seconds,
        _ => return (StatusCode::BAD_REQUEST, "Invalid delay\n").into_response(),
    };
    tokio::time::sleep(Duration::from_secs_f64(seconds.min(MAX_DELAY))).await;
    super::inspect::get(state, headers, method, uri).await
}

pub async fn bytes(Path(count): Path<usize>) -> Response {
    let mut out = vec![0; count.min(MAX_BYTES)];
    rand::rng().fill_bytes(&mut out);
    ([(CONTENT_TYPE, "application/octet-stream")], out).into_response()
}

/// Lines of JSON, each in a chunk of its own.
pub async fn stream(Path(count): Path<usize>, headers: HeaderMap, uri: Uri) -> Response {
    let host =
        headers.get("host").map(|h| String::from_utf8_lossy(h.as_bytes()).into_owned()).unwrap_or_default();
    let lines = (0..count.min(MAX_LINES)).map(move |id| {
        let line = json!({"id": id, "url": format!("http://{host}{}", uri.path()), "args": {}});
        Ok::<_, Infallible>(Bytes::from(format!("{line}\n")))
    });
    ([(CONTENT_TYPE, "application/json")], Body::from_stream(stream::iter(lines))).into_response()
}

pub async fn redirect(Path(count): Path<u32>) -> Response {
    let next = if count <= 1 { "/get".to_owned() } else { format!("/redirect/{}", count - 1) };
    (StatusCode::FOUND, [(LOCATION, next)]).into_response()
}

pub async fn redirect_to(Query(query): Query<BTreeMap<String, String>>) -> Response {
    let status =
        query.get("status_code").and_then(|s| s.parse().ok()).and_then(|s: u16| StatusCode::from_u16(s).ok());
    let status = status.filter(StatusCode::is_redirection).unwrap_or(StatusCode::FOUND);
    match query.get("url").and_then(|url| HeaderValue::from_str(url).ok()) {
        Some(url) => (status, [(LOCATION, url)]).into_response(),
        None => (StatusCode::BAD_REQUEST, "url is missing\n").into_response(),
    }
}

/// The query's pairs as headers of the answer.
pub async fn response_headers(Query(pairs): Query<Vec<(String, String)>>) -> Response {
    let mut map: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, value) in &pairs {
        map.entry(name).or_default().push(value);
    }
    let mut response = pretty(StatusCode::OK, &json!(map));
    for (name, value) in &pairs {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::from_str(value)) {
            // What frames the answer is not the client's to say.
            if name != "content-length" && name != "transfer-encoding" && name != "connection" {
                response.headers_mut().append(name, value);
            }
        }
    }
    response
}

pub async fn uuid() -> Response {
    let mut b = [0_u8; 16];
    rand::rng().fill_bytes(&mut b);
    b[6] = (b[6] & 0x0f) | 0x40;
    b[8] = (b[8] & 0x3f) | 0x80;
    let hex: String = b.iter().map(|byte| format!("{byte:02x}")).collect();
    let uuid = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-");
    pretty(StatusCode::OK, &json!({"uuid": uuid}))
}

pub async fn base64(Path(text): Path<String>) -> Response {
    match URL_SAFE.decode(text) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned().into_response(),
        Err(_) => (StatusCode::BAD_REQUEST, "Invalid base64 data\n").into_response(),
    }
}

pub async fn html() -> Html<&'static str> {
    Html(
        "<!DOCTYPE html>\n<html>\n<head></head>\n<body>\n<h1>A page</h1>\n<p>It says very little.</p>\n</body>\n</html>\n",
    )
}

pub async fn json() -> Response {
    let value = json!({"slideshow": {"author": "Yours Truly", "date": "date of publication", "title": "Sample Slide Show",
        "slides": [{"title": "Wake up to WonderWidgets!", "type": "all"},
                   {"title": "Overview", "type": "all", "items": ["Why they are great", "Who buys them"]}]}});
    pretty(StatusCode::OK, &value)
}

pub async fn xml() -> Response {
    let text = "<?xml version='1.0' encoding='us-ascii'?>\n<slideshow title=\"Sample Slide Show\"/>\n";
    ([(CONTENT_TYPE, "application/xml")], text).into_response()
}

pub async fn hostname() -> Response {
    pretty(StatusCode::OK, &json!({"hostname": pod_name()}))
}

pub async fn environment() -> Response {
    let all: BTreeMap<String, String> =
        std::env::vars_os().map(|(k, v)| (k.to_string_lossy().into(), v.to_string_lossy().into())).collect();
    pretty(StatusCode::OK, &json!({"env": all}))
}
