//! `envoy.config.route.v3.RouteConfiguration` and `VirtualHost`.

mod action;
mod headers;
mod matches;
mod overrides;
mod policy;

use std::sync::Arc;

use super::pb::rds;
use super::{At, Context, Converted, take, values};
use crate::config::{RequireTls, Route as RuntimeRoute, RouteConfig, RouteTable, VirtualHost as Host};
pub(super) use matches::{header_matcher, header_matchers, read as route_match, string_matcher};

/// A route configuration and what it needs.
#[derive(Debug)]
pub struct ConvertedRoutes {
    /// The table.
    pub table: RouteTable,
    /// Virtual hosts come by VHDS.
    pub on_demand_hosts: bool,
}

/// Converts a route configuration.
///
/// # Errors
/// The path of the field that cannot be used.
pub fn route_configuration(
    message: &rds::RouteConfiguration,
    context: &Context,
) -> Converted<ConvertedRoutes> {
    read_table(message, context, &At::root("route_configuration"))
}

pub(super) fn read_table(
    message: &rds::RouteConfiguration,
    context: &Context,
    at: &At<'_>,
) -> Converted<ConvertedRoutes> {
    use rds::RouteConfiguration;
    take!(message, at, RouteConfiguration {
        name, virtual_hosts, vhds, internal_only_headers, response_headers_to_add, response_headers_to_remove,
        request_headers_to_add, request_headers_to_remove, most_specific_header_mutations_wins,
        max_direct_response_body_size_bytes, request_mirror_policies, ignore_port_in_host_matching,
    } ignore { validate_clusters, cluster_specifier_plugins, metadata } refuse {
        vhost_header, ignore_path_parameters_in_path_matching, typed_per_filter_config, route_specifiers,
    });
    let max_direct_response = values::u32_or(max_direct_response_body_size_bytes, 4096);
    let config = RouteConfig {
        name: name.as_str().into(),
        edits: headers::level(
            request_headers_to_add,
            request_headers_to_remove,
            response_headers_to_add,
            response_headers_to_remove,
            at,
        )?,
        most_specific_wins: *most_specific_header_mutations_wins,
        internal_only_headers: internal_only_headers
            .iter()
            .map(|name| name.to_ascii_lowercase().into())
            .collect(),
        ignore_port: *ignore_port_in_host_matching,
        max_direct_response,
        mirrors: policy::mirrors(request_mirror_policies, context, &at.field("request_mirror_policies"))?,
        on_demand_hosts: vhds.is_some(),
    };
    let field = at.field("virtual_hosts");
    let mut hosts = Vec::with_capacity(virtual_hosts.len());
    for (index, host) in virtual_hosts.iter().enumerate() {
        hosts.push(Arc::new(read_host(host, context, max_direct_response, &field.index(index))?));
    }
    let on_demand_hosts = config.on_demand_hosts;
    let table = RouteTable::new(Arc::new(config), hosts).map_err(|reason| field.error(reason))?;
    Ok(ConvertedRoutes { table, on_demand_hosts })
}

/// Converts a virtual host that comes by VHDS.
///
/// # Errors
/// The path of the field that cannot be used.
pub fn virtual_host(message: &rds::VirtualHost, context: &Context) -> Converted<Host> {
    read_host(message, context, 4096, &At::root("virtual_host"))
}

fn read_host(message: &rds::VirtualHost, context: &Context, max_body: u32, at: &At<'_>) -> Converted<Host> {
    use rds::VirtualHost;
    use rds::virtual_host::TlsRequirementType;
    take!(message, at, VirtualHost {
        name, domains, routes, require_tls, request_headers_to_add, request_headers_to_remove, response_headers_to_add,
        response_headers_to_remove, typed_per_filter_config, include_request_attempt_count,
        include_attempt_count_in_response, retry_policy, per_request_buffer_limit_bytes, request_body_buffer_limit,
    } ignore { virtual_clusters, rate_limits, hedge_policy, include_is_timeout_retry_header, metadata } refuse {
        matcher, cors, retry_policy_typed_config, request_mirror_policies, route_specifiers,
    });
    let require_tls = match TlsRequirementType::try_from(*require_tls) {
        Ok(TlsRequirementType::None) => RequireTls::None,
        Ok(TlsRequirementType::ExternalOnly) => RequireTls::ExternalOnly,
        Ok(TlsRequirementType::All) => RequireTls::All,
        Err(_) => return Err(at.field("require_tls").unsupported(require_tls)),
    };
    if domains.is_empty() {
        return Err(at.field("domains").error("must hold at least one domain"));
    }
    let field = at.field("routes");
    let mut converted = Vec::with_capacity(routes.len());
    for (index, route) in routes.iter().enumerate() {
        converted.push(Arc::new(read_route(route, context, max_body, &field.index(index))?));
    }
    let limit = request_body_buffer_limit.map(|limit| u32::try_from(limit.value).unwrap_or(u32::MAX));
    Ok(Host {
        name: name.as_str().into(),
        domains: domains.iter().map(|domain| domain.to_ascii_lowercase().into()).collect(),
        routes: converted,
        require_tls,
        edits: headers::level(
            request_headers_to_add,
            request_headers_to_remove,
            response_headers_to_add,
            response_headers_to_remove,
            at,
        )?,
        filters: overrides::read(typed_per_filter_config, context, &at.field("typed_per_filter_config"))?,
        retry: match retry_policy {
            Some(policy) => Some(Arc::new(policy::retry(policy, &at.field("retry_policy"))?)),
            None => None,
        },
        attempt_count_in_request: *include_request_attempt_count,
        attempt_count_in_response: *include_attempt_count_in_response,
        retry_buffer_limit: per_request_buffer_limit_bytes.map(|limit| limit.value).or(limit),
    })
}

fn read_route(
    message: &rds::Route,
    context: &Context,
    max_body: u32,
    at: &At<'_>,
) -> Converted<RuntimeRoute> {
    use rds::{Decorator, Route};
    take!(message, at, Route {
        name, r#match, metadata, decorator, typed_per_filter_config, request_headers_to_add, request_headers_to_remove,
        response_headers_to_add, response_headers_to_remove, action, tracing,
    } ignore { stat_prefix, per_request_buffer_limit_bytes, request_body_buffer_limit }
        refuse { route_specifiers });
    let wanted = r#match.as_ref().ok_or_else(|| at.field("match").missing())?;
    let decorator = match decorator {
        Some(decorator) => {
            take!(decorator, at, Decorator { operation, propagate });
            let propagate = values::bool_or(propagate, true);
            let named = Some(operation.clone()).filter(|operation| !operation.is_empty());
            named.map(|operation| crate::config::Decorator { operation: operation.into(), propagate })
        }
        None => None,
    };
    let istio = values::metadata(metadata, "istio");
    Ok(RuntimeRoute {
        name: name.as_str().into(),
        matches: matches::read(wanted, &at.field("match"))?,
        action: action::read(action, context, max_body, at)?,
        edits: headers::level(
            request_headers_to_add,
            request_headers_to_remove,
            response_headers_to_add,
            response_headers_to_remove,
            at,
        )?,
        filters: overrides::read(typed_per_filter_config, context, &at.field("typed_per_filter_config"))?,
        decorator,
        tracing: match tracing {
            Some(message) => Some(Box::new(super::tracing::route(message, context, &at.field("tracing"))?)),
            None => None,
        },
        config_name: istio.and_then(|istio| values::text(istio, "config")).map(Into::into),
    })
}
