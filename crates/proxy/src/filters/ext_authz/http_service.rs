//! Asking an HTTP server: the request's head under another path.

use super::body::Body;
use super::verdict::{Allowed, Denied, HeaderEdit, TIMED_OUT, Verdict};
use super::{MAX_ANSWER, grpc, request};
use crate::config::{AppendAction, ExtAuthzFilter, HttpAuthz, StringMatcher};
use crate::http::exchange::Exchange;
use crate::http::{Headers, RequestHead};
use crate::upstream::call::{Answer, Call, call};
use crate::worker::Worker;
use bytes::Bytes;
use http::HeaderValue;
use serde_json::{Map, Value};

/// Headers that are told whatever is allowed, beside method, path and host.
const ALWAYS: [&[u8]; 1] = [b"authorization"];
/// Headers of one connection or message, which say nothing of another.
const FRAMING: [&[u8]; 8] = [
    b"connection",
    b"content-length",
    b"keep-alive",
    b"proxy-connection",
    b"te",
    b"trailer",
    b"transfer-encoding",
    b"upgrade",
];
/// Headers of a refusal that go to the client whatever is allowed.
const ALWAYS_TO_CLIENT: [&[u8]; 2] = [b"www-authenticate", b"location"];

/// The request to the server.
pub(super) fn request(
    exchange: &Exchange<'_>,
    filter: &ExtAuthzFilter,
    service: &HttpAuthz,
    body: Option<&Body>,
) -> (RequestHead, Bytes) {
    let head = &exchange.head;
    let mut headers = Headers::new();
    for (name, value) in head.headers.iter() {
        let told = match &filter.allowed_headers {
            // Nothing that was not asked for goes to an HTTP server.
            None => ALWAYS.contains(&name),
            Some(_) => ALWAYS.contains(&name) || request::is_told(filter, name),
        };
        if told && !FRAMING.contains(&name) && !filter.disallowed_headers.iter().any(|no| no.matches(name)) {
            headers.append_own(Bytes::copy_from_slice(name), Bytes::copy_from_slice(value));
        }
    }
    for (name, value) in &service.headers_to_add {
        headers.set_own(name.clone(), value.clone());
    }
    let bytes = body.map(|body| body.bytes.clone()).unwrap_or_default();
    if let Some(body) = body {
        headers.set_static("x-envoy-auth-partial-body", if body.cut { "true" } else { "false" });
    }
    headers.set("content-length", itoa::Buffer::new().format(bytes.len()).to_owned());
    let path = match &service.path_override {
        Some(path) => path.clone(),
        None if service.path_prefix.is_empty() => head.path.clone(),
        None => [service.path_prefix.as_bytes(), &head.path].concat().into(),
    };
    let asked = RequestHead {
        method: head.method.clone(),
        authority: head.authority.clone(),
        path,
        scheme: head.scheme,
        headers,
    };
    (asked, bytes)
}

/// Asks, and reads the answer: 200 is yes, a server's error none, everything else no.
pub(super) async fn ask(worker: &Worker, service: &HttpAuthz, (head, body): (RequestHead, Bytes)) -> Verdict {
    let asked = Call { head: &head, body, http2: false, limit: service.timeout, most: MAX_ANSWER };
    match call(worker, &service.cluster, asked).await {
        Ok(answer) if answer.head.status >= 500 => Verdict::Error("the service answered with an error"),
        Ok(answer) if answer.head.status == 200 => Verdict::Ok(Box::new(allowed(service, &answer))),
        Ok(answer) => Verdict::Denied(Box::new(denied(service, answer))),
        Err(failure) => match grpc::reason(&failure) {
            TIMED_OUT => Verdict::Error(TIMED_OUT),
            reason => Verdict::Error(reason),
        },
    }
}

fn any(list: &[StringMatcher], name: &[u8]) -> bool {
    list.iter().any(|matcher| matcher.matches(name))
}

fn edit(name: &[u8], value: &[u8], action: AppendAction) -> HeaderEdit {
    HeaderEdit { name: Bytes::copy_from_slice(name), value: Bytes::copy_from_slice(value), action }
}

fn allowed(service: &HttpAuthz, answer: &Answer) -> Allowed {
    let mut allowed = Allowed { metadata: metadata(service, &answer.head.headers), ..Allowed::default() };
    for (name, value) in answer.head.headers.iter() {
        if name == b"x-envoy-auth-headers-to-remove" {
            let names = String::from_utf8_lossy(value);
            let names = names.split(',').map(|name| name.trim().to_owned());
            allowed.remove.extend(names.filter(|name| !name.is_empty()));
        }
        if FRAMING.contains(&name) {
            continue;
        }
        if any(&service.upstream_headers, name) {
            allowed.headers.push(edit(name, value, AppendAction::OverwriteIfExistsOrAdd));
        } else if any(&service.upstream_append, name) {
            allowed.headers.push(edit(name, value, AppendAction::AppendIfExistsOrAdd));
        }
        if any(&service.client_success_headers, name) {
            allowed.response.push(edit(name, value, AppendAction::AppendIfExistsOrAdd));
        }
    }
    allowed
}

fn denied(service: &HttpAuthz, answer: Answer) -> Denied {
    let headers = answer.head.headers.iter().filter(|(name, _)| match &service.client_headers {
        None => *name != b"host",
        Some(list) => ALWAYS_TO_CLIENT.contains(name) || any(list, name),
    });
    let headers = headers.map(|(name, value)| edit(name, value, AppendAction::AppendIfExistsOrAdd));
    Denied {
        status: answer.head.status,
        headers: for_client(headers.collect()),
        metadata: metadata(service, &answer.head.headers),
        body: answer.body,
    }
}

/// Headers of a refusal as they go to the client: each name replaces what is there, and may come several times. What
/// cannot stand in a message, or frames it, is left out.
pub(super) fn for_client(mut headers: Vec<HeaderEdit>) -> Vec<HeaderEdit> {
    headers.retain(|edit| {
        !edit.name.starts_with(b":")
            && !FRAMING.contains(&&edit.name[..])
            && http::HeaderName::from_bytes(&edit.name).is_ok()
            && HeaderValue::from_bytes(&edit.value).is_ok()
    });
    for at in 0..headers.len() {
        let again = headers[..at].iter().any(|before| before.name == headers[at].name);
        headers[at].action =
            if again { AppendAction::AppendIfExistsOrAdd } else { AppendAction::OverwriteIfExistsOrAdd };
    }
    headers
}

fn metadata(service: &HttpAuthz, headers: &Headers) -> Map<String, Value> {
    let told = headers.iter().filter(|(name, _)| any(&service.metadata_headers, name));
    told.map(|(name, value)| {
        (String::from_utf8_lossy(name).into_owned(), Value::from(String::from_utf8_lossy(value)))
    })
    .collect()
}
