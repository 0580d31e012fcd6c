//! Cross-origin resource sharing (Envoy's `envoy.filters.http.cors`).

use crate::config::CorsPolicy;
use crate::error::LocalReply;
use crate::http::exchange::Exchange;
use crate::http::{Headers, ResponseHead};
use crate::request_info::ResponseFlags;
use bytes::Bytes;
use std::sync::Arc;

fn policy<'a>(exchange: &'a Exchange<'_>, default: &'a Arc<CorsPolicy>) -> Option<&'a CorsPolicy> {
    let policy = exchange.matched.overrides().find_map(|level| level.cors.as_ref()).unwrap_or(default);
    let enabled = policy.enabled.is_none_or(|share| share.hits(exchange.connection.worker.random()));
    (!policy.allow_origins.is_empty() && enabled).then_some(policy)
}

fn allowed_origin<'a>(policy: &CorsPolicy, headers: &'a Headers) -> Option<&'a [u8]> {
    let origin = headers.get("origin")?;
    policy.allow_origins.iter().any(|matcher| matcher.matches(origin)).then_some(origin)
}

/// Answers a preflight request.
pub fn preflight(exchange: &mut Exchange<'_>, default: &Arc<CorsPolicy>) -> Option<LocalReply> {
    let headers = &exchange.head.headers;
    if exchange.head.method != http::Method::OPTIONS
        || !headers.contains("access-control-request-method")
        || !headers.contains("origin")
    {
        return None;
    }
    let policy = policy(exchange, default)?;
    let mut reply = LocalReply::new(200, "", ResponseFlags::default(), "cors_response");
    let Some(origin) = allowed_origin(policy, headers) else {
        return (!policy.forward_not_matching_preflights).then_some(reply);
    };
    let mut add = |name, value: Option<Bytes>| reply.headers.extend(value.map(|value| (name, value)));
    add("access-control-allow-origin", Some(Bytes::copy_from_slice(origin)));
    add("access-control-allow-methods", policy.allow_methods.clone());
    add("access-control-allow-headers", policy.allow_headers.clone());
    add("access-control-max-age", policy.max_age.clone());
    add("access-control-allow-credentials", policy.allow_credentials.then(|| Bytes::from_static(b"true")));
    Some(reply)
}

/// Adds what an allowed origin must be told to a response.
pub fn response(exchange: &Exchange<'_>, default: &Arc<CorsPolicy>, head: &mut ResponseHead) {
    let Some(policy) = policy(exchange, default) else { return };
    let Some(origin) = allowed_origin(policy, &exchange.head.headers) else { return };
    head.headers.set("access-control-allow-origin", Bytes::copy_from_slice(origin));
    if policy.allow_credentials {
        head.headers.set_static("access-control-allow-credentials", "true");
    }
    if let Some(expose) = &policy.expose_headers {
        head.headers.set("access-control-expose-headers", expose.clone());
    }
}
