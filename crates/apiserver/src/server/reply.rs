//! Answers.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use http::{HeaderMap, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use serde_json::Value;

use crate::status::ApiError;

/// The body of an answer.
pub type Body = UnsyncBoxBody<Bytes, std::io::Error>;
/// An answer.
pub type Reply = Response<Body>;

/// A whole body.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// Bytes of a type.
pub fn bytes(code: StatusCode, content_type: &str, body: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(full(body));
    *reply.status_mut() = code;
    let headers = reply.headers_mut();
    if let Ok(value) = HeaderValue::from_str(content_type) {
        headers.insert(CONTENT_TYPE, value);
    }
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    reply
}

/// JSON text.
pub fn json_text(code: StatusCode, text: impl Into<Bytes>) -> Reply {
    bytes(code, "application/json", text)
}

/// JSON.
pub fn json(code: StatusCode, value: &Value) -> Reply {
    json_text(code, value.to_string())
}

/// An error.
pub fn error(error: &ApiError) -> Reply {
    if error.is_no_path() {
        // As Go's servers say it; clients word it themselves.
        return bytes(error.code, "text/plain; charset=utf-8", "404 page not found\n");
    }
    let mut reply = json(error.code, &error.to_status());
    if error.code == StatusCode::UNAUTHORIZED {
        reply.headers_mut().insert(http::header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    reply
}

/// Adds warnings for the client's user, in the form of RFC 7234's header.
pub fn warn(headers: &mut HeaderMap, warnings: &[String]) {
    for warning in warnings {
        let clean: String = warning.chars().map(|c| if c.is_control() { ' ' } else { c }).take(512).collect();
        let quoted = clean.replace('\\', "\\\\").replace('"', "\\\"");
        if let Ok(value) = HeaderValue::from_bytes(format!("299 - \"{quoted}\"").as_bytes()) {
            headers.append(HeaderName::from_static("warning"), value);
        }
    }
}
