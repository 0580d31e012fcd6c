//! Tracing of connection managers and routes.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lateen_xds::pb::envoy::config::trace::v3 as pb;
use lateen_xds::pb::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::Tracing as Message;
use lateen_xds::pb::envoy::extensions::tracers::opentelemetry::resource_detectors::v3::EnvironmentResourceDetectorConfig;
use lateen_xds::pb::envoy::r#type::tracing::v3::{CustomTag, custom_tag};
use prost::Name as _;

use super::jwt::http_uri_target;
use super::pb::{core, rds, types};
use super::{At, Context, Converted, any, take, values};
use crate::config::{
    Fraction, Propagation, RouteTracing, Sampling, TagValue, TraceCounts, TraceProtocol, TraceTag, Tracer,
    Tracing,
};
use crate::format::Format;

/// Path of OpenTelemetry's service.
const OTLP: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
/// How long sending may take where nothing says so.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Spans that may wait, as many as Envoy's OpenTelemetry tracer keeps.
const MOST: u32 = 1024;
/// Spans that may wait at most, whatever the configuration says.
const LIMIT: u32 = 1 << 16;

/// Reads a manager's tracing; none where neither it nor the bootstrap names a tracer.
pub(super) fn read(
    message: &Message,
    inbound: bool,
    context: &Context,
    at: &At<'_>,
) -> Converted<Option<Tracing>> {
    use Message as HttpTracing;
    take!(message, at, HttpTracing {
        client_sampling, random_sampling, overall_sampling, max_path_tag_length, custom_tags, provider,
        spawn_upstream_span, operation, upstream_operation, no_context_propagation,
    } ignore { verbose });
    let Some(provider) = provider.as_ref().or(context.tracers.default.as_ref()) else { return Ok(None) };
    let share = |percent: &Option<types::Percent>, at: At<'_>| match percent {
        None => Ok(Fraction::ALL),
        Some(types::Percent { value }) if (0.0..=100.0).contains(value) => {
            Ok(Fraction { numerator: (value * 10_000.0).round() as u32, denominator: 1_000_000 })
        }
        Some(types::Percent { value }) => Err(at.error(format!("{value} is not a percentage"))),
    };
    Ok(Some(Tracing {
        sampling: Sampling {
            client: share(client_sampling, at.field("client_sampling"))?,
            random: share(random_sampling, at.field("random_sampling"))?,
            overall: share(overall_sampling, at.field("overall_sampling"))?,
        },
        max_path: values::u32_or(max_path_tag_length, 256) as usize,
        tags: tags(custom_tags, context, &at.field("custom_tags"))?,
        upstream_span: values::bool_or(spawn_upstream_span, false),
        operation: format(operation, &at.field("operation"))?,
        upstream_operation: format(upstream_operation, &at.field("upstream_operation"))?,
        inbound,
        passes_on: !no_context_propagation,
        mark_request_id: true,
        by_request_id: true,
        tracer: tracer(provider, context, &at.field("provider"))?,
    }))
}

/// Reads a route's tracing.
pub(super) fn route(message: &rds::Tracing, context: &Context, at: &At<'_>) -> Converted<RouteTracing> {
    use rds::Tracing as RouteMessage;
    take!(
        message,
        at,
        RouteMessage {
            client_sampling,
            random_sampling,
            overall_sampling,
            custom_tags,
            operation,
            upstream_operation
        }
    );
    let share = |share: &Option<types::FractionalPercent>, at: At<'_>| {
        share.as_ref().map_or(Ok(Fraction::ALL), |share| values::fraction(share, &at))
    };
    Ok(RouteTracing {
        sampling: Sampling {
            client: share(client_sampling, at.field("client_sampling"))?,
            random: share(random_sampling, at.field("random_sampling"))?,
            overall: share(overall_sampling, at.field("overall_sampling"))?,
        },
        tags: tags(custom_tags, context, &at.field("custom_tags"))?,
        operation: format(operation, &at.field("operation"))?,
        upstream_operation: format(upstream_operation, &at.field("upstream_operation"))?,
    })
}

fn format(text: &str, at: &At<'_>) -> Converted<Option<Format>> {
    match text {
        "" => Ok(None),
        text => Format::parse(text).map(Some).map_err(|reason| at.error(reason)),
    }
}

fn tags(list: &[CustomTag], context: &Context, at: &At<'_>) -> Converted<Vec<TraceTag>> {
    let mut tags = Vec::with_capacity(list.len());
    for (index, message) in list.iter().enumerate() {
        let at = at.index(index);
        let value = match message.r#type.as_ref().ok_or_else(|| at.field("literal").missing())? {
            custom_tag::Type::Literal(literal) => TagValue::Literal(literal.value.as_str().into()),
            custom_tag::Type::RequestHeader(header) => TagValue::Header(
                header.name.to_ascii_lowercase().into(),
                header.default_value.as_str().into(),
            ),
            custom_tag::Type::Environment(variable) => {
                let found = std::env::var(&variable.name).ok().filter(|value| !value.is_empty());
                let found = found.or_else(|| of_node(&variable.name, context));
                let value = found.unwrap_or_else(|| variable.default_value.clone());
                if value.is_empty() {
                    continue;
                }
                TagValue::Literal(value.into())
            }
            custom_tag::Type::Value(text) => {
                let field = at.field("value");
                TagValue::Format(format(text, &field)?.ok_or_else(|| field.missing())?)
            }
            custom_tag::Type::Metadata(_) => return Err(at.field("metadata").error("is not supported")),
        };
        tags.push(TraceTag { name: message.tag.as_str().into(), value });
    }
    Ok(tags)
}

/// What Istio's agent tells an Envoy by its environment, and this proxy by its node.
fn of_node(variable: &str, context: &Context) -> Option<String> {
    let peer = context.istio.peer();
    let found = match variable {
        "CANONICAL_SERVICE" => &peer.canonical_service,
        "CANONICAL_REVISION" => &peer.canonical_revision,
        _ => return None,
    };
    found.as_ref().map(|value| value.to_string())
}

fn tracer(provider: &pb::tracing::Http, context: &Context, at: &At<'_>) -> Converted<Arc<Tracer>> {
    use pb::tracing::http::ConfigType;
    let at = at.field("typed_config");
    let Some(ConfigType::TypedConfig(config)) = &provider.config_type else { return Err(at.missing()) };
    context.tracers.share(super::hash(config), || match any::name(config) {
        kind if kind == pb::ZipkinConfig::full_name() => zipkin(&any::decode(config, &at)?, context, &at),
        kind if kind == pb::OpenTelemetryConfig::full_name() => {
            opentelemetry(&any::decode(config, &at)?, context, &at)
        }
        other => Err(at.unsupported(format!("the tracer {} ({other})", provider.name))),
    })
}

fn zipkin(message: &pb::ZipkinConfig, context: &Context, at: &At<'_>) -> Converted<Tracer> {
    use pb::ZipkinConfig;
    use pb::zipkin_config::{CollectorEndpointVersion, TraceContextOption};
    take!(message, at, ZipkinConfig {
        collector_cluster, collector_endpoint, trace_id_128bit, shared_span_context, collector_endpoint_version,
        collector_hostname, trace_context_option, collector_service,
    } ignore { split_spans_for_request, timestamp_trace_ids });
    if CollectorEndpointVersion::try_from(*collector_endpoint_version)
        == Ok(CollectorEndpointVersion::HttpProto)
    {
        return Err(at.field("collector_endpoint_version").unsupported("HTTP_PROTO"));
    }
    let mut tracer = match collector_service {
        Some(service) => over_http(service, context, &at.field("collector_service"))?,
        None => {
            if collector_cluster.is_empty() {
                return Err(at.field("collector_cluster").missing());
            }
            let host = if collector_hostname.is_empty() { collector_cluster } else { collector_hostname };
            let path = if collector_endpoint.is_empty() { "/api/v2/spans" } else { collector_endpoint };
            tracer_to(collector_cluster, host, path, context)
        }
    };
    tracer.protocol = TraceProtocol::Zipkin;
    tracer.wide = *trace_id_128bit;
    tracer.shared = values::bool_or(shared_span_context, true);
    tracer.propagation = match TraceContextOption::try_from(*trace_context_option) {
        Ok(TraceContextOption::UseB3) => Propagation::B3,
        Ok(TraceContextOption::UseB3WithW3cPropagation) => Propagation::B3AndW3c,
        Err(_) => return Err(at.field("trace_context_option").unsupported(trace_context_option)),
    };
    Ok(tracer)
}

fn opentelemetry(message: &pb::OpenTelemetryConfig, context: &Context, at: &At<'_>) -> Converted<Tracer> {
    use pb::OpenTelemetryConfig;
    take!(message, at, OpenTelemetryConfig {
        grpc_service, http_service, service_name, resource_detectors, max_cache_size,
        set_service_name_resource_attribute,
    } ignore { set_telemetry_sdk_resource_attributes, set_instrumentation_scope } refuse { exporter, sampler });
    let mut tracer = match (grpc_service, http_service) {
        (Some(service), None) => over_grpc(service, context, &at.field("grpc_service"))?,
        (None, Some(service)) => Tracer {
            protocol: TraceProtocol::OtlpHttp,
            ..over_http(service, context, &at.field("http_service"))?
        },
        (None, None) => return Err(at.field("grpc_service").missing()),
        (Some(_), Some(_)) => return Err(at.field("http_service").error("excludes grpc_service")),
    };
    tracer.most = values::u32_or(max_cache_size, MOST).min(LIMIT) as usize;
    if !service_name.is_empty() {
        tracer.service = service_name.as_str().into();
    }
    for (index, detector) in resource_detectors.iter().enumerate() {
        let field = at.field("resource_detectors");
        let at = field.index(index);
        let config = detector.typed_config.as_ref().ok_or_else(|| at.field("typed_config").missing())?;
        if !any::is::<EnvironmentResourceDetectorConfig>(config) {
            return Err(at.unsupported(format!("the detector {}", detector.name)));
        }
        let text = std::env::var("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default();
        for (key, value) in text.split(',').filter_map(|pair| pair.split_once('=')) {
            match key.trim() {
                "service.name" => tracer.service = value.trim().into(),
                key => tracer.resource.push((key.to_owned(), value.trim().to_owned())),
            }
        }
    }
    if !values::bool_or(set_service_name_resource_attribute, true) {
        tracer.service = "".into();
    }
    Ok(tracer)
}

fn tracer_to(cluster: &str, authority: &str, path: &str, context: &Context) -> Tracer {
    // A cluster's name may hold what an authority must not.
    let authority = match authority.parse::<http::uri::Authority>() {
        Ok(_) => authority.to_owned(),
        Err(_) => "collector".to_owned(),
    };
    let service = match &*context.tracers.service {
        "" => "unknown_service:envoy",
        service => service,
    };
    Tracer {
        cluster: context.store.cluster_slot(cluster),
        authority: authority.into(),
        path: Bytes::from(path.to_owned()),
        timeout: TIMEOUT,
        headers: Vec::new(),
        protocol: TraceProtocol::OtlpGrpc,
        propagation: Propagation::W3c,
        wide: true,
        shared: false,
        service: service.into(),
        resource: Vec::new(),
        node: context.tracers.node.clone(),
        most: MOST as usize,
        counts: TraceCounts::default(),
    }
}

fn over_grpc(message: &core::GrpcService, context: &Context, at: &At<'_>) -> Converted<Tracer> {
    use core::GrpcService;
    use core::grpc_service::TargetSpecifier;
    take!(message, at, GrpcService { timeout, initial_metadata, target_specifier } refuse { retry_policy });
    let Some(TargetSpecifier::EnvoyGrpc(target)) = target_specifier else {
        return Err(at.field("envoy_grpc").missing());
    };
    let field = at.field("envoy_grpc");
    if target.cluster_name.is_empty() {
        return Err(field.field("cluster_name").missing());
    }
    let authority = if target.authority.is_empty() { &target.cluster_name } else { &target.authority };
    let mut tracer = tracer_to(&target.cluster_name, authority, OTLP, context);
    tracer.timeout = values::timeout(timeout, Some(TIMEOUT), &at.field("timeout"))?.unwrap_or(TIMEOUT);
    tracer.headers = initial_metadata.iter().map(pair).collect();
    Ok(tracer)
}

fn over_http(message: &core::HttpService, context: &Context, at: &At<'_>) -> Converted<Tracer> {
    use core::HttpService;
    take!(message, at, HttpService { http_uri, request_headers_to_add } refuse { formatters });
    let field = at.field("http_uri");
    let target = http_uri_target(http_uri.as_ref().ok_or_else(|| field.missing())?, &field)?;
    let headers = request_headers_to_add.iter().filter_map(|option| option.header.as_ref());
    Ok(Tracer {
        timeout: target.timeout,
        headers: headers.map(pair).collect(),
        ..tracer_to(&target.cluster, &target.authority, &target.path, context)
    })
}

fn pair(header: &core::HeaderValue) -> (Bytes, Bytes) {
    (header.key.to_ascii_lowercase().into(), header.value.clone().into())
}
