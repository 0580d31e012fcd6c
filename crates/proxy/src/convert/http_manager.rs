//! The HTTP connection manager filter.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lateen_xds::pb::envoy::extensions::filters::network::http_connection_manager::v3 as pb;

use lateen_xds::pb::envoy::extensions::request_id::uuid::v3::UuidRequestIdConfig;

use super::cluster::http2_options;
use super::config_source::{self, Source};
use super::listener::Gathered;
use super::pb::core;
use super::{At, Converted, access_log, any, http_filter, route, take, values};
use crate::config::{
    CertFields, Codec, EscapedSlashes, ForwardClientCert, HttpConnectionManager as Settings, RouteSlot,
    ServerHeader, StripPort, Tracing, TrafficDirection,
};
use pb::http_connection_manager as inner;

/// Reads a manager.
pub(super) fn read(
    message: &pb::HttpConnectionManager,
    gathered: &mut Gathered<'_>,
    at: &At<'_>,
) -> Converted<Settings> {
    use pb::HttpConnectionManager;
    take!(message, at, HttpConnectionManager {
        codec_type, stat_prefix, http_filters, common_http_protocol_options, http_protocol_options,
        http2_protocol_options, server_name, server_header_transformation, max_request_headers_kb,
        stream_idle_timeout, request_timeout, request_headers_timeout, drain_timeout, access_log, use_remote_address,
        xff_num_trusted_hops, internal_address_config, skip_xff_append, via, generate_request_id,
        preserve_external_request_id, always_set_request_id_in_response, forward_client_cert_details,
        set_current_client_cert_details, proxy_100_continue, upgrade_configs, normalize_path, merge_slashes,
        path_with_escaped_slashes_action, strip_matching_host_port, strip_port_mode, route_specifier,
        tracing, request_id_extension,
    } ignore {
        http1_safe_max_connection_duration, http3_protocol_options, stream_flush_timeout,
        drain_timeout_jitter, delayed_close_timeout, access_log_flush_interval, flush_access_log_on_new_request,
        access_log_options, stream_error_on_invalid_http_message, proxy_status_config,
        typed_header_validation_config, append_local_overload, add_proxy_protocol_connection_state,
    } refuse {
        add_user_agent, scheme_header_transformation, original_ip_detection_extensions,
        early_header_mutation_extensions, forward_client_cert_matcher, represent_ipv4_remote_address_as_ipv4_mapped_ipv6,
        local_reply_config, path_normalization_options, strip_trailing_host_dot, append_x_forwarded_port,
        forward_proto_config,
    });
    let context = gathered.context;
    let routes = routes(route_specifier, gathered, at)?;
    let filters =
        http_filter::read_all(http_filters, gathered.context, gathered.direction, &at.field("http_filters"))?;
    let mut settings = Settings::new(stat_prefix, routes, context.store.workers());
    settings.codec = codec(*codec_type, &at.field("codec_type"))?;
    settings.filters = filters.filters;
    settings.suppress_envoy_headers = filters.suppress_envoy_headers;
    settings.alpn_override = filters.alpn;
    settings.access_logs = access_log::read_all(access_log, context, &at.field("access_log"))?;
    settings.access_logs.extend(filters.metrics);
    if let Some(message) = tracing {
        settings.tracing = traces(message, request_id_extension.as_ref(), gathered, at)?;
    }
    if !server_name.is_empty() {
        settings.server_name = Bytes::from(server_name.clone());
    }
    let field = at.field("server_header_transformation");
    settings.server_header = server_header(*server_header_transformation, &field)?;
    settings.via = Some(via.as_str()).filter(|via| !via.is_empty()).map(|via| Bytes::from(via.to_owned()));
    settings.use_remote_address = values::bool_or(use_remote_address, false);
    settings.xff_num_trusted_hops = *xff_num_trusted_hops;
    settings.skip_xff_append = *skip_xff_append;
    if let Some(config) = internal_address_config {
        settings.internal_ranges = Some(internal_ranges(config, at)?);
    }
    settings.generate_request_id = values::bool_or(generate_request_id, true);
    settings.preserve_request_id = *preserve_external_request_id;
    settings.request_id_in_response = *always_set_request_id_in_response;
    settings.client_cert = client_cert(*forward_client_cert_details, set_current_client_cert_details, at)?;
    settings.normalize_path = values::bool_or(normalize_path, false);
    settings.merge_slashes = *merge_slashes;
    settings.escaped_slashes = escaped_slashes(*path_with_escaped_slashes_action, at)?;
    settings.strip_port = strip_port(strip_port_mode, *strip_matching_host_port);
    settings.upgrades = upgrades(upgrade_configs, at)?;
    settings.proxy_100_continue = *proxy_100_continue;
    let five_minutes = Some(Duration::from_secs(300));
    settings.stream_idle_timeout =
        values::timeout(stream_idle_timeout, five_minutes, &at.field("stream_idle_timeout"))?;
    settings.request_timeout = values::timeout(request_timeout, None, &at.field("request_timeout"))?;
    settings.headers_timeout =
        values::timeout(request_headers_timeout, None, &at.field("request_headers_timeout"))?;
    if let Some(limit) = values::optional_duration(drain_timeout, &at.field("drain_timeout"))? {
        settings.drain_timeout = limit;
    }
    settings.max_request_headers_kb =
        largest_head(values::u32_or(max_request_headers_kb, 60), &at.field("max_request_headers_kb"))?;
    protocols(common_http_protocol_options, http_protocol_options, &mut settings, at)?;
    if let Some(http2) = http2_protocol_options {
        settings.http2 = http2_options(http2, &at.field("http2_protocol_options"))?;
    }
    Ok(settings)
}

/// The limit on a request's head, in KiB.
fn largest_head(kib: u32, at: &At<'_>) -> Converted<u32> {
    match kib {
        1..=8192 => Ok(kib),
        _ => Err(at.error("must be between 1 and 8192")),
    }
}

/// How requests are traced, and what their ids tell of it.
fn traces(
    message: &inner::Tracing,
    extension: Option<&pb::RequestIdExtension>,
    gathered: &Gathered<'_>,
    at: &At<'_>,
) -> Converted<Option<Box<Tracing>>> {
    // Where nothing is said, requests are those of clients (Envoy, `Tracing.operation_name`).
    let inbound = gathered.direction != TrafficDirection::Outbound;
    let mut tracing = super::tracing::read(message, inbound, gathered.context, &at.field("tracing"))?;
    if let (Some(tracing), Some(extension)) = (&mut tracing, extension) {
        request_id(extension, tracing, &at.field("request_id_extension"))?;
    }
    Ok(tracing.map(Box::new))
}

/// Addresses of clients that are inside.
fn internal_ranges(
    config: &inner::InternalAddressConfig,
    at: &At<'_>,
) -> Converted<Vec<crate::config::Cidr>> {
    use inner::InternalAddressConfig;
    take!(config, at, InternalAddressConfig { cidr_ranges } ignore { unix_sockets });
    values::cidrs(cidr_ranges, &at.field("internal_address_config"))
}

/// Whether and how the request id tells if a request is traced.
fn request_id(message: &pb::RequestIdExtension, tracing: &mut Tracing, at: &At<'_>) -> Converted<()> {
    let at = at.field("typed_config");
    let Some(config) = &message.typed_config else { return Err(at.missing()) };
    let config: UuidRequestIdConfig = any::expect(config, &at)?;
    take!(&config, at, UuidRequestIdConfig { pack_trace_reason, use_request_id_for_trace_sampling });
    tracing.mark_request_id = values::bool_or(pack_trace_reason, true);
    tracing.by_request_id = values::bool_or(use_request_id_for_trace_sampling, true);
    Ok(())
}

fn routes(
    specifier: &Option<inner::RouteSpecifier>,
    gathered: &mut Gathered<'_>,
    at: &At<'_>,
) -> Converted<Arc<RouteSlot>> {
    use inner::RouteSpecifier;
    match specifier {
        Some(RouteSpecifier::Rds(rds)) => {
            let at = at.field("rds");
            if rds.route_config_name.is_empty() {
                return Err(at.field("route_config_name").missing());
            }
            let field = at.field("config_source");
            let (source, wait) = config_source::read(rds.config_source.as_ref(), &field)?;
            if let Source::File(path) = source {
                let why = format!(
                    "the file {} is not supported: routes come over `ads` or in the listener",
                    path.display()
                );
                return Err(field.error(why));
            }
            let slot = gathered.context.store.route_slot(&rds.route_config_name);
            gathered.routes.push((slot.name.clone(), wait));
            Ok(slot)
        }
        Some(RouteSpecifier::RouteConfig(config)) => {
            let converted = route::read_table(config, gathered.context, &at.field("route_config"))?;
            // A table of its own: names of inline configurations need not be unique.
            Ok(Arc::new(RouteSlot::holding(converted.table)))
        }
        Some(RouteSpecifier::ScopedRoutes(_)) => Err(at.field("scoped_routes").error("is not supported")),
        None => Err(at.field("route_config").missing()),
    }
}

fn server_header(value: i32, at: &At<'_>) -> Converted<ServerHeader> {
    match inner::ServerHeaderTransformation::try_from(value) {
        Ok(inner::ServerHeaderTransformation::Overwrite) => Ok(ServerHeader::Overwrite),
        Ok(inner::ServerHeaderTransformation::AppendIfAbsent) => Ok(ServerHeader::AppendIfAbsent),
        Ok(inner::ServerHeaderTransformation::PassThrough) => Ok(ServerHeader::PassThrough),
        Err(_) => Err(at.unsupported(value)),
    }
}

fn strip_port(mode: &Option<inner::StripPortMode>, matching: bool) -> StripPort {
    match mode {
        Some(inner::StripPortMode::StripAnyHostPort(true)) => StripPort::Any,
        _ if matching => StripPort::Matching,
        _ => StripPort::No,
    }
}

fn codec(value: i32, at: &At<'_>) -> Converted<Codec> {
    match inner::CodecType::try_from(value) {
        Ok(inner::CodecType::Auto) => Ok(Codec::Auto),
        Ok(inner::CodecType::Http1) => Ok(Codec::Http1),
        Ok(inner::CodecType::Http2) => Ok(Codec::Http2),
        Ok(inner::CodecType::Http3) => Err(at.unsupported("HTTP/3")),
        Err(_) => Err(at.unsupported(value)),
    }
}

fn client_cert(
    details: i32,
    set: &Option<inner::SetCurrentClientCertDetails>,
    at: &At<'_>,
) -> Converted<ForwardClientCert> {
    use inner::{ForwardClientCertDetails as Details, SetCurrentClientCertDetails};
    let mut fields = CertFields::default();
    if let Some(set) = set {
        take!(set, at, SetCurrentClientCertDetails { subject, cert, chain, dns, uri } ignore { issuer, format });
        fields = CertFields {
            subject: values::bool_or(subject, false),
            cert: *cert,
            chain: *chain,
            dns: *dns,
            uri: *uri,
        };
    }
    match Details::try_from(details) {
        Ok(Details::Sanitize) => Ok(ForwardClientCert::Sanitize),
        Ok(Details::ForwardOnly) => Ok(ForwardClientCert::ForwardOnly),
        Ok(Details::AppendForward) => Ok(ForwardClientCert::AppendForward(fields)),
        Ok(Details::SanitizeSet) => Ok(ForwardClientCert::SanitizeSet(fields)),
        Ok(Details::AlwaysForwardOnly) => Ok(ForwardClientCert::AlwaysForwardOnly),
        Err(_) => Err(at.field("forward_client_cert_details").unsupported(details)),
    }
}

fn escaped_slashes(value: i32, at: &At<'_>) -> Converted<EscapedSlashes> {
    use inner::PathWithEscapedSlashesAction as Action;
    match Action::try_from(value) {
        Ok(Action::ImplementationSpecificDefault | Action::KeepUnchanged) => Ok(EscapedSlashes::Keep),
        Ok(Action::RejectRequest) => Ok(EscapedSlashes::Reject),
        Ok(Action::UnescapeAndRedirect) => Ok(EscapedSlashes::UnescapeAndRedirect),
        Ok(Action::UnescapeAndForward) => Ok(EscapedSlashes::UnescapeAndForward),
        Err(_) => Err(at.field("path_with_escaped_slashes_action").unsupported(value)),
    }
}

fn upgrades(configs: &[inner::UpgradeConfig], at: &At<'_>) -> Converted<Vec<(Box<str>, bool)>> {
    use inner::UpgradeConfig;
    let field = at.field("upgrade_configs");
    let mut upgrades = Vec::with_capacity(configs.len());
    for (index, config) in configs.iter().enumerate() {
        take!(config, field.index(index), UpgradeConfig { upgrade_type, enabled } refuse { filters });
        upgrades.push((upgrade_type.to_ascii_lowercase().into(), values::bool_or(enabled, true)));
    }
    Ok(upgrades)
}

fn protocols(
    common: &Option<core::HttpProtocolOptions>,
    http1: &Option<core::Http1ProtocolOptions>,
    settings: &mut Settings,
    at: &At<'_>,
) -> Converted<()> {
    if let Some(common) = common {
        use core::HttpProtocolOptions;
        let at = at.field("common_http_protocol_options");
        take!(common, at, HttpProtocolOptions {
            idle_timeout, max_connection_duration, max_requests_per_connection, max_headers_count,
        } ignore { max_connection_duration_jitter, max_response_headers_kb, headers_with_underscores_action }
            refuse { max_stream_duration });
        let hour = Some(Duration::from_secs(3600));
        settings.idle_timeout = values::timeout(idle_timeout, hour, &at.field("idle_timeout"))?;
        settings.max_connection_duration =
            values::timeout(max_connection_duration, None, &at.field("max_connection_duration"))?;
        settings.max_requests_per_connection =
            Some(values::u32_or(max_requests_per_connection, 0)).filter(|limit| *limit > 0);
        settings.max_headers = values::u32_or(max_headers_count, settings.max_headers).max(1);
    }
    if let Some(http1) = http1 {
        use core::Http1ProtocolOptions;
        take!(http1, at, Http1ProtocolOptions { accept_http_10 } ignore {
            allow_absolute_url, header_key_format, enable_trailers, allow_chunked_length, send_fully_qualified_url,
            override_stream_error_on_invalid_http_message, use_balsa_parser, allow_custom_methods,
            ignore_http_11_upgrade, default_host_for_http_10,
        });
        settings.accept_http10 = *accept_http_10;
    }
    Ok(())
}
