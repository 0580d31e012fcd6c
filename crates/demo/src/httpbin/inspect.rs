//! Answers about the request.

use std::collections::BTreeMap;

use axum::body::Bytes;
use axum::extract::{Path, Query, RawQuery, State};
use axum::http::header::{
    AUTHORIZATION, CONTENT_TYPE, COOKIE, HOST, LOCATION, SET_COOKIE, USER_AGENT, WWW_AUTHENTICATE,
};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::Style;
use crate::server::{self, pretty};

/// One value, or the list of them in the style of Go.
fn values(style: Style, all: Vec<String>) -> Value {
    match style {
        Style::Go => all.into(),
        Style::Classic if all.len() == 1 => all.into_iter().next().into(),
        Style::Classic => all.into(),
    }
}

/// `x-request-id` -> `X-Request-Id`.
fn canonical(name: &str) -> String {
    let parts = name.split('-').map(|part| {
        let mut chars = part.chars();
        chars.next().map(|c| c.to_ascii_uppercase()).into_iter().chain(chars).collect::<String>()
    });
    parts.collect::<Vec<_>>().join("-")
}

fn header_map(style: Style, headers: &HeaderMap) -> Value {
    let mut out: BTreeMap<String, Value> = BTreeMap::new();
    for name in headers.keys() {
        let all = headers
            .get_all(name)
            .iter()
            .map(|v| String::from_utf8_lossy(v.as_bytes()).into_owned())
            .collect();
        let value = match style {
            Style::Go => values(style, all),
            Style::Classic => all.join(",").into(),
        };
        out.insert(canonical(name.as_str()), value);
    }
    json!(out)
}

/// Pairs of a query or form, in their groups.
fn groups(style: Style, pairs: Vec<(String, String)>) -> Value {
    let mut out: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in pairs {
        out.entry(name).or_default().push(value);
    }
    out.into_iter().map(|(name, all)| (name, values(style, all))).collect::<Map<_, _>>().into()
}

fn query(style: Style, uri: &Uri) -> Value {
    Query::<Vec<(String, String)>>::try_from_uri(uri)
        .map_or_else(|_| json!({}), |Query(pairs)| groups(style, pairs))
}

/// The client's address as proxies tell it.
fn origin(headers: &HeaderMap) -> String {
    let forwarded = headers.get("x-forwarded-for").and_then(|v| v.to_str().ok());
    forwarded.map_or_else(
        || "127.0.0.1".to_owned(),
        |list| list.split(',').next().unwrap_or_default().trim().to_owned(),
    )
}

fn url(headers: &HeaderMap, uri: &Uri) -> String {
    let text = |name| headers.get(name).and_then(|v: &HeaderValue| v.to_str().ok());
    let scheme = text("x-forwarded-proto").unwrap_or("http");
    let host = text(HOST.as_str()).or(uri.host()).unwrap_or("localhost");
    format!("{scheme}://{host}{}", uri.path_and_query().map_or("/", |p| p.as_str()))
}

fn common(style: Style, headers: &HeaderMap, uri: &Uri) -> Value {
    json!({
        "args": query(style, uri),
        "headers": header_map(style, headers),
        "origin": origin(headers),
        "url": url(headers, uri),
    })
}

pub async fn get(State(style): State<Style>, headers: HeaderMap, method: Method, uri: Uri) -> Response {
    let mut answer = common(style, &headers, &uri);
    if style == Style::Go {
        answer["method"] = method.as_str().into();
    }
    pretty(StatusCode::OK, &answer)
}

pub async fn with_body(
    State(style): State<Style>,
    headers: HeaderMap,
    method: Method,
    uri: Uri,
    body: Bytes,
) -> Response {
    let mut answer = common(style, &headers, &uri);
    let kind = headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let is_form = kind.starts_with("application/x-www-form-urlencoded");
    let form: Vec<(String, String)> = if is_form { server::form(&body) } else { Vec::new() };
    answer["data"] = if is_form { "".into() } else { String::from_utf8_lossy(&body).into() };
    answer["files"] = json!({});
    answer["form"] = groups(style, form);
    answer["json"] = serde_json::from_slice(&body).unwrap_or(Value::Null);
    if style == Style::Go {
        answer["method"] = method.as_str().into();
    }
    pretty(StatusCode::OK, &answer)
}

pub async fn anything(
    state: State<Style>,
    headers: HeaderMap,
    method: Method,
    uri: Uri,
    body: Bytes,
) -> Response {
    let named = method.as_str().to_owned();
    let response = with_body(state, headers, method, uri, body).await;
    let (parts, body) = response.into_parts();
    let Ok(bytes) = axum::body::to_bytes(body, usize::MAX).await else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let mut answer: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    answer["method"] = named.into();
    pretty(parts.status, &answer)
}

pub async fn headers(State(style): State<Style>, headers: HeaderMap) -> Response {
    pretty(StatusCode::OK, &json!({"headers": header_map(style, &headers)}))
}

pub async fn ip(headers: HeaderMap) -> Response {
    pretty(StatusCode::OK, &json!({"origin": origin(&headers)}))
}

pub async fn user_agent(headers: HeaderMap) -> Response {
    let agent = headers.get(USER_AGENT).map(|v| String::from_utf8_lossy(v.as_bytes()));
    pretty(StatusCode::OK, &json!({"user-agent": agent}))
}

fn cookie_map(headers: &HeaderMap) -> Map<String, Value> {
    let lines = headers.get_all(COOKIE).iter().filter_map(|v| v.to_str().ok());
    let pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), value.into())).collect()
}

pub async fn cookies(State(style): State<Style>, headers: HeaderMap) -> Response {
    let all = Value::Object(cookie_map(&headers));
    match style {
        Style::Classic => pretty(StatusCode::OK, &json!({"cookies": all})),
        Style::Go => pretty(StatusCode::OK, &all),
    }
}

pub async fn set_cookies(RawQuery(query): RawQuery) -> Response {
    let mut response = (StatusCode::FOUND, [(LOCATION, "/cookies")]).into_response();
    for pair in query.unwrap_or_default().split('&').filter(|pair| pair.contains('=')) {
        if let Ok(value) = HeaderValue::from_str(&format!("{pair}; Path=/")) {
            response.headers_mut().append(SET_COOKIE, value);
        }
    }
    response
}

pub async fn basic_auth(Path((user, password)): Path<(String, String)>, headers: HeaderMap) -> Response {
    let given =
        headers.get(AUTHORIZATION).and_then(|v| v.to_str().ok()).and_then(|v| v.strip_prefix("Basic "));
    if given == Some(&STANDARD.encode(format!("{user}:{password}"))) {
        return pretty(StatusCode::OK, &json!({"authenticated": true, "user": user}));
    }
    let challenge = [(WWW_AUTHENTICATE, "Basic realm=\"Fake Realm\"")];
    (StatusCode::UNAUTHORIZED, challenge).into_response()
}

pub async fn bearer(headers: HeaderMap) -> Response {
    let given =
        headers.get(AUTHORIZATION).and_then(|v| v.to_str().ok()).and_then(|v| v.strip_prefix("Bearer "));
    match given {
        Some(token) => pretty(StatusCode::OK, &json!({"authenticated": true, "token": token})),
        None => (StatusCode::UNAUTHORIZED, [(WWW_AUTHENTICATE, "Bearer")]).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_names_are_shown_in_their_usual_case() {
        assert_eq!(canonical("x-b3-traceid"), "X-B3-Traceid");
        assert_eq!(canonical("host"), "Host");
    }
}
