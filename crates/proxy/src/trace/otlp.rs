//! OpenTelemetry's protocol (`opentelemetry/proto/collector/trace/v1/trace_service.proto`), as far as spans need it.

use super::span::Span;
use crate::config::Tracer;
use prost::{Enumeration, Message, Oneof};
use std::time::{SystemTime, UNIX_EPOCH};

/// `ExportTraceServiceRequest`.
#[derive(Clone, PartialEq, Message)]
pub struct Export {
    #[prost(message, repeated, tag = "1")]
    pub resource_spans: Vec<ResourceSpans>,
}

#[derive(Clone, PartialEq, Message)]
pub struct ResourceSpans {
    #[prost(message, optional, tag = "1")]
    pub resource: Option<Resource>,
    #[prost(message, repeated, tag = "2")]
    pub scope_spans: Vec<ScopeSpans>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Resource {
    #[prost(message, repeated, tag = "1")]
    pub attributes: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, Message)]
pub struct ScopeSpans {
    #[prost(message, repeated, tag = "2")]
    pub spans: Vec<OtelSpan>,
}

#[derive(Clone, PartialEq, Message)]
pub struct OtelSpan {
    #[prost(bytes = "vec", tag = "1")]
    pub trace_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub span_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    pub parent_span_id: Vec<u8>,
    #[prost(string, tag = "5")]
    pub name: String,
    #[prost(enumeration = "SpanKind", tag = "6")]
    pub kind: i32,
    #[prost(fixed64, tag = "7")]
    pub start_time_unix_nano: u64,
    #[prost(fixed64, tag = "8")]
    pub end_time_unix_nano: u64,
    #[prost(message, repeated, tag = "9")]
    pub attributes: Vec<KeyValue>,
    #[prost(message, optional, tag = "15")]
    pub status: Option<Status>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub enum SpanKind {
    Unspecified = 0,
    Server = 2,
    Client = 3,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub struct Status {
    #[prost(enumeration = "StatusCode", tag = "3")]
    pub code: i32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub enum StatusCode {
    Unset = 0,
    Error = 2,
}

#[derive(Clone, PartialEq, Message)]
pub struct KeyValue {
    #[prost(string, tag = "1")]
    pub key: String,
    #[prost(message, optional, tag = "2")]
    pub value: Option<AnyValue>,
}

#[derive(Clone, PartialEq, Message)]
pub struct AnyValue {
    #[prost(oneof = "Kind", tags = "1")]
    pub value: Option<Kind>,
}

#[derive(Clone, PartialEq, Oneof)]
pub enum Kind {
    #[prost(string, tag = "1")]
    Text(String),
}

/// A batch of spans.
pub fn encode(tracer: &Tracer, batch: &[Span]) -> Vec<u8> {
    let name = Some(&tracer.service).filter(|name| !name.is_empty());
    let mut attributes: Vec<_> = name.map(|name| attribute("service.name", name)).into_iter().collect();
    attributes.extend(tracer.resource.iter().map(|(key, value)| attribute(key, value)));
    let export = Export {
        resource_spans: vec![ResourceSpans {
            resource: Some(Resource { attributes }),
            scope_spans: vec![ScopeSpans { spans: batch.iter().map(write).collect() }],
        }],
    };
    export.encode_to_vec()
}

fn attribute(key: &str, value: &str) -> KeyValue {
    let value = AnyValue { value: Some(Kind::Text(value.to_owned())) };
    KeyValue { key: key.to_owned(), value: Some(value) }
}

fn nanos(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as u64
}

fn write(span: &Span) -> OtelSpan {
    OtelSpan {
        trace_id: span.trace.to_be_bytes().to_vec(),
        span_id: span.id.to_be_bytes().to_vec(),
        parent_span_id: span.parent.map(|id| id.to_be_bytes().to_vec()).unwrap_or_default(),
        name: span.name.clone(),
        kind: if span.server { SpanKind::Server } else { SpanKind::Client } as i32,
        start_time_unix_nano: nanos(span.start),
        end_time_unix_nano: nanos(span.start + span.duration),
        attributes: span.tags.iter().map(|(name, value)| attribute(name.as_str(), value)).collect(),
        status: span.error.then_some(Status { code: StatusCode::Error as i32 }),
    }
}
