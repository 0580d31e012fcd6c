//! Redirects.

use super::{RequestHead, egress};
use crate::config::{Redirect, RouteMatch, without_port};
use crate::error::LocalReply;
use crate::request_info::ResponseFlags;
use bytes::Bytes;

/// The answer that redirects a request.
pub fn reply(redirect: &Redirect, matches: &RouteMatch, head: &RequestHead) -> LocalReply {
    let authority = String::from_utf8_lossy(&head.authority);
    let scheme = redirect.scheme.as_deref().unwrap_or(head.scheme.as_str());
    let host = redirect.host.as_deref().unwrap_or_else(|| without_port(&authority));
    let old_port =
        authority[without_port(&authority).len()..].strip_prefix(':').and_then(|port| port.parse().ok());
    let kept = match redirect.scheme.as_deref() {
        // A port that was the old scheme's own is not kept with the new one.
        Some("https") if old_port == Some(80) => None,
        Some("http") if old_port == Some(443) => None,
        _ => old_port,
    };
    let port = redirect.port.or(kept.filter(|_| redirect.host.is_none()));
    let port = port
        .filter(|port| !matches!((scheme, port), ("http", 80) | ("https", 443)) || redirect.port.is_none());
    let mut path = match &redirect.path {
        Some(rewrite) => egress::rewrite_path(rewrite, matches, &head.path),
        None => head.path.clone(),
    };
    if redirect.strip_query {
        let end = memchr::memchr(b'?', &path).unwrap_or(path.len());
        path.truncate(end);
    }
    let mut location = format!("{scheme}://{host}").into_bytes();
    if let Some(port) = port {
        location.extend_from_slice(format!(":{port}").as_bytes());
    }
    location.extend_from_slice(&path);
    let mut reply = LocalReply::new(redirect.status, "", ResponseFlags::default(), "direct_response");
    reply.headers.push(("location", location.into()));
    reply
}

/// The answer that sends a plain request to https.
pub fn to_https(head: &RequestHead) -> LocalReply {
    let location = [b"https://", &head.authority[..], &head.path].concat();
    let mut reply = LocalReply::new(301, "", ResponseFlags::default(), "direct_response");
    reply.headers.push(("location", Bytes::from(location)));
    reply
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::PathRewrite;
    use crate::http::{Headers, Scheme};

    fn location(redirect: Redirect, authority: &'static str, path: &'static str) -> String {
        let head = RequestHead {
            method: http::Method::GET,
            authority: authority.into(),
            path: path.into(),
            scheme: Scheme::Http,
            headers: Headers::new(),
        };
        let reply = reply(&redirect, &RouteMatch::default(), &head);
        String::from_utf8(reply.headers[0].1.to_vec()).unwrap()
    }

    #[test]
    fn parts_that_are_not_named_stay() {
        let redirect = || Redirect { status: 301, ..Redirect::default() };
        let new = Redirect { host: Some("b".into()), ..redirect() };
        assert_eq!(location(new, "a:8080", "/x?y"), "http://b/x?y");
        let new = Redirect { scheme: Some("https".into()), ..redirect() };
        assert_eq!(location(new, "a:80", "/x"), "https://a/x");
        let new = Redirect { port: Some(8443), strip_query: true, ..redirect() };
        assert_eq!(location(new, "a", "/x?y"), "http://a:8443/x");
        let new = Redirect { path: Some(PathRewrite::Full("/n".into())), ..redirect() };
        assert_eq!(location(new, "a", "/x?y"), "http://a/n?y");
    }
}
