//! Tracing in ProxyConfig, which the Telemetry resource has come to replace.

use std::collections::BTreeMap;

use crate::networking::traffic_policy::ClientTlsSettings;
use crate::telemetry::{LiteralTag, NamedTag};
use crate::wire::message::{enumeration, message, oneof};

message! {
    /// How a proxy traces requests.
    pub struct Tracing {
        /// Tags to add to spans.
        custom_tags: BTreeMap<String, ProxyCustomTag>,
        /// How much of a path is kept: 256.
        max_path_tag_length: u32,
        /// The share of requests that are traced, 0.0 to 100.0: 1.0.
        sampling: f64,
        /// How the connection is secured.
        tls_settings: Option<ClientTlsSettings>,
        /// Whether Istio's own tags are added; true by default.
        enable_istio_tags: Option<bool>,
    }
    oneof {
        /// Where spans are sent.
        tracer: Tracer,
    }
}

oneof! {
    /// Where spans are sent.
    pub enum Tracer {
        /// Zipkin.
        zipkin: Zipkin(TracerAddress),
        /// Deprecated: Lightstep.
        lightstep: Lightstep(LightstepTracer),
        /// Datadog.
        datadog: Datadog(TracerAddress),
        /// Stackdriver.
        stackdriver: Stackdriver(StackdriverTracer),
        /// An OpenCensus agent.
        open_census_agent: OpenCensusAgent(OpenCensusAgent),
    }
}

message! {
    /// Where a tracer is.
    pub struct TracerAddress {
        /// Its address.
        address: String,
    }
}

message! {
    /// A Lightstep tracer.
    pub struct LightstepTracer {
        /// Its address.
        address: String,
        /// The access token.
        access_token: String,
    }
}

message! {
    /// A Stackdriver tracer.
    pub struct StackdriverTracer {
        /// Whether spans are printed.
        debug: bool,
        /// The most attributes: 200.
        max_number_of_attributes: Option<i64>,
        /// The most annotations: 200.
        max_number_of_annotations: Option<i64>,
        /// The most message events: 200.
        max_number_of_message_events: Option<i64>,
    }
}

message! {
    /// An OpenCensus agent.
    pub struct OpenCensusAgent {
        /// Its address.
        address: String,
        /// The headers that carry the trace.
        context: Vec<TraceContext>,
    }
}

enumeration! {
    /// Headers that carry a trace.
    pub enum TraceContext {
        /// Not said.
        Unspecified = 0 "UNSPECIFIED",
        /// `traceparent`.
        W3c = 1 "W3C_TRACE_CONTEXT",
        /// `grpc-trace-bin`.
        GrpcBin = 2 "GRPC_BIN",
        /// `X-Cloud-Trace-Context`.
        CloudTrace = 3 "CLOUD_TRACE_CONTEXT",
        /// `X-B3-*`.
        B3 = 4 "B3",
    }
}

oneof! {
    /// Where the value of a tag comes from.
    pub message enum ProxyCustomTag {
        /// It is given.
        literal: Literal(LiteralTag),
        /// An environment variable of the proxy.
        environment: Environment(NamedTag),
        /// A header of the request.
        header: Header(NamedTag),
        /// A format, as for access logs.
        formatter: Formatter(LiteralTag),
    }
}
