//! HTTP filters.

use std::borrow::Cow;
use std::sync::Arc;

use lateen_xds::istio::StatsConfig;
use lateen_xds::pb::envoy::extensions::filters::common::fault::v3 as common;
use lateen_xds::pb::envoy::extensions::filters::http::cors::v3 as cors;
use lateen_xds::pb::envoy::extensions::filters::http::ext_authz::v3::ExtAuthz;
use lateen_xds::pb::envoy::extensions::filters::http::fault::v3 as fault;
use lateen_xds::pb::envoy::extensions::filters::http::grpc_stats::v3::FilterConfig as GrpcStats;
use lateen_xds::pb::envoy::extensions::filters::http::jwt_authn::v3::JwtAuthentication;
use lateen_xds::pb::envoy::extensions::filters::http::rbac::v3::Rbac;
use lateen_xds::pb::envoy::extensions::filters::http::router::v3::Router;
use lateen_xds::pb::envoy::extensions::filters::network::http_connection_manager::v3 as hcm;
use prost::{Message, Name as _};

use super::pb::protobuf::Any;
use super::{At, Context, Converted, any, ext_authz, istio_alpn, jwt, rbac, route, take, values};
use crate::config::{
    AbortStatus, AlpnOverride, CorsPolicy as Cors, FaultAbort as Abort, FaultDelay as Delay, FaultPolicy,
    FaultSource, Fraction, HttpFilter as Filter, TrafficDirection,
};
use crate::request_info::AccessLog;
use crate::stats::istio::Changes;

/// The filters of a chain.
#[derive(Debug, Default)]
pub(super) struct Filters {
    pub(super) filters: Vec<Filter>,
    pub(super) metrics: Vec<Arc<dyn AccessLog>>,
    pub(super) suppress_envoy_headers: bool,
    pub(super) alpn: Option<Arc<AlpnOverride>>,
}

/// Reads a chain of HTTP filters; the router must be the last.
pub(super) fn read_all(
    list: &[hcm::HttpFilter],
    context: &Context,
    direction: TrafficDirection,
    at: &At<'_>,
) -> Converted<Filters> {
    let mut filters = Filters::default();
    let (mut routed, mut exchanges) = (false, false);
    for (index, filter) in list.iter().enumerate() {
        let at = at.index(index);
        if routed {
            return Err(at.error("stands after the router, which must be the last filter"));
        }
        use hcm::HttpFilter;
        take!(filter, at, HttpFilter { name, disabled, config_type } ignore { is_optional });
        if *disabled {
            return Err(at.field("disabled").error("is not supported"));
        }
        let config = match config_type {
            Some(hcm::http_filter::ConfigType::TypedConfig(config)) => config,
            Some(hcm::http_filter::ConfigType::ConfigDiscovery(_)) => {
                return Err(at.field("config_discovery").error("is not supported"));
            }
            None => return Err(at.field("typed_config").missing()),
        };
        let field = at.field("typed_config");
        match any::name(config) {
            kind if kind == Router::full_name() => {
                filters.suppress_envoy_headers = router(&any::decode(config, &field)?, &field)?;
                routed = true;
            }
            kind if kind == fault::HttpFault::full_name() => {
                filters
                    .filters
                    .push(Filter::Fault(Arc::new(read_fault(&any::decode(config, &field)?, &field)?)));
            }
            kind if kind == cors::Cors::full_name() => filters.filters.push(Filter::Cors(Arc::default())),
            kind if kind == Rbac::full_name() => {
                let filter = rbac::read(&any::decode(config, &field)?, context, &field)?;
                filters.filters.push(Filter::Rbac(name.as_str().into(), Arc::new(filter)));
            }
            kind if kind == JwtAuthentication::full_name() => {
                let filter = jwt::read(&any::decode(config, &field)?, context, &field)?;
                filters.filters.push(Filter::Jwt(name.as_str().into(), Arc::new(filter)));
            }
            kind if kind == ExtAuthz::full_name() => {
                let filter = ext_authz::read(&any::decode(config, &field)?, context, &field)?;
                filters.filters.push(Filter::ExtAuthz(name.as_str().into(), Arc::new(filter)));
            }
            // Counts alone.
            kind if kind == GrpcStats::full_name() => {}
            _ => match istio_type(config).as_deref() {
                Some("stats.PluginConfig") => {
                    read_stats(config, context, direction, &field)?;
                    filters.metrics.push(context.istio.http_log(direction));
                    exchanges = true;
                }
                Some("io.istio.http.peer_metadata.Config" | "envoy.http.peer_metadata.Config") => {
                    exchanges = true
                }
                Some(istio_alpn::TYPE) => filters.alpn = istio_alpn::read(config, &field)?,
                kind if filter.is_optional => {
                    tracing::warn!(filter = name, kind, "an optional HTTP filter is not known and left out");
                }
                _ => return Err(at.unsupported(format!("the filter {name} ({})", config.type_url))),
            },
        }
    }
    if !routed {
        return Err(at.error("must end with the router"));
    }
    if exchanges {
        // Before all others: the peer's headers must be gone when anything else looks.
        filters
            .filters
            .insert(0, Filter::Extension("peer_metadata".into(), context.istio.exchange(direction)));
    }
    Ok(filters)
}

/// Reads what `istio.stats` is to change about the metrics of a direction.
pub(super) fn read_stats(
    config: &Any,
    context: &Context,
    direction: TrafficDirection,
    at: &At<'_>,
) -> Converted<()> {
    // Wrapped in a TypedStruct, as old control planes send it, it carries nothing that is known here.
    let changes = match any::name(config) == StatsConfig::NAME {
        true => {
            let config = StatsConfig::decode(config.value.as_slice()).map_err(|e| at.error(e.to_string()))?;
            Changes::read(&config).map_err(|label| {
                at.error(format!("{label}: CEL is not evaluated here; a quoted text is possible"))
            })?
        }
        false => Changes::default(),
    };
    context.istio.configure(direction, changes);
    Ok(())
}

/// `xds.type.v3.TypedStruct`, of which only the type matters here.
#[derive(Clone, PartialEq, Message)]
struct TypedStruct {
    #[prost(string, tag = "1")]
    type_url: String,
}

/// The type of one of Istio's extensions, which may be wrapped in a TypedStruct.
pub(super) fn istio_type(config: &Any) -> Option<Cow<'_, str>> {
    let name = any::name(config);
    if name != "xds.type.v3.TypedStruct" && name != "udpa.type.v1.TypedStruct" {
        return Some(Cow::Borrowed(name));
    }
    let inner = TypedStruct::decode(config.value.as_slice()).ok()?;
    Some(Cow::Owned(inner.type_url.rsplit('/').next().unwrap_or_default().to_owned()))
}

/// Reads the router's settings: whether `x-envoy-*` headers are left out.
fn router(message: &Router, at: &At<'_>) -> Converted<bool> {
    take!(message, at, Router { suppress_envoy_headers, upstream_http_filters } ignore {
        dynamic_stats, start_child_span, upstream_log_options, respect_expected_rq_timeout,
        suppress_grpc_request_failure_code_stats, strict_check_headers, reject_connect_request_early_data,
    } refuse { upstream_log });
    if let Some(filter) = upstream_http_filters.iter().find(|f| f.name != "envoy.filters.http.upstream_codec")
    {
        return Err(at.field("upstream_http_filters").unsupported(format!("the filter {}", filter.name)));
    }
    Ok(*suppress_envoy_headers)
}

/// Reads faults.
pub(super) fn read_fault(message: &fault::HttpFault, at: &At<'_>) -> Converted<FaultPolicy> {
    use common::fault_delay::FaultDelaySecifier;
    use fault::HttpFault;
    use fault::fault_abort::ErrorType;
    take!(message, at, HttpFault { delay, abort, upstream_cluster, headers, max_active_faults } ignore {
        delay_percent_runtime, abort_percent_runtime, delay_duration_runtime, abort_http_status_runtime,
        max_active_faults_runtime, response_rate_limit_percent_runtime, abort_grpc_status_runtime,
        disable_downstream_cluster_stats, filter_metadata,
    } refuse { downstream_nodes, response_rate_limit });
    let share = |value: &Option<_>, at: &At<'_>| match value {
        Some(value) => values::fraction(value, &at.field("percentage")),
        None => Ok(Fraction { numerator: 0, denominator: 100 }),
    };
    let delay = match delay {
        Some(delay) => {
            let at = at.field("delay");
            let kind = match &delay.fault_delay_secifier {
                Some(FaultDelaySecifier::FixedDelay(fixed)) => {
                    FaultSource::Fixed(values::duration(fixed, &at.field("fixed_delay"))?)
                }
                Some(FaultDelaySecifier::HeaderDelay(_)) => FaultSource::Header,
                None => return Err(at.field("fixed_delay").missing()),
            };
            Some(Delay { kind, percentage: share(&delay.percentage, &at)? })
        }
        None => None,
    };
    let abort = match abort {
        Some(abort) => {
            let at = at.field("abort");
            let kind = match &abort.error_type {
                Some(ErrorType::HttpStatus(status @ 200..=599)) => {
                    FaultSource::Fixed(AbortStatus::Http(*status as u16))
                }
                Some(ErrorType::HttpStatus(status)) => {
                    return Err(at
                        .field("http_status")
                        .error(format!("{status} is not between 200 and 599")));
                }
                Some(ErrorType::GrpcStatus(status)) => FaultSource::Fixed(AbortStatus::Grpc(*status)),
                Some(ErrorType::HeaderAbort(_)) => FaultSource::Header,
                None => return Err(at.field("http_status").missing()),
            };
            Some(Abort { kind, percentage: share(&abort.percentage, &at)? })
        }
        None => None,
    };
    Ok(FaultPolicy {
        delay,
        abort,
        headers: route::header_matchers(headers, &at.field("headers"))?,
        max_active: max_active_faults.map(|limit| limit.value),
        upstream_cluster: Some(upstream_cluster.as_str()).filter(|name| !name.is_empty()).map(Into::into),
    })
}

/// Reads a CORS policy.
pub(super) fn read_cors(message: &cors::CorsPolicy, at: &At<'_>) -> Converted<Cors> {
    use cors::CorsPolicy;
    take!(message, at, CorsPolicy {
        allow_origin_string_match, allow_methods, allow_headers, expose_headers, max_age, allow_credentials,
        filter_enabled, forward_not_matching_preflights,
    } ignore { shadow_enabled, allow_private_network_access });
    let text = |text: &String| Some(text).filter(|text| !text.is_empty()).map(|text| text.clone().into());
    let field = at.field("allow_origin_string_match");
    let origins = allow_origin_string_match.iter().enumerate();
    let origins = origins.map(|(index, origin)| route::string_matcher(origin, &field.index(index)));
    let enabled = match filter_enabled {
        Some(share) => Some(values::runtime_fraction(share, &at.field("filter_enabled"))?),
        None => None,
    };
    Ok(Cors {
        allow_origins: origins.collect::<Result<_, _>>()?,
        allow_methods: text(allow_methods),
        allow_headers: text(allow_headers),
        expose_headers: text(expose_headers),
        max_age: text(max_age),
        allow_credentials: values::bool_or(allow_credentials, false),
        enabled,
        forward_not_matching_preflights: values::bool_or(forward_not_matching_preflights, true),
    })
}
