//! JSON Web Token authentication (Envoy's `envoy.filters.http.jwt_authn`).

mod extract;
pub mod remote;
mod verify;

use crate::config::{JwtFilter, JwtOverride, JwtProvider, JwtRequirement, PolicyOverride};
use crate::error::{Failure, LocalReply};
use crate::http::downstream::Downstream;
use crate::http::exchange::Exchange;
use crate::http::routing::route_matches;
use crate::http::{Headers, RequestHead};
use crate::jose::JwtError;
use crate::request_info::ResponseFlags;
use bytes::Bytes;
use serde_json::Value;
use std::sync::{Arc, LazyLock};
use std::time::{SystemTime, UNIX_EPOCH};
use verify::{Accepted, Evaluation, Unmet};

/// Where claims are told.
static NAMESPACE: LazyLock<Arc<str>> = LazyLock::new(|| "envoy.filters.http.jwt_authn".into());
/// Most of a path that is told back in `www-authenticate`.
const MAX_REALM_PATH: usize = 256;

/// Checks a request's tokens; a reply refuses it.
///
/// # Errors
/// The client went away while keys were fetched.
pub async fn check<D: Downstream>(
    exchange: &mut Exchange<'_>,
    name: &str,
    filter: &Arc<JwtFilter>,
    down: &mut D,
) -> Result<Option<LocalReply>, Failure> {
    if exchange.matched.is_disabled(name) {
        return Ok(None);
    }
    let stats = filter.stats.of(exchange.connection.worker.index);
    if filter.bypass_preflight && is_preflight(&exchange.head) {
        stats.cors_preflight_bypassed.inc();
        stats.allowed.inc();
        return Ok(None);
    }
    let requirement = match requirement(exchange, name, filter) {
        Ok(Some(requirement)) => requirement,
        Ok(None) => return Ok(None),
        Err(reply) => {
            stats.denied.inc();
            return Ok(Some(*reply));
        }
    };
    sanitize(filter, &mut exchange.head.headers);
    match evaluate(exchange, filter, requirement, down).await? {
        Ok(accepted) => {
            stats.allowed.inc();
            let mut again = false;
            for token in accepted {
                again |= apply(exchange, &filter.providers[token.provider], token);
            }
            if again {
                exchange.choose_route();
            }
            Ok(None)
        }
        Err(error) => {
            stats.denied.inc();
            tracing::debug!(connection = exchange.info.connection.id, %error, "token refused");
            Ok(Some(refusal(filter, &exchange.head, error)))
        }
    }
}

fn is_preflight(head: &RequestHead) -> bool {
    let given = |name| head.headers.get(name).is_some_and(|value| !value.is_empty());
    head.method == http::Method::OPTIONS && given("origin") && given("access-control-request-method")
}

/// What the route, or else the first rule that matches, requires.
fn requirement<'f>(
    exchange: &Exchange<'_>,
    name: &str,
    filter: &'f JwtFilter,
) -> Result<Option<&'f JwtRequirement>, Box<LocalReply>> {
    match exchange.matched.policy(name) {
        Some(PolicyOverride::Jwt(JwtOverride::Disabled)) => Ok(None),
        Some(PolicyOverride::Jwt(JwtOverride::Named(wanted))) => match filter.named.get(wanted) {
            Some(requirement) => Ok(Some(requirement)),
            None => {
                let body = format!("Failed JWT authentication: Wrong requirement_name: {wanted}.");
                let details = "jwt_authn_access_denied{Wrong_requirement_name}";
                let reply = LocalReply::new(403, "", ResponseFlags::default(), details);
                Err(Box::new(LocalReply { body: body.into(), ..reply }))
            }
        },
        _ => {
            let worker = &exchange.connection.worker;
            let rule = filter
                .rules
                .iter()
                .find(|rule| route_matches(&rule.matches, &exchange.head, &exchange.info.metadata, worker));
            Ok(rule.map(|rule| &rule.requires))
        }
    }
}

/// Headers that tell claims come from tokens alone.
fn sanitize(filter: &JwtFilter, headers: &mut Headers) {
    for provider in &filter.providers {
        if let Some((name, _)) = &provider.payload_header {
            headers.remove(name);
        }
        for (_, name) in &provider.claim_headers {
            headers.remove(name);
        }
    }
}

/// Evaluates the requirement, as often as keys had to be fetched for it.
async fn evaluate<D: Downstream>(
    exchange: &mut Exchange<'_>,
    filter: &JwtFilter,
    requirement: &JwtRequirement,
    down: &mut D,
) -> Result<Result<Vec<Accepted>, JwtError>, Failure> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let mut asked = Vec::new();
    loop {
        let head = &exchange.head;
        let mut evaluation = Evaluation { filter, head, now, asked: &asked, accepted: Vec::new() };
        match evaluation.meets(requirement) {
            Ok(()) => return Ok(Ok(evaluation.accepted)),
            Err(Unmet::Refused(error)) => return Ok(Err(error)),
            Err(Unmet::Keys(keys)) => {
                Box::pin(super::wait(exchange, down, keys.fetch())).await?;
                asked.push(keys);
            }
        }
    }
}

/// Does with an accepted token what its provider asks for; tells whether the route is to be chosen anew.
fn apply(exchange: &mut Exchange<'_>, provider: &JwtProvider, token: Accepted) -> bool {
    let Exchange { head, info, .. } = exchange;
    if let Some((name, padded)) = &provider.payload_header {
        let mut payload = token.payload;
        while *padded && !payload.len().is_multiple_of(4) {
            payload.push('=');
        }
        append(&mut head.headers, name, payload);
    }
    for (path, name) in &provider.claim_headers {
        if let Some(value) = claim(&token.claims, path).and_then(claim_text) {
            append(&mut head.headers, name, value);
        }
    }
    if !provider.forward {
        token.place.remove(head);
    }
    if let Some(field) = &provider.header_field {
        info.metadata.set(&NAMESPACE, field, Value::Object(token.header));
    }
    if let Some(field) = &provider.payload_field {
        let mut claims = token.claims;
        for name in &provider.spaced_claims {
            if let Some(Value::String(text)) = claims.get(&**name) {
                let words = text.split(' ').filter(|word| !word.is_empty()).map(Value::from).collect();
                claims.insert(name.to_string(), words);
            }
        }
        info.metadata.set(&NAMESPACE, field, Value::Object(claims));
    }
    provider.clear_route_cache
}

fn append(headers: &mut Headers, name: &str, value: String) {
    // What a token says may be told in a header, but must not make new ones.
    let value: Vec<u8> = value.into_bytes().into_iter().filter(|b| !matches!(b, b'\r' | b'\n' | 0)).collect();
    headers.append_own(Bytes::copy_from_slice(name.as_bytes()), value.into());
}

/// A claim by its path; a name with dots in it counts before a path.
fn claim<'a>(claims: &'a serde_json::Map<String, Value>, path: &[Box<str>]) -> Option<&'a Value> {
    let (first, rest) = path.split_first()?;
    rest.iter().try_fold(claims.get(&**first)?, |value, step| value.as_object()?.get(&**step))
}

/// A claim as a header's value: text, numbers, truth values; others in Base64, as in Envoy.
fn claim_text(value: &Value) -> Option<String> {
    use base64::Engine as _;
    match value {
        Value::String(text) => Some(text.clone()).filter(|text| !text.is_empty()),
        Value::Bool(value) => Some(value.to_string()),
        Value::Number(number) => Some(number.to_string()),
        Value::Null => None,
        other => Some(base64::engine::general_purpose::STANDARD.encode(other.to_string())),
    }
}

/// The answer to a request whose token is refused (RFC 6750, section 3).
fn refusal(filter: &JwtFilter, head: &RequestHead, error: JwtError) -> LocalReply {
    let message = error.to_string();
    let details = format!("jwt_authn_access_denied{{{}}}", message.replace(' ', "_"));
    let reply = LocalReply::new(error.status(), "", ResponseFlags::default(), "");
    let mut reply = LocalReply { details: details.into(), ..reply };
    if filter.quiet {
        return reply;
    }
    let path = head.headers.get("x-envoy-original-path").unwrap_or(&head.path);
    let path = &path[..path.len().min(MAX_REALM_PATH)];
    let mut challenge = format!("Bearer realm=\"{}://", head.scheme.as_str()).into_bytes();
    challenge.extend_from_slice(&head.authority);
    challenge.extend(path.iter().filter(|byte| **byte != b'"'));
    challenge.push(b'"');
    if error != JwtError::Missing {
        challenge.extend_from_slice(b", error=\"invalid_token\"");
    }
    reply.headers.push(("www-authenticate", challenge.into()));
    reply.body = message.into();
    reply
}
