//! The group `telemetry.istio.io`: what is measured, traced and logged.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::NamespaceResourceScope;

use crate::networking::destination_rule::LabelSelector;
use crate::object::{AGE, Column, Kind, Object};
use crate::security::PolicyTargetReference;
use crate::wire::duration::Duration;
use crate::wire::message::{enumeration, message, oneof};
use crate::wire::report::Report;

/// What is measured, traced and logged.
pub type Telemetry = Object<TelemetrySpec>;

message! {
    /// How telemetry is made for workloads.
    pub struct TelemetrySpec {
        /// The workloads to which it applies; all of the namespace by default.
        selector: Option<LabelSelector>,
        /// Deprecated: use targetRefs.
        target_ref: Option<PolicyTargetReference>,
        /// The gateways or services to which it applies.
        target_refs: Vec<PolicyTargetReference>,
        /// Traces.
        tracing: Vec<Tracing>,
        /// Metrics.
        metrics: Vec<Metrics>,
        /// Access logs.
        access_logging: Vec<AccessLogging>,
    }
}

impl Kind for TelemetrySpec {
    const GROUP: &'static str = "telemetry.istio.io";
    const KIND: &'static str = "Telemetry";
    const PLURAL: &'static str = "telemetries";
    const SHORT_NAMES: &'static [&'static str] = &["telemetry"];
    const VERSIONS: &'static [&'static str] = &["v1", "v1alpha1"];
    const CATEGORIES: &'static [&'static str] = &["istio-io", "telemetry-istio-io"];
    const COLUMNS: &'static [Column] = &[AGE];
    type Scope = NamespaceResourceScope;

    fn validate(&self, _metadata: &ObjectMeta, report: &mut Report) {
        crate::validation::telemetry::validate(self, report);
    }
}

message! {
    /// A provider, by its name in the mesh's configuration.
    pub struct ProviderRef {
        /// Its name.
        name: String,
    }
}

enumeration! {
    /// On which side of a request.
    pub enum WorkloadMode {
        /// On both.
        ClientAndServer = 0 "CLIENT_AND_SERVER",
        /// Where it is sent.
        Client = 1 "CLIENT",
        /// Where it is received.
        Server = 2 "SERVER",
    }
}

message! {
    /// How requests are traced.
    pub struct Tracing {
        /// To which side this applies.
        r#match: Option<SideSelector>,
        /// Where spans are sent.
        providers: Vec<ProviderRef>,
        /// The share of requests that are traced, 0.0 to 100.0.
        random_sampling_percentage: Option<f64>,
        /// Whether no spans are sent at all.
        disable_span_reporting: Option<bool>,
        /// Tags to add to spans, by name.
        custom_tags: BTreeMap<String, CustomTag>,
        /// Whether the request id tells if a request is traced; true by default.
        use_request_id_for_trace_sampling: Option<bool>,
        /// Whether Istio's own tags are added; true by default.
        enable_istio_tags: Option<bool>,
    }
}

message! {
    /// Selects a side.
    pub struct SideSelector {
        /// The side.
        mode: WorkloadMode,
    }
}

oneof! {
    /// Where the value of a tag comes from.
    pub message enum CustomTag {
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

message! {
    /// A given value.
    pub struct LiteralTag {
        /// The value.
        value: String,
    }
}

message! {
    /// A value that is looked up.
    pub struct NamedTag {
        /// Under which name.
        name: String,
        /// The value when there is none.
        default_value: String,
    }
}

message! {
    /// How metrics are made.
    pub struct Metrics {
        /// Who keeps them.
        providers: Vec<ProviderRef>,
        /// Changes to single metrics.
        overrides: Vec<MetricsOverrides>,
        /// How often they are reported, for TCP; 5 s by default.
        reporting_interval: Option<Duration>,
    }
}

message! {
    /// Changes to metrics.
    pub struct MetricsOverrides {
        /// Which metrics.
        r#match: Option<MetricSelector>,
        /// Whether they are not made at all.
        disabled: Option<bool>,
        /// Changes to their labels, by name.
        tag_overrides: BTreeMap<String, TagOverride>,
    }
}

message! {
    /// Selects metrics.
    pub struct MetricSelector {
        /// On which side.
        mode: WorkloadMode,
    }
    oneof {
        /// Which.
        metric_match: MetricMatch,
    }
}

oneof! {
    /// Names metrics.
    pub enum MetricMatch {
        /// A metric of Istio's.
        metric: Metric(IstioMetric),
        /// Any other, by name.
        custom_metric: CustomMetric(String),
    }
}

enumeration! {
    /// Istio's standard metrics.
    pub enum IstioMetric {
        /// All of them.
        AllMetrics = 0 "ALL_METRICS",
        /// `istio_requests_total`.
        RequestCount = 1 "REQUEST_COUNT",
        /// `istio_request_duration_milliseconds`.
        RequestDuration = 2 "REQUEST_DURATION",
        /// `istio_request_bytes`.
        RequestSize = 3 "REQUEST_SIZE",
        /// `istio_response_bytes`.
        ResponseSize = 4 "RESPONSE_SIZE",
        /// `istio_tcp_connections_opened_total`.
        TcpOpenedConnections = 5 "TCP_OPENED_CONNECTIONS",
        /// `istio_tcp_connections_closed_total`.
        TcpClosedConnections = 6 "TCP_CLOSED_CONNECTIONS",
        /// `istio_tcp_sent_bytes_total`.
        TcpSentBytes = 7 "TCP_SENT_BYTES",
        /// `istio_tcp_received_bytes_total`.
        TcpReceivedBytes = 8 "TCP_RECEIVED_BYTES",
        /// `istio_request_messages_total`.
        GrpcRequestMessages = 9 "GRPC_REQUEST_MESSAGES",
        /// `istio_response_messages_total`.
        GrpcResponseMessages = 10 "GRPC_RESPONSE_MESSAGES",
    }
}

message! {
    /// A change to a label.
    pub struct TagOverride {
        /// What is done.
        operation: TagOperation,
        /// The new value, as a CEL expression.
        value: String,
    }
}

enumeration! {
    /// What is done to a label.
    pub enum TagOperation {
        /// It is added or changed.
        Upsert = 0 "UPSERT",
        /// It is removed.
        Remove = 1 "REMOVE",
    }
}

message! {
    /// How accesses are logged.
    pub struct AccessLogging {
        /// To which side this applies.
        r#match: Option<SideSelector>,
        /// Where they are logged.
        providers: Vec<ProviderRef>,
        /// Whether they are not logged at all.
        disabled: Option<bool>,
        /// Which of them are logged.
        filter: Option<LogFilter>,
    }
}

message! {
    /// Which accesses are logged.
    pub struct LogFilter {
        /// A CEL expression (`response.code >= 400`).
        expression: String,
    }
}
