//! How requests are traced.

use super::cluster::ClusterSlot;
use super::matcher::Fraction;
use crate::format::Format;
use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

/// Tracing of a connection manager.
#[derive(Debug)]
pub struct Tracing {
    /// Shares of requests, unless a route has its own.
    pub sampling: Sampling,
    /// Most bytes of a path in `http.url`; 256 by default.
    pub max_path: usize,
    /// Tags to add to spans.
    pub tags: Vec<TraceTag>,
    /// Requests to upstreams get a span of their own, below the request's.
    pub upstream_span: bool,
    /// Name of spans, where a route has none.
    pub operation: Option<Format>,
    /// Name of upstreams' spans, where a route has none.
    pub upstream_operation: Option<Format>,
    /// Whether requests are those of the workload's clients, not the workload's own.
    pub inbound: bool,
    /// Upstreams are told the trace.
    pub passes_on: bool,
    /// Mark the decision in `x-request-id`.
    pub mark_request_id: bool,
    /// The decision goes by `x-request-id`, where it is a UUID.
    pub by_request_id: bool,
    /// Who sends spans.
    pub tracer: Arc<Tracer>,
}

/// Shares of requests that are traced.
#[derive(Clone, Copy, Debug)]
pub struct Sampling {
    /// Of those with `x-client-trace-id`.
    pub client: Fraction,
    /// Of all others.
    pub random: Fraction,
    /// Of those that one of the two takes.
    pub overall: Fraction,
}

/// Tracing of a route.
#[derive(Debug)]
pub struct RouteTracing {
    /// Shares of requests.
    pub sampling: Sampling,
    /// Tags to add to spans; they replace the manager's of the same name.
    pub tags: Vec<TraceTag>,
    /// Name of spans.
    pub operation: Option<Format>,
    /// Name of upstreams' spans.
    pub upstream_operation: Option<Format>,
}

/// A tag to add to spans.
#[derive(Debug)]
pub struct TraceTag {
    /// Its name.
    pub name: Arc<str>,
    /// Where its value comes from.
    pub value: TagValue,
}

/// Where a tag's value comes from.
#[derive(Debug)]
pub enum TagValue {
    /// It is known.
    Literal(Arc<str>),
    /// A header of the request (lower case), and the value where it is missing; empty: no tag.
    Header(Box<str>, Arc<str>),
    /// A format. An empty text is no tag.
    Format(Format),
}

/// Sends spans to a collector.
#[derive(Debug)]
pub struct Tracer {
    /// The collector's cluster.
    pub cluster: Arc<ClusterSlot>,
    /// The collector's authority.
    pub authority: Bytes,
    /// The path that spans are sent to.
    pub path: Bytes,
    /// How long sending may take.
    pub timeout: Duration,
    /// Headers to send.
    pub headers: Vec<(Bytes, Bytes)>,
    /// How spans are written.
    pub protocol: TraceProtocol,
    /// Which headers carry the trace.
    pub propagation: Propagation,
    /// Trace ids have 128 bits.
    pub wide: bool,
    /// A server's span takes the id of its client's.
    pub shared: bool,
    /// The name of the service whose proxy this is; empty: it is not told.
    pub service: Arc<str>,
    /// What else is said about the service.
    pub resource: Vec<(String, String)>,
    /// The node's id.
    pub node: Arc<str>,
    /// Spans that may wait on a worker; more are dropped.
    pub most: usize,
    /// What became of spans.
    pub counts: TraceCounts,
}

/// What became of spans.
#[derive(Debug, Default)]
pub struct TraceCounts {
    /// Sent.
    pub sent: AtomicU64,
    /// Dropped, because too many waited or the collector did not take them.
    pub dropped: AtomicU64,
}

/// How spans are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TraceProtocol {
    /// Zipkin's JSON, version 2.
    Zipkin,
    /// OpenTelemetry over gRPC.
    OtlpGrpc,
    /// OpenTelemetry over HTTP, as protobuf.
    OtlpHttp,
}

/// Which headers carry a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    /// `x-b3-*` (and `b3`, where a client sends that).
    B3,
    /// `x-b3-*`, and `traceparent` as well.
    B3AndW3c,
    /// `traceparent`.
    W3c,
}
