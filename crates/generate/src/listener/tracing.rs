//! How the connection manager traces requests.
//!
//! Source: Istio, Telemetry `tracing` and "Distributed tracing"; Envoy, `HttpConnectionManager.Tracing`.

use std::collections::BTreeMap;
use std::sync::Arc;

use lateen_api::Duration;
use lateen_api::mesh_config::providers::{
    ExtensionProvider, OpenTelemetryProvider, Provider, TokenTracer, ZipkinProvider, ZipkinTraceContext,
};
use lateen_api::telemetry::CustomTag;
use lateen_mesh::{Mesh, Service, telemetry};
use lateen_xds::pb::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use lateen_xds::pb::envoy::config::core::v3::{
    GrpcService, HeaderValue, HeaderValueOption, HttpService, HttpUri, TypedExtensionConfig, grpc_service,
    http_uri,
};
use lateen_xds::pb::envoy::config::trace::v3::tracing::Http;
use lateen_xds::pb::envoy::config::trace::v3::tracing::http::ConfigType;
use lateen_xds::pb::envoy::config::trace::v3::zipkin_config::{CollectorEndpointVersion, TraceContextOption};
use lateen_xds::pb::envoy::config::trace::v3::{
    ClientConfig, DatadogConfig, OpenTelemetryConfig, SkyWalkingConfig, ZipkinConfig, client_config,
};
use lateen_xds::pb::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::Tracing;
use lateen_xds::pb::envoy::extensions::tracers::opentelemetry::resource_detectors::v3::EnvironmentResourceDetectorConfig;
use lateen_xds::pb::envoy::r#type::tracing::v3::{CustomTag as Tag, custom_tag};
use lateen_xds::pb::envoy::r#type::v3::Percent;
use lateen_xds::pb::google::protobuf::Any;

use crate::names;
use crate::proto::{any, boolean, duration, u32_value};
use crate::proxy::Flavour;

/// Istio's tags that are the same for all requests of a proxy: tag, variable of the proxy's environment, and the value
/// where it is not set. By variables, so that proxies of different workloads can share listeners.
const OF_PROXY: [(&str, &str, &str); 5] = [
    ("istio.canonical_revision", "CANONICAL_REVISION", "latest"),
    ("istio.canonical_service", "CANONICAL_SERVICE", "unknown"),
    ("istio.cluster_id", "ISTIO_META_CLUSTER_ID", "unknown"),
    ("istio.mesh_id", "ISTIO_META_MESH_ID", "unknown"),
    ("istio.namespace", "POD_NAMESPACE", "default"),
];

/// How long sending spans may take where the provider does not say.
const TIMEOUT: Duration = Duration::from_secs(3);

/// Where spans are sent: cluster and host.
pub(crate) struct Collector {
    pub cluster: String,
    pub host: String,
    port: u16,
}

/// The service of a provider, where the mesh has it.
pub(crate) fn collector(provider: &ExtensionProvider, mesh: &Mesh) -> Option<Collector> {
    let (service, port) = telemetry::tracing::service(provider)?;
    let (namespace, host) = match service.split_once('/') {
        Some((namespace, host)) => (Some(namespace), host),
        None => (None, service),
    };
    let mut known = mesh.services.of_host(host).filter(|s| namespace.is_none_or(|n| *s.id.namespace == *n));
    let host = known.find(|s| s.port(port).is_some())?.id.host.to_string();
    Some(Collector { cluster: names::outbound(port, "", &host), host, port })
}

/// Whether requests are traced, and the service that spans are sent to is there.
pub(crate) fn is_known(mesh: &Mesh) -> bool {
    let wanted = mesh.settings.observed.tracing.as_ref();
    wanted.is_some_and(|wanted| collector(&wanted.provider, mesh).is_some())
}

/// The service that spans are sent to, as proxies must know it.
pub(crate) fn service(mesh: &Mesh) -> Option<&Arc<Service>> {
    let wanted = mesh.settings.observed.tracing.as_ref()?;
    let collector = collector(&wanted.provider, mesh)?;
    mesh.services.of_host(&collector.host).find(|s| s.port(collector.port).is_some())
}

/// The setting of connection managers; none where requests are not traced. Lateen's proxies speak to Zipkin and
/// OpenTelemetry; a listener that names another tracer would be refused.
pub(crate) fn config(mesh: &Mesh, flavour: Flavour, gateway: bool) -> Option<Tracing> {
    let wanted = mesh.settings.observed.tracing.as_ref()?;
    let collector = collector(&wanted.provider, mesh)?;
    let (name, config, length) = match wanted.provider.provider.as_ref()? {
        Provider::Zipkin(p) => ("envoy.tracers.zipkin", zipkin(p, &collector), p.max_tag_length),
        Provider::OpenTelemetry(p) => {
            ("envoy.tracers.opentelemetry", opentelemetry(p, &collector), p.max_tag_length)
        }
        Provider::Datadog(p) if flavour == Flavour::Envoy => {
            ("envoy.tracers.datadog", datadog(&collector), p.max_tag_length)
        }
        Provider::SkyWalking(p) if flavour == Flavour::Envoy => {
            ("envoy.tracers.skywalking", skywalking(p, &collector), p.max_tag_length)
        }
        _ => return None,
    };
    let length = if length > 0 { length } else { wanted.max_path_tag_length };
    let percent = |value: f64| Some(Percent { value: value.clamp(0.0, 100.0) });
    Some(Tracing {
        client_sampling: percent(100.0),
        random_sampling: percent(wanted.sampling),
        overall_sampling: percent(100.0),
        max_path_tag_length: (length > 0).then(|| u32_value(length)).flatten(),
        custom_tags: tags(&wanted.tags, wanted.istio_tags),
        provider: Some(Http { name: name.to_owned(), config_type: Some(ConfigType::TypedConfig(config)) }),
        // A gateway is a hop of its own; a sidecar's span is that of its application's side.
        spawn_upstream_span: boolean(gateway),
        ..Tracing::default()
    })
}

fn tags(custom: &BTreeMap<String, CustomTag>, istio: bool) -> Vec<Tag> {
    let tag = |name: &str, kind| Tag { tag: name.to_owned(), r#type: Some(kind) };
    let environment = |name: &str, default: &str| {
        custom_tag::Type::Environment(custom_tag::Environment {
            name: name.to_owned(),
            default_value: default.to_owned(),
        })
    };
    let of_proxy = OF_PROXY.iter().filter(|(name, ..)| istio && !custom.contains_key(*name));
    let mut tags: Vec<Tag> =
        of_proxy.map(|(name, variable, default)| tag(name, environment(variable, default))).collect();
    for (name, wanted) in custom {
        let kind = match wanted {
            CustomTag::Unset => continue,
            CustomTag::Literal(t) => {
                custom_tag::Type::Literal(custom_tag::Literal { value: t.value.clone() })
            }
            CustomTag::Environment(t) => environment(&t.name, &t.default_value),
            CustomTag::Header(t) => custom_tag::Type::RequestHeader(custom_tag::Header {
                name: t.name.clone(),
                default_value: t.default_value.clone(),
            }),
            CustomTag::Formatter(t) => custom_tag::Type::Value(t.value.clone()),
        };
        tags.push(tag(name, kind));
    }
    tags.sort_by(|one, other| one.tag.cmp(&other.tag));
    tags
}

fn header(name: &str, value: &str) -> HeaderValueOption {
    HeaderValueOption {
        header: Some(HeaderValue { key: name.to_owned(), value: value.to_owned(), ..HeaderValue::default() }),
        append_action: HeaderAppendAction::OverwriteIfExistsOrAdd as i32,
        ..HeaderValueOption::default()
    }
}

fn over_http(
    collector: &Collector,
    path: &str,
    timeout: Option<Duration>,
    headers: Vec<HeaderValueOption>,
) -> HttpService {
    let slash = if path.starts_with('/') { "" } else { "/" };
    HttpService {
        http_uri: Some(HttpUri {
            uri: format!("http://{}:{}{slash}{path}", collector.host, collector.port),
            timeout: Some(duration(timeout.unwrap_or(TIMEOUT))),
            http_upstream_type: Some(http_uri::HttpUpstreamType::Cluster(collector.cluster.clone())),
        }),
        request_headers_to_add: headers,
        ..HttpService::default()
    }
}

fn zipkin(provider: &ZipkinProvider, collector: &Collector) -> Any {
    let path = if provider.path.is_empty() { "/api/v2/spans" } else { &provider.path };
    let text = |fields: &serde_json::Map<String, serde_json::Value>, key: &str| {
        fields.get(key).and_then(serde_json::Value::as_str).map(str::to_owned)
    };
    let headers = provider.headers.iter();
    let headers: Vec<_> =
        headers.filter_map(|h| Some(header(&text(h, "name")?, &text(h, "value")?))).collect();
    let service = (provider.timeout.is_some() || !headers.is_empty())
        .then(|| over_http(collector, path, provider.timeout, headers));
    lateen_xds::any(&ZipkinConfig {
        collector_cluster: collector.cluster.clone(),
        collector_endpoint: path.to_owned(),
        collector_endpoint_version: CollectorEndpointVersion::HttpJson as i32,
        collector_hostname: collector.host.clone(),
        trace_id_128bit: !provider.enable_64bit_trace_id,
        shared_span_context: boolean(false),
        trace_context_option: match provider.trace_context_option {
            ZipkinTraceContext::UseB3 => TraceContextOption::UseB3,
            ZipkinTraceContext::UseB3WithW3cPropagation => TraceContextOption::UseB3WithW3cPropagation,
        } as i32,
        collector_service: service,
        ..ZipkinConfig::default()
    })
}

fn grpc(collector: &Collector) -> GrpcService {
    let envoy = grpc_service::EnvoyGrpc {
        cluster_name: collector.cluster.clone(),
        authority: collector.host.clone(),
        ..grpc_service::EnvoyGrpc::default()
    };
    GrpcService {
        target_specifier: Some(grpc_service::TargetSpecifier::EnvoyGrpc(envoy)),
        timeout: Some(duration(TIMEOUT)),
        ..GrpcService::default()
    }
}

fn opentelemetry(provider: &OpenTelemetryProvider, collector: &Collector) -> Any {
    let http = provider.http.as_ref().map(|http| {
        let headers = http.headers.iter().map(|h| header(&h.name, &h.value)).collect();
        over_http(collector, &http.path, http.timeout, headers)
    });
    // The service's name, too, comes from the environment that the agent makes.
    let detector = TypedExtensionConfig {
        name: "envoy.tracers.opentelemetry.resource_detectors.environment".to_owned(),
        typed_config: any(&EnvironmentResourceDetectorConfig {}),
    };
    lateen_xds::any(&OpenTelemetryConfig {
        grpc_service: http.is_none().then(|| grpc(collector)),
        http_service: http,
        resource_detectors: vec![detector],
        ..OpenTelemetryConfig::default()
    })
}

fn datadog(collector: &Collector) -> Any {
    lateen_xds::any(&DatadogConfig {
        collector_cluster: collector.cluster.clone(),
        collector_hostname: collector.host.clone(),
        service_name: "istio-proxy".to_owned(),
        ..DatadogConfig::default()
    })
}

fn skywalking(provider: &TokenTracer, collector: &Collector) -> Any {
    let token = Some(&provider.access_token).filter(|token| !token.is_empty());
    lateen_xds::any(&SkyWalkingConfig {
        grpc_service: Some(grpc(collector)),
        client_config: Some(ClientConfig {
            backend_token_specifier: token
                .map(|token| client_config::BackendTokenSpecifier::BackendToken(token.clone())),
            ..ClientConfig::default()
        }),
    })
}
