//! Extension providers: what the mesh may call for authorization, traces, metrics and logs.

use std::collections::BTreeMap;

use super::FreeForm;
use super::tracing::TraceContext;
use crate::networking::workload_group::HttpHeader;
use crate::wire::duration::Duration;
use crate::wire::message::{enumeration, message, oneof};

message! {
    /// A provider, named by other resources.
    pub struct ExtensionProvider {
        /// Its name, which must be its own.
        name: String,
    }
    oneof {
        /// What it is.
        provider: Provider,
    }
}

oneof! {
    /// What a provider is.
    pub enum Provider {
        /// External authorization by HTTP.
        envoy_ext_authz_http: ExtAuthzHttp(ExtAuthzHttp),
        /// External authorization by gRPC.
        envoy_ext_authz_grpc: ExtAuthzGrpc(ExtAuthzGrpc),
        /// Traces to Zipkin.
        zipkin: Zipkin(ZipkinProvider),
        /// Deprecated: traces to Lightstep.
        lightstep: Lightstep(TokenTracer),
        /// Traces to Datadog.
        datadog: Datadog(TokenTracer),
        /// Stackdriver.
        stackdriver: Stackdriver(FreeForm),
        /// Deprecated: traces to OpenCensus.
        opencensus: OpenCensus(OpenCensusProvider),
        /// Traces to SkyWalking.
        skywalking: SkyWalking(TokenTracer),
        /// Traces to OpenTelemetry.
        opentelemetry: OpenTelemetry(OpenTelemetryProvider),
        /// Metrics for Prometheus.
        prometheus: Prometheus(FreeForm),
        /// Access logs in a file.
        envoy_file_access_log: FileAccessLog(FileAccessLog),
        /// Access logs of HTTP to a service.
        envoy_http_als: HttpAccessLog(GrpcAccessLog),
        /// Access logs of TCP to a service.
        envoy_tcp_als: TcpAccessLog(GrpcAccessLog),
        /// Access logs to OpenTelemetry.
        envoy_otel_als: OtelAccessLog(OtelAccessLog),
        /// Secrets by SDS.
        sds: Sds(ServiceAddress),
    }
}

message! {
    /// A service.
    pub struct ServiceAddress {
        /// Its host, with or without a namespace (`namespace/host`).
        service: String,
        /// Its port.
        port: u32,
        /// The provider's name for it.
        name: String,
    }
}

message! {
    /// External authorization by HTTP.
    pub struct ExtAuthzHttp {
        /// The service's host, with or without a namespace (`namespace/host`).
        service: String,
        /// Its port.
        port: u32,
        /// How long it may take: 600 s.
        timeout: Option<Duration>,
        /// What is put before the path.
        path_prefix: String,
        /// Whether requests pass when the service fails.
        fail_open: bool,
        /// Whether the route is chosen again afterwards.
        clear_route_cache: bool,
        /// The status when the service fails: 403.
        status_on_error: String,
        /// Deprecated: use includeRequestHeadersInCheck.
        include_headers_in_check: Vec<String>,
        /// Headers of the request that the service sees.
        include_request_headers_in_check: Vec<String>,
        /// Further headers that the service sees.
        include_additional_headers_in_check: BTreeMap<String, String>,
        /// Whether the service sees the body.
        include_request_body_in_check: Option<ExtAuthzBody>,
        /// Headers of the service's answer that are forwarded.
        headers_to_upstream_on_allow: Vec<String>,
        /// Headers of the service's answer that the client sees when it is refused.
        headers_to_downstream_on_deny: Vec<String>,
        /// Headers of the service's answer that the client sees when it is let pass.
        headers_to_downstream_on_allow: Vec<String>,
    }
}

message! {
    /// How much of a body is seen.
    pub struct ExtAuthzBody {
        /// At most so many bytes.
        max_request_bytes: u32,
        /// Whether longer bodies are cut instead of refused.
        allow_partial_message: bool,
        /// Whether it is sent as bytes.
        pack_as_bytes: bool,
    }
}

message! {
    /// External authorization by gRPC.
    pub struct ExtAuthzGrpc {
        /// The service's host, with or without a namespace (`namespace/host`).
        service: String,
        /// Its port.
        port: u32,
        /// How long it may take: 600 s.
        timeout: Option<Duration>,
        /// Whether requests pass when the service fails.
        fail_open: bool,
        /// Whether the route is chosen again afterwards.
        clear_route_cache: bool,
        /// The status when the service fails: 403.
        status_on_error: String,
        /// Whether the service sees the body.
        include_request_body_in_check: Option<ExtAuthzBody>,
    }
}

message! {
    /// Zipkin.
    pub struct ZipkinProvider {
        /// The service's host, with or without a namespace (`namespace/host`).
        service: String,
        /// Its port.
        port: u32,
        /// How much of a path is kept.
        max_tag_length: u32,
        /// Whether trace ids have 64 bits.
        enable_64bit_trace_id: bool,
        /// The path spans are sent to: `/api/v2/spans`.
        path: String,
        /// Which headers carry the trace.
        trace_context_option: ZipkinTraceContext,
        /// How long sending may take.
        timeout: Option<Duration>,
        /// Headers to send.
        headers: Vec<FreeForm>,
    }
}

enumeration! {
    /// Which headers carry a trace of Zipkin's.
    pub enum ZipkinTraceContext {
        /// B3.
        UseB3 = 0 "USE_B3",
        /// B3, and W3C's as well.
        UseB3WithW3cPropagation = 1 "USE_B3_WITH_W3C_PROPAGATION",
    }
}

message! {
    /// A tracer, with or without a token.
    pub struct TokenTracer {
        /// The service's host, with or without a namespace (`namespace/host`).
        service: String,
        /// Its port.
        port: u32,
        /// The access token.
        access_token: String,
        /// How much of a path is kept.
        max_tag_length: u32,
    }
}

message! {
    /// OpenCensus.
    pub struct OpenCensusProvider {
        /// The service's host, with or without a namespace (`namespace/host`).
        service: String,
        /// Its port.
        port: u32,
        /// The headers that carry the trace.
        context: Vec<TraceContext>,
        /// How much of a path is kept.
        max_tag_length: u32,
    }
}

message! {
    /// OpenTelemetry.
    pub struct OpenTelemetryProvider {
        /// The service's host, with or without a namespace (`namespace/host`).
        service: String,
        /// Its port.
        port: u32,
        /// How much of a path is kept.
        max_tag_length: u32,
        /// By HTTP.
        http: Option<OtelHttp>,
        /// By gRPC.
        grpc: Option<FreeForm>,
        /// What tells about the proxy.
        resource_detectors: Option<ResourceDetectors>,
        /// The service's name in traces.
        service_attribute_enrichment: String,
    }
    oneof {
        /// What chooses the requests that are traced.
        sampling: OtelSampling,
    }
}

oneof! {
    /// What chooses the requests that are traced.
    pub enum OtelSampling {
        /// Dynatrace.
        dynatrace_sampler: Dynatrace(FreeForm),
    }
}

message! {
    /// OpenTelemetry by HTTP.
    pub struct OtelHttp {
        /// The path.
        path: String,
        /// How long sending may take: 3 s.
        timeout: Option<Duration>,
        /// Headers to send.
        headers: Vec<HttpHeader>,
    }
}

message! {
    /// What tells about the proxy.
    pub struct ResourceDetectors {
        /// The environment.
        environment: Option<FreeForm>,
        /// Dynatrace's files.
        dynatrace: Option<FreeForm>,
    }
}

message! {
    /// Access logs in a file.
    pub struct FileAccessLog {
        /// The file: `/dev/stdout`.
        path: String,
        /// The format.
        log_format: Option<LogFormat>,
        /// Whether values that are missing are left out.
        omit_empty_values: bool,
    }
}

oneof! {
    /// The format of a log.
    pub message enum LogFormat {
        /// Text with Envoy's `%COMMAND%`s.
        text: Text(String),
        /// JSON with Envoy's `%COMMAND%`s as values.
        labels: Labels(FreeForm),
    }
}

message! {
    /// Access logs to a service.
    pub struct GrpcAccessLog {
        /// The service's host, with or without a namespace (`namespace/host`).
        service: String,
        /// Its port.
        port: u32,
        /// The log's name.
        log_name: String,
        /// State to log.
        filter_state_objects_to_log: Vec<String>,
        /// Headers of requests to log.
        additional_request_headers_to_log: Vec<String>,
        /// Headers of responses to log.
        additional_response_headers_to_log: Vec<String>,
        /// Trailers of responses to log.
        additional_response_trailers_to_log: Vec<String>,
    }
}

message! {
    /// Access logs to OpenTelemetry.
    pub struct OtelAccessLog {
        /// The service's host, with or without a namespace (`namespace/host`).
        service: String,
        /// Its port.
        port: u32,
        /// The log's name.
        log_name: String,
        /// The format.
        log_format: Option<OtelLogFormat>,
        /// State to log.
        filter_state_objects_to_log: Vec<String>,
    }
}

message! {
    /// The format of a log for OpenTelemetry.
    pub struct OtelLogFormat {
        /// The body.
        text: String,
        /// Attributes.
        labels: FreeForm,
    }
}
