//! Header edits of route, virtual host, route configuration and weighted cluster, in Envoy's order.

use super::routing::Matched;
use super::{Headers, RequestHead, ResponseHead};
use crate::config::{AppendAction, HeaderEdits, HeaderMutation, HeaderValue, LevelEdits};
use crate::request_info::{LogContext, RequestInfo};
use bytes::Bytes;

/// The levels that have edits: most specific first, or last where the configuration says that the most specific wins.
fn levels(matched: &Matched) -> impl Iterator<Item = &LevelEdits> {
    let weighted = matched.weighted().map(|entry| &entry.edits);
    let route = matched.route.as_ref().map(|route| &route.edits);
    let host = matched.host.as_ref().map(|host| &host.edits);
    let config = matched.table.as_ref().map(|table| &table.config);
    let reverse = config.is_some_and(|config| config.most_specific_wins);
    let mut all = [weighted, route, host, config.map(|config| &config.edits)];
    if reverse {
        all.reverse();
    }
    all.into_iter().flatten()
}

/// Edits a request's headers.
pub fn request(matched: &Matched, head: &mut RequestHead, info: &RequestInfo) {
    for level in levels(matched).filter(|level| !level.request.is_empty()) {
        remove(&level.request, &mut head.headers);
        for mutation in &level.request.add {
            let context = LogContext { info, request: Some(head), response: None, trailers: None };
            let Some(value) = value_of(mutation, &context) else { continue };
            match &mutation.name[..] {
                b"host" | b":authority" => head.authority = value,
                b":path" => head.path = value,
                _ => apply(mutation, value, &mut head.headers),
            }
        }
    }
}

/// Edits a response's headers.
pub fn response(matched: &Matched, request: &RequestHead, head: &mut ResponseHead, info: &RequestInfo) {
    for level in levels(matched).filter(|level| !level.response.is_empty()) {
        remove(&level.response, &mut head.headers);
        for mutation in &level.response.add {
            let context = LogContext { info, request: Some(request), response: Some(head), trailers: None };
            if let Some(value) = value_of(mutation, &context) {
                apply(mutation, value, &mut head.headers);
            }
        }
    }
}

fn remove(edits: &HeaderEdits, headers: &mut Headers) {
    for name in &edits.remove {
        headers.remove(name);
    }
}

/// The value to add; none when it is empty and not to be kept.
fn value_of(mutation: &HeaderMutation, context: &LogContext<'_>) -> Option<Bytes> {
    let value = match &mutation.value {
        HeaderValue::Literal(value) => value.clone(),
        HeaderValue::Format(format) => {
            let mut out = Vec::with_capacity(64);
            format.write(context, &mut out);
            // What a client sent may be told in a header, but must not make new ones.
            out.retain(|byte| !matches!(byte, b'\r' | b'\n' | 0));
            out.into()
        }
    };
    (!value.is_empty() || mutation.keep_empty).then_some(value)
}

fn apply(mutation: &HeaderMutation, value: Bytes, headers: &mut Headers) {
    let name = mutation.name.clone();
    let there = || std::str::from_utf8(&mutation.name).is_ok_and(|name| headers.contains(name));
    match mutation.action {
        AppendAction::AppendIfExistsOrAdd => headers.append_own(name, value),
        AppendAction::AddIfAbsent if there() => {}
        AppendAction::AddIfAbsent => headers.append_own(name, value),
        AppendAction::OverwriteIfExistsOrAdd => headers.set_own(name, value),
        AppendAction::OverwriteIfExists if there() => headers.set_own(name, value),
        AppendAction::OverwriteIfExists => {}
    }
}
