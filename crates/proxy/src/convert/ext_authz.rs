//! External authorization: filters of HTTP and of connections, and what routes say.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lateen_xds::pb::envoy::extensions::filters::http::ext_authz::v3 as http;
use lateen_xds::pb::envoy::extensions::filters::network::ext_authz::v3 as network;

use super::jwt::{header_name, http_uri_target};
use super::pb::{core, matcher};
use super::{At, Context, Converted, metadata, route, take, values};
use crate::config::{
    AuthzBody, AuthzService, AuthzSettings, ExtAuthzFilter, ExtAuthzOverride, GrpcAuthz, HttpAuthz,
    StringMatcher,
};
use crate::upstream::stats::ExtAuthzStats;

/// Limit of a gRPC call where none is given; Envoy's default.
const GRPC_TIMEOUT: Duration = Duration::from_millis(200);

/// Reads the HTTP filter.
pub(super) fn read(message: &http::ExtAuthz, context: &Context, at: &At<'_>) -> Converted<ExtAuthzFilter> {
    use http::ExtAuthz;
    use http::ext_authz::Services;
    take!(message, at, ExtAuthz {
        transport_api_version, failure_mode_allow, failure_mode_allow_header_add, with_request_body, clear_route_cache,
        status_on_error, metadata_context_namespaces, filter_enabled, filter_enabled_metadata, deny_at_disable,
        include_peer_certificate, stat_prefix, allowed_headers, disallowed_headers, include_tls_session,
        max_denied_response_body_bytes, services,
    } ignore {
        bootstrap_metadata_labels_key, charge_cluster_response_stats, emit_filter_state_stats, emit_client_span,
        validate_mutations, enforce_response_header_limits, enable_dynamic_metadata_ingestion, filter_metadata,
    } refuse {
        typed_metadata_context_namespaces, route_metadata_context_namespaces, route_typed_metadata_context_namespaces,
        encode_raw_headers, decoder_header_mutation_rules, shadow_mode,
    });
    check_version(*transport_api_version, at)?;
    let mut filter = defaults(services_of(services, context, at)?, context);
    let http_allowed = match services {
        Some(Services::HttpService(service)) => service.authorization_request.as_ref(),
        _ => None,
    };
    let http_allowed = http_allowed.and_then(|request| request.allowed_headers.as_ref());
    filter.failure_mode_allow = *failure_mode_allow;
    filter.failure_mode_header = *failure_mode_allow_header_add;
    filter.body = body(with_request_body, &at.field("with_request_body"))?;
    filter.clear_route_cache = *clear_route_cache;
    if let Some(status) = status_on_error {
        filter.status_on_error = u16::try_from(status.code)
            .ok()
            .filter(|code| (200..600).contains(code))
            .ok_or_else(|| at.field("status_on_error").error(format!("{} is no status", status.code)))?;
    }
    filter.metadata_namespaces = texts(metadata_context_namespaces);
    let field = at.field("filter_enabled");
    filter.share =
        filter_enabled.as_ref().map(|share| values::runtime_fraction(share, &field)).transpose()?;
    filter.enabled = enabled(filter_enabled_metadata, at)?;
    // The runtime holds nothing: the default counts.
    filter.deny_at_disable =
        deny_at_disable.as_ref().is_some_and(|flag| values::bool_or(&flag.default_value, false));
    filter.peer_certificate = *include_peer_certificate;
    filter.tls_session = *include_tls_session;
    filter.allowed_headers = match allowed_headers.as_ref().or(http_allowed) {
        Some(list) => Some(matchers(Some(list), &at.field("allowed_headers"))?),
        None => None,
    };
    filter.disallowed_headers = matchers(disallowed_headers.as_ref(), &at.field("disallowed_headers"))?;
    filter.max_denied_body = *max_denied_response_body_bytes as usize;
    filter.stat_prefix = match stat_prefix.as_str() {
        "" => "".into(),
        prefix => format!("{prefix}.").into(),
    };
    Ok(filter)
}

/// Reads the filter of connections.
pub(super) fn read_network(
    message: &network::ExtAuthz,
    context: &Context,
    at: &At<'_>,
) -> Converted<ExtAuthzFilter> {
    use network::ExtAuthz;
    take!(message, at, ExtAuthz {
        stat_prefix, grpc_service, failure_mode_allow, include_peer_certificate, transport_api_version,
        filter_enabled_metadata, include_tls_session, metadata_context_namespaces,
    } ignore { bootstrap_metadata_labels_key, send_tls_alert_on_denial } refuse {
        typed_metadata_context_namespaces, shadow_mode,
    });
    check_version(*transport_api_version, at)?;
    let field = at.field("grpc_service");
    let service = grpc(grpc_service.as_ref().ok_or_else(|| field.missing())?, context, &field)?;
    Ok(ExtAuthzFilter {
        failure_mode_allow: *failure_mode_allow,
        peer_certificate: *include_peer_certificate,
        tls_session: *include_tls_session,
        enabled: enabled(filter_enabled_metadata, at)?,
        metadata_namespaces: texts(metadata_context_namespaces),
        stat_prefix: stat_prefix.as_str().into(),
        ..defaults(service, context)
    })
}

/// Reads what a route says.
pub(super) fn read_route(
    message: &http::ExtAuthzPerRoute,
    context: &Context,
    at: &At<'_>,
) -> Converted<ExtAuthzOverride> {
    use http::CheckSettings;
    use http::check_settings::ServiceOverride;
    use http::ext_authz_per_route::Override;
    let settings = match &message.r#override {
        Some(Override::Disabled(true)) => return Ok(ExtAuthzOverride::Disabled),
        Some(Override::Disabled(false)) => return Err(at.field("disabled").error("can only be true")),
        Some(Override::CheckSettings(settings)) => settings,
        None => return Err(at.field("check_settings").missing()),
    };
    let at = &at.field("check_settings");
    take!(settings, at, CheckSettings {
        context_extensions, disable_request_body_buffering, with_request_body, service_override,
    } ignore { emit_client_span });
    let mut extensions: Vec<(Box<str>, Box<str>)> =
        context_extensions.iter().map(|(key, value)| (key.as_str().into(), value.as_str().into())).collect();
    extensions.sort();
    let service = match service_override {
        Some(ServiceOverride::GrpcService(service)) => {
            Some(grpc(service, context, &at.field("grpc_service"))?)
        }
        Some(ServiceOverride::HttpService(service)) => {
            Some(http_service(service, context, &at.field("http_service"))?)
        }
        None => None,
    };
    Ok(ExtAuthzOverride::Settings(Arc::new(AuthzSettings {
        extensions,
        no_body: *disable_request_body_buffering,
        body: body(with_request_body, &at.field("with_request_body"))?,
        service,
    })))
}

fn check_version(version: i32, at: &At<'_>) -> Converted<()> {
    if version == core::ApiVersion::V3 as i32 {
        return Ok(());
    }
    Err(at.field("transport_api_version").error("must be V3"))
}

/// Envoy's defaults.
fn defaults(service: AuthzService, context: &Context) -> ExtAuthzFilter {
    ExtAuthzFilter {
        service,
        failure_mode_allow: false,
        failure_mode_header: false,
        body: None,
        clear_route_cache: false,
        status_on_error: 403,
        metadata_namespaces: Vec::new(),
        share: None,
        enabled: None,
        deny_at_disable: false,
        peer_certificate: false,
        tls_session: false,
        allowed_headers: None,
        disallowed_headers: Vec::new(),
        max_denied_body: 0,
        stat_prefix: "".into(),
        stats: Arc::new(ExtAuthzStats::new(context.store.workers())),
    }
}

fn texts(list: &[String]) -> Vec<Box<str>> {
    list.iter().map(|text| text.as_str().into()).collect()
}

fn enabled(
    matcher: &Option<matcher::MetadataMatcher>,
    at: &At<'_>,
) -> Converted<Option<crate::config::MetadataMatcher>> {
    let field = at.field("filter_enabled_metadata");
    matcher.as_ref().map(|matcher| metadata::read(matcher, &field)).transpose()
}

fn body(settings: &Option<http::BufferSettings>, at: &At<'_>) -> Converted<Option<AuthzBody>> {
    use http::BufferSettings;
    let Some(settings) = settings else { return Ok(None) };
    take!(settings, at, BufferSettings { max_request_bytes, allow_partial_message, pack_as_bytes });
    if *max_request_bytes == 0 {
        return Err(at.field("max_request_bytes").error("must be more than 0"));
    }
    Ok(Some(AuthzBody {
        max: *max_request_bytes as usize,
        partial: *allow_partial_message,
        raw: *pack_as_bytes,
    }))
}

fn services_of(
    services: &Option<http::ext_authz::Services>,
    context: &Context,
    at: &At<'_>,
) -> Converted<AuthzService> {
    use http::ext_authz::Services;
    match services {
        Some(Services::GrpcService(service)) => grpc(service, context, &at.field("grpc_service")),
        Some(Services::HttpService(service)) => http_service(service, context, &at.field("http_service")),
        None => Err(at.field("grpc_service").missing()),
    }
}

fn grpc(message: &core::GrpcService, context: &Context, at: &At<'_>) -> Converted<AuthzService> {
    use core::GrpcService;
    use core::grpc_service::{EnvoyGrpc, TargetSpecifier};
    take!(message, at, GrpcService { timeout, initial_metadata, target_specifier } refuse { retry_policy });
    let target = match target_specifier {
        Some(TargetSpecifier::EnvoyGrpc(target)) => target,
        Some(TargetSpecifier::GoogleGrpc(_)) => {
            return Err(at.field("google_grpc").error("is not supported"));
        }
        None => return Err(at.field("envoy_grpc").missing()),
    };
    let field = at.field("envoy_grpc");
    take!(target, field, EnvoyGrpc { cluster_name, authority } ignore {
        max_receive_message_length, skip_envoy_headers,
    } refuse { retry_policy });
    if cluster_name.is_empty() {
        return Err(field.field("cluster_name").missing());
    }
    let authority = if authority.is_empty() { cluster_name } else { authority };
    // A cluster's name may hold what an authority must not.
    let authority = match authority.parse::<::http::uri::Authority>() {
        Ok(_) => authority.clone(),
        Err(_) => "authorization".to_owned(),
    };
    Ok(AuthzService::Grpc(Arc::new(GrpcAuthz {
        cluster: context.store.cluster_slot(cluster_name),
        authority: authority.into(),
        timeout: values::timeout(timeout, Some(GRPC_TIMEOUT), &at.field("timeout"))?.unwrap_or(GRPC_TIMEOUT),
        metadata: headers(initial_metadata, &at.field("initial_metadata"))?,
    })))
}

fn http_service(message: &http::HttpService, context: &Context, at: &At<'_>) -> Converted<AuthzService> {
    use http::{AuthorizationRequest, AuthorizationResponse, HttpService};
    take!(message, at, HttpService {
        server_uri, path_prefix, path_override, authorization_request, authorization_response,
    } refuse { retry_policy });
    let field = at.field("server_uri");
    let target = http_uri_target(server_uri.as_ref().ok_or_else(|| field.missing())?, &field)?;
    if !path_prefix.is_empty() && !path_prefix.starts_with('/') {
        return Err(at.field("path_prefix").error("must begin with `/`"));
    }
    let mut service = HttpAuthz {
        cluster: context.store.cluster_slot(&target.cluster),
        timeout: target.timeout,
        path_prefix: path_prefix.as_str().into(),
        path_override: Some(path_override.clone()).filter(|path| !path.is_empty()).map(Bytes::from),
        headers_to_add: Vec::new(),
        upstream_headers: Vec::new(),
        upstream_append: Vec::new(),
        client_headers: None,
        client_success_headers: Vec::new(),
        metadata_headers: Vec::new(),
    };
    if let Some(request) = authorization_request {
        let at = at.field("authorization_request");
        // Which headers are told is read with the filter.
        take!(request, at, AuthorizationRequest { headers_to_add, allowed_headers });
        matchers(allowed_headers.as_ref(), &at.field("allowed_headers"))?;
        service.headers_to_add = headers(headers_to_add, &at.field("headers_to_add"))?;
    }
    if let Some(response) = authorization_response {
        let at = at.field("authorization_response");
        take!(
            response,
            at,
            AuthorizationResponse {
                allowed_upstream_headers,
                allowed_upstream_headers_to_append,
                allowed_client_headers,
                allowed_client_headers_on_success,
                dynamic_metadata_from_headers,
            }
        );
        let read =
            |list: &Option<matcher::ListStringMatcher>, name: &str| matchers(list.as_ref(), &at.field(name));
        service.upstream_headers = read(allowed_upstream_headers, "allowed_upstream_headers")?;
        service.upstream_append =
            read(allowed_upstream_headers_to_append, "allowed_upstream_headers_to_append")?;
        service.client_success_headers =
            read(allowed_client_headers_on_success, "allowed_client_headers_on_success")?;
        service.metadata_headers = read(dynamic_metadata_from_headers, "dynamic_metadata_from_headers")?;
        if allowed_client_headers.is_some() {
            service.client_headers = Some(read(allowed_client_headers, "allowed_client_headers")?);
        }
    }
    Ok(AuthzService::Http(Arc::new(service)))
}

fn matchers(list: Option<&matcher::ListStringMatcher>, at: &At<'_>) -> Converted<Vec<StringMatcher>> {
    let patterns = list.into_iter().flat_map(|list| &list.patterns).enumerate();
    patterns
        .map(|(index, pattern)| {
            // Names of headers have no case.
            let pattern = matcher::StringMatcher { ignore_case: true, ..pattern.clone() };
            route::string_matcher(&pattern, &at.field("patterns").index(index))
        })
        .collect()
}

/// Headers to send, with legal names and values.
fn headers(list: &[core::HeaderValue], at: &At<'_>) -> Converted<Vec<(Bytes, Bytes)>> {
    let read = list.iter().enumerate().map(|(index, header)| {
        use core::HeaderValue;
        let at = at.index(index);
        take!(header, at, HeaderValue { key, value, raw_value });
        let name = header_name(key, &at.field("key"))?;
        let value = if raw_value.is_empty() { value.as_bytes() } else { raw_value };
        if ::http::HeaderValue::from_bytes(value).is_err() {
            return Err(at.field("value").error("holds what cannot stand in a header"));
        }
        Ok((Bytes::copy_from_slice(name.as_bytes()), Bytes::copy_from_slice(value)))
    });
    read.collect()
}
