//! What the router does to a request before it goes upstream, and to a response before it goes back.

use super::exchange::Exchange;
use super::{RequestHead, ResponseHead, edits};
use crate::config::{Endpoint, HostRewrite, PathMatch, PathRewrite, RouteAction, RouteMatch, without_port};
use bytes::Bytes;
use std::time::Duration;

/// Edits the request as its route asks (Envoy's `finalizeRequestHeaders`): header edits, then host, then path.
pub fn request_headers(exchange: &mut Exchange<'_>, action: &RouteAction) {
    let Exchange { matched, head, info, .. } = exchange;
    edits::request(matched, head, info);
    let host = matched.weighted().and_then(|entry| entry.host_rewrite.clone());
    let host = host.or_else(|| rewritten_host(action.host_rewrite.as_ref(), head));
    if let Some(host) = host {
        set_authority(action, head, host);
    }
    let Some(route) = matched.route.as_ref() else { return };
    let suppress = exchange.connection.manager.suppress_envoy_headers;
    if let Some(rewrite) = &action.path_rewrite {
        let path = rewrite_path(rewrite, &route.matches, &head.path);
        if path != head.path {
            if !suppress && !head.headers.contains("x-envoy-original-path") {
                head.headers.append("x-envoy-original-path", head.path.clone());
            }
            head.path = path;
        }
    }
}

fn set_authority(action: &RouteAction, head: &mut RequestHead, host: Bytes) {
    if action.append_forwarded_host && head.authority != host {
        let value = match head.headers.joined("x-forwarded-host") {
            Some(old) if !old.is_empty() => Bytes::from([&old[..], b",", &head.authority].concat()),
            _ => head.authority.clone(),
        };
        head.headers.set("x-forwarded-host", value);
    }
    head.authority = host;
}

fn rewritten_host(rewrite: Option<&HostRewrite>, head: &RequestHead) -> Option<Bytes> {
    match rewrite? {
        HostRewrite::Literal(host) => Some(host.clone()),
        HostRewrite::Header(name) => {
            head.headers.get(name).filter(|host| !host.is_empty()).map(Bytes::copy_from_slice)
        }
        HostRewrite::PathRegex(regex, substitution) => {
            Some(regex.replace_all(head.path_only(), substitution).into())
        }
        // Known only with the endpoint.
        HostRewrite::Auto => None,
    }
}

/// Takes the endpoint's host name as the authority where the route asks for that.
pub fn auto_host(action: &RouteAction, head: &mut RequestHead, endpoint: &Endpoint) {
    if let (Some(HostRewrite::Auto), Some(hostname)) = (&action.host_rewrite, &endpoint.hostname) {
        set_authority(action, head, Bytes::copy_from_slice(hostname.as_bytes()));
    }
}

/// The rewritten path; the query stays.
pub fn rewrite_path(rewrite: &PathRewrite, matches: &RouteMatch, path: &Bytes) -> Bytes {
    let end = path.iter().position(|b| matches!(b, b'?' | b'#')).unwrap_or(path.len());
    let (only, rest) = path.split_at(end);
    match rewrite {
        PathRewrite::Full(new) => [&new[..], rest].concat().into(),
        PathRewrite::Regex(regex, substitution) => {
            let mut new = regex.replace_all(only, substitution);
            new.extend_from_slice(rest);
            new.into()
        }
        PathRewrite::Prefix(new) => {
            let matched = match &matches.path {
                PathMatch::Prefix(prefix) | PathMatch::SeparatedPrefix(prefix) => prefix.len(),
                PathMatch::Exact(_) => only.len(),
                PathMatch::Regex(_) | PathMatch::Connect => 0,
            };
            [&new[..], &path[matched.min(path.len())..]].concat().into()
        }
    }
}

/// `x-envoy-expected-rq-timeout-ms` and `x-envoy-attempt-count` of an attempt.
pub fn attempt_headers(exchange: &mut Exchange<'_>, timeout: Option<Duration>, attempt: u32) {
    let counted = exchange.matched.host.as_ref().is_some_and(|host| host.attempt_count_in_request);
    let headers = &mut exchange.head.headers;
    if counted {
        headers.set("x-envoy-attempt-count", itoa::Buffer::new().format(attempt).to_owned());
    }
    if exchange.connection.manager.suppress_envoy_headers {
        return;
    }
    match timeout {
        Some(timeout) => {
            let millis = timeout.as_millis().min(u128::from(u64::MAX)) as u64;
            let text = if millis == 15_000 {
                Bytes::from_static(b"15000")
            } else {
                Bytes::from(itoa::Buffer::new().format(millis).to_owned())
            };
            headers.set("x-envoy-expected-rq-timeout-ms", text);
        }
        None => {
            headers.remove("x-envoy-expected-rq-timeout-ms");
        }
    }
}

/// What the router adds to a response.
pub fn response_headers(exchange: &Exchange<'_>, head: &mut ResponseHead) {
    if exchange.info.upstream.attempts > 0
        && exchange.matched.host.as_ref().is_some_and(|host| host.attempt_count_in_response)
    {
        let attempts = itoa::Buffer::new().format(exchange.info.upstream.attempts).to_owned();
        head.headers.set("x-envoy-attempt-count", attempts);
    }
    if exchange.connection.manager.suppress_envoy_headers {
        return;
    }
    let timings = &exchange.info.timings;
    if let (Some(end), Some(first)) =
        (timings.request_end.or(Some(Duration::ZERO)), timings.upstream_first_rx)
    {
        let millis = first.saturating_sub(end).as_millis() as u64;
        head.headers.set("x-envoy-upstream-service-time", itoa::Buffer::new().format(millis).to_owned());
    }
}

/// The authority of a mirrored request: `host-shadow`, its port kept.
pub fn shadow_authority(authority: &Bytes) -> Bytes {
    let Ok(text) = std::str::from_utf8(authority) else { return authority.clone() };
    let host = without_port(text);
    [host.as_bytes(), b"-shadow", &text.as_bytes()[host.len()..]].concat().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_replaced_and_the_query_stays() {
        let matches = RouteMatch { path: PathMatch::Prefix("/api/".into()), ..RouteMatch::default() };
        let path = Bytes::from_static(b"/api/x?y=/api/");
        assert_eq!(rewrite_path(&PathRewrite::Prefix("/".into()), &matches, &path), "/x?y=/api/");
        let exact = RouteMatch { path: PathMatch::Exact("/a".into()), ..RouteMatch::default() };
        assert_eq!(rewrite_path(&PathRewrite::Prefix("/b".into()), &exact, &"/a?q".into()), "/b?q");
    }

    #[test]
    fn a_shadow_keeps_its_port() {
        assert_eq!(shadow_authority(&"a.com:80".into()), "a.com-shadow:80");
        assert_eq!(shadow_authority(&"a".into()), "a-shadow");
    }
}
