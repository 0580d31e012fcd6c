//! Zipkin's JSON, version 2 (openzipkin/zipkin-api, `zipkin2-api.yaml`).

use super::span::Span;
use crate::config::Tracer;
use serde_json::{Map, Value, json};
use std::net::IpAddr;
use std::time::UNIX_EPOCH;

/// A batch of spans.
pub fn encode(tracer: &Tracer, batch: &[Span]) -> Vec<u8> {
    Value::Array(batch.iter().map(|span| write(tracer, span)).collect()).to_string().into_bytes()
}

fn write(tracer: &Tracer, span: &Span) -> Value {
    let trace = if span.wide { format!("{:032x}", span.trace) } else { format!("{:016x}", span.trace) };
    let micros = span.start.duration_since(UNIX_EPOCH).unwrap_or_default().as_micros() as u64;
    let family = match span.local.ip() {
        IpAddr::V4(_) => "ipv4",
        IpAddr::V6(_) => "ipv6",
    };
    let tags: Map<String, Value> =
        span.tags.iter().map(|(name, value)| (name.as_str().to_owned(), value.as_str().into())).collect();
    let mut out = json!({
        "traceId": trace,
        "id": format!("{:016x}", span.id),
        "name": span.name,
        "kind": if span.server { "SERVER" } else { "CLIENT" },
        "timestamp": micros,
        // Zero would say that it is not known.
        "duration": (span.duration.as_micros() as u64).max(1),
        "localEndpoint": {
            "serviceName": &*tracer.service,
            family: span.local.ip().to_string(),
            "port": span.local.port(),
        },
        "tags": tags,
    });
    if let Some(parent) = span.parent {
        out["parentId"] = format!("{parent:016x}").into();
    }
    if span.shared {
        out["shared"] = true.into();
    }
    out
}
