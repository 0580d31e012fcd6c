//! What a span tells: Envoy's tags and those that the configuration adds.
//!
//! Source: Envoy, "Tracing: what data each trace contains".

use super::Trace;
use crate::config::{TagValue, TraceTag, Tracing};
use crate::format::Format;
use crate::http::{Headers, RequestHead};
use crate::request_info::LogContext;
use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// A finished span.
#[derive(Debug)]
pub struct Span {
    pub trace: u128,
    pub wide: bool,
    pub id: u64,
    pub parent: Option<u64>,
    pub shared: bool,
    pub name: String,
    pub server: bool,
    pub start: SystemTime,
    pub duration: Duration,
    /// Where the request was received.
    pub local: SocketAddr,
    pub error: bool,
    pub tags: Vec<(Name, String)>,
}

/// A tag's name.
#[derive(Clone, Debug)]
pub enum Name {
    Known(&'static str),
    Given(Arc<str>),
}

impl Name {
    pub fn as_str(&self) -> &str {
        match self {
            Name::Known(name) => name,
            Name::Given(name) => name,
        }
    }
}

/// The spans of a request: its own, and the upstream's where it has one.
pub fn of(trace: &Trace, tracing: &Tracing, context: &LogContext<'_>) -> Vec<Span> {
    let info = context.info;
    let server = tracing.inbound || tracing.upstream_span;
    let context_of = trace.context;
    let end = info.timings.end.unwrap_or_default();
    let own = Span {
        trace: context_of.trace,
        wide: context_of.wide,
        id: context_of.id,
        parent: context_of.parent,
        shared: context_of.shared,
        name: name(trace, tracing, context),
        server,
        start: info.start_wall,
        duration: end,
        local: info.connection.local,
        error: is_error(info.code),
        tags: tags(tracing, context),
    };
    let below = trace.below.map(|id| {
        let begin = trace.asked.min(end);
        let until = info.timings.upstream_last_rx.unwrap_or(end).max(begin);
        Span {
            id,
            parent: Some(own.id),
            shared: false,
            name: upstream_name(tracing, context),
            server: false,
            start: info.start_wall + begin,
            duration: until - begin,
            tags: upstream_tags(context),
            trace: own.trace,
            wide: own.wide,
            local: own.local,
            error: own.error,
        }
    });
    std::iter::once(own).chain(below).collect()
}

fn is_error(code: u16) -> bool {
    code == 0 || code >= 500
}

/// The route's operation, the manager's, what the other proxy calls it, the decorator's, or what Envoy calls it: `ingress`, `egress HOST`.
fn name(trace: &Trace, tracing: &Tracing, context: &LogContext<'_>) -> String {
    let route = context.info.route.as_ref();
    let of_route = route.and_then(|route| route.tracing.as_ref()?.operation.as_ref());
    if let Some(name) = formatted(of_route.or(tracing.operation.as_ref()), context) {
        return name;
    }
    let decorator = route.and_then(|route| route.decorator.as_ref()).map(|decorator| &decorator.operation);
    let told = trace.decoration.as_ref().and_then(|decoration| decoration.told.as_ref());
    if let Some(name) = told.or(decorator) {
        return String::from_utf8_lossy(name).into_owned();
    }
    match tracing.inbound {
        true => "ingress".to_owned(),
        false => {
            let host = context.request.map(|head| String::from_utf8_lossy(&head.authority));
            format!("egress {}", host.unwrap_or_default())
        }
    }
}

fn formatted(format: Option<&Format>, context: &LogContext<'_>) -> Option<String> {
    let mut out = Vec::new();
    format?.render(context, b"", &mut out);
    Some(String::from_utf8_lossy(&out).into_owned()).filter(|text| !text.is_empty())
}

/// The route's operation for upstreams, the manager's, or Envoy's.
fn upstream_name(tracing: &Tracing, context: &LogContext<'_>) -> String {
    let route = context.info.route.as_ref();
    let of_route = route.and_then(|route| route.tracing.as_ref()?.upstream_operation.as_ref());
    let given = formatted(of_route.or(tracing.upstream_operation.as_ref()), context);
    given.unwrap_or_else(|| {
        let cluster = context.info.upstream.cluster.as_ref().map_or("", |cluster| &*cluster.name);
        format!("router {cluster} egress")
    })
}

fn text(value: Option<&[u8]>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| String::from_utf8_lossy(value).into_owned())
}

fn url(tracing: &Tracing, head: &RequestHead) -> String {
    let original = head.headers.get("x-envoy-original-path").map(Cow::Borrowed);
    let path = original.unwrap_or_else(|| Cow::Borrowed(&head.path[..]));
    let path = &path[..path.len().min(tracing.max_path)];
    let scheme = head.headers.get("x-forwarded-proto").unwrap_or(head.scheme.as_str().as_bytes());
    [scheme, b"://", &head.authority, path].iter().map(|part| String::from_utf8_lossy(part)).collect()
}

fn tags(tracing: &Tracing, context: &LogContext<'_>) -> Vec<(Name, String)> {
    let info = context.info;
    let mut tags = Vec::with_capacity(24);
    let mut add = |name, value: String| tags.push((Name::Known(name), value));
    add("component", "proxy".to_owned());
    add("node_id", tracing.tracer.node.to_string());
    if let Some(head) = context.request {
        let header = |name| head.headers.get(name);
        if let Some(id) = header("x-request-id") {
            add("guid:x-request-id", text(Some(id)));
        }
        if let Some(id) = header("x-client-trace-id") {
            add("guid:x-client-trace-id", text(Some(id)));
        }
        add("http.url", url(tracing, head));
        add("http.method", head.method.to_string());
        add("downstream_cluster", text(header("x-envoy-downstream-service-cluster")));
        add("user_agent", text(header("user-agent")));
    }
    add("http.protocol", info.protocol.map_or("-", |protocol| protocol.as_str()).to_owned());
    add("peer.address", info.remote.ip().to_string());
    add("request_size", info.bytes.received.to_string());
    add("response_size", info.bytes.sent.to_string());
    tags.extend(upstream_tags(context));
    let route = info.route.as_ref().and_then(|route| route.tracing.as_ref());
    let of_route = route.map_or(&[][..], |route| &route.tags);
    let replaced = |tag: &&TraceTag| !of_route.iter().any(|other| other.name == tag.name);
    for tag in of_route.iter().chain(tracing.tags.iter().filter(replaced)) {
        if let Some(value) = custom(&tag.value, context) {
            tags.push((Name::Given(tag.name.clone()), value));
        }
    }
    tags
}

/// What both spans tell about the upstream.
fn upstream_tags(context: &LogContext<'_>) -> Vec<(Name, String)> {
    let info = context.info;
    let mut tags = Vec::with_capacity(8);
    let mut add = |name, value: String| tags.push((Name::Known(name), value));
    if let Some(cluster) = &info.upstream.cluster {
        add("upstream_cluster", cluster.name.to_string());
        add("upstream_cluster.name", cluster.stat_name.to_string());
    }
    if let Some(host) = info.upstream.host {
        add("upstream_address", host.to_string());
    }
    add("http.status_code", info.code.to_string());
    add("response_flags", info.flags.to_string());
    if info.grpc {
        let status = info.grpc_status.map_or_else(|| "-".to_owned(), |status| status.to_string());
        add("grpc.status_code", status);
        let of = |headers: &Headers| headers.get("grpc-message").map(|message| text(Some(message)));
        let response = context.response.map(|response| &response.headers);
        if let Some(message) = context.trailers.and_then(of).or_else(|| response.and_then(of)) {
            add("grpc.message", message);
        }
    }
    if is_error(info.code) {
        add("error", "true".to_owned());
    }
    tags
}

fn custom(value: &TagValue, context: &LogContext<'_>) -> Option<String> {
    match value {
        TagValue::Literal(text) => Some(text.to_string()),
        TagValue::Header(name, default) => {
            let found = context.request.and_then(|head| head.field(name));
            let found = found.map(|value| String::from_utf8_lossy(&value).into_owned());
            found.or_else(|| Some(default.to_string())).filter(|value| !value.is_empty())
        }
        TagValue::Format(format) => formatted(Some(format), context),
    }
}
