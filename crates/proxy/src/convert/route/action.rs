//! What happens to a request.

use std::time::Duration;

use bytes::Bytes;

use super::super::pb::{core, rds};
use super::super::{At, Context, Converted, take, values};
use super::{headers, overrides, policy};
use crate::config::{
    Action, DirectResponse, HostRewrite, PathRewrite, Redirect, RouteAction as Forward, Target,
    WeightedCluster, WeightedClusters,
};

/// Reads a route's action.
pub(super) fn read(
    action: &Option<rds::route::Action>,
    context: &Context,
    max_body: u32,
    at: &At<'_>,
) -> Converted<Action> {
    use rds::route::Action as Kind;
    match action.as_ref().ok_or_else(|| at.field("route").missing())? {
        Kind::Route(route) => Ok(Action::Forward(Box::new(forward(route, context, &at.field("route"))?))),
        Kind::Redirect(redirect) => {
            Ok(Action::Redirect(Box::new(read_redirect(redirect, &at.field("redirect"))?)))
        }
        Kind::DirectResponse(direct) => {
            Ok(Action::Direct(direct_response(direct, max_body, &at.field("direct_response"))?))
        }
        Kind::FilterAction(_) => Err(at.field("filter_action").error("is not supported")),
        Kind::NonForwardingAction(_) => Ok(Action::None),
    }
}

fn forward(message: &rds::RouteAction, context: &Context, at: &At<'_>) -> Converted<Forward> {
    use rds::RouteAction;
    use rds::route_action::{MaxStreamDuration, UpgradeConfig};
    take!(message, at, RouteAction {
        cluster_not_found_response_code, metadata_match, prefix_rewrite, regex_rewrite, append_x_forwarded_host,
        timeout, idle_timeout, retry_policy, request_mirror_policies, priority, hash_policy, max_grpc_timeout,
        grpc_timeout_offset, upgrade_configs, max_stream_duration, cluster_specifier, host_rewrite_specifier,
    } ignore {
        flush_timeout, early_data_policy, rate_limits, include_vh_rate_limits, hedge_policy, internal_redirect_action,
        max_internal_redirects,
    } refuse { path_rewrite_policy, path_rewrite, retry_policy_typed_config, cors, internal_redirect_policy });
    let path_rewrite = match (regex_rewrite, prefix_rewrite.as_str()) {
        (Some(rewrite), _) => {
            let (regex, substitution) = policy::rewrite(rewrite, &at.field("regex_rewrite"))?;
            Some(PathRewrite::Regex(regex, substitution))
        }
        (None, "") => None,
        (None, prefix) => Some(PathRewrite::Prefix(Bytes::from(prefix.to_owned()))),
    };
    let fifteen = Some(Duration::from_secs(15));
    let mut forward = Forward {
        target: target(cluster_specifier, metadata_match, context, at)?,
        cluster_not_found_status: not_found_status(*cluster_not_found_response_code, at)?,
        path_rewrite,
        host_rewrite: host_rewrite(host_rewrite_specifier, at)?,
        append_forwarded_host: *append_x_forwarded_host,
        timeout: values::timeout(timeout, fifteen, &at.field("timeout"))?,
        idle_timeout: values::optional_duration(idle_timeout, &at.field("idle_timeout"))?,
        max_stream_duration: None,
        grpc_timeout_max: values::optional_duration(max_grpc_timeout, &at.field("max_grpc_timeout"))?,
        grpc_timeout_offset: values::optional_duration(
            grpc_timeout_offset,
            &at.field("grpc_timeout_offset"),
        )?
        .unwrap_or_default(),
        retry: match retry_policy {
            Some(retry) => Some(policy::retry(retry, &at.field("retry_policy"))?.into()),
            None => None,
        },
        mirrors: policy::mirrors(request_mirror_policies, context, &at.field("request_mirror_policies"))?,
        hash: policy::hash_policies(hash_policy, &at.field("hash_policy"))?,
        high_priority: *priority == core::RoutingPriority::High as i32,
        upgrades: Vec::new(),
        subset: values::subset(&[metadata_match]),
    };
    if let Some(limits) = max_stream_duration {
        let at = at.field("max_stream_duration");
        take!(
            limits,
            at,
            MaxStreamDuration { max_stream_duration, grpc_timeout_header_max, grpc_timeout_header_offset }
        );
        forward.max_stream_duration =
            values::timeout(max_stream_duration, None, &at.field("max_stream_duration"))?;
        let most = values::optional_duration(grpc_timeout_header_max, &at.field("grpc_timeout_header_max"))?;
        forward.grpc_timeout_max = most.or(forward.grpc_timeout_max);
        let offset =
            values::optional_duration(grpc_timeout_header_offset, &at.field("grpc_timeout_header_offset"))?;
        forward.grpc_timeout_offset = offset.unwrap_or(forward.grpc_timeout_offset);
    }
    for (index, config) in upgrade_configs.iter().enumerate() {
        let field = at.field("upgrade_configs");
        take!(config, field.index(index), UpgradeConfig { upgrade_type, enabled } refuse { connect_config });
        forward.upgrades.push((upgrade_type.to_ascii_lowercase().into(), values::bool_or(enabled, true)));
    }
    Ok(forward)
}

fn not_found_status(value: i32, at: &At<'_>) -> Converted<u16> {
    use rds::route_action::ClusterNotFoundResponseCode as Code;
    match Code::try_from(value) {
        Ok(Code::ServiceUnavailable) => Ok(503),
        Ok(Code::NotFound) => Ok(404),
        Ok(Code::InternalServerError) => Ok(500),
        Err(_) => Err(at.field("cluster_not_found_response_code").unsupported(value)),
    }
}

fn target(
    specifier: &Option<rds::route_action::ClusterSpecifier>,
    metadata: &Option<core::Metadata>,
    context: &Context,
    at: &At<'_>,
) -> Converted<Target> {
    use rds::route_action::ClusterSpecifier;
    match specifier {
        Some(ClusterSpecifier::Cluster(name)) if !name.is_empty() => {
            Ok(Target::Cluster(context.store.cluster_slot(name)))
        }
        Some(ClusterSpecifier::ClusterHeader(name)) => Ok(Target::Header(name.to_ascii_lowercase().into())),
        Some(ClusterSpecifier::WeightedClusters(weighted)) => {
            let at = at.field("weighted_clusters");
            Ok(Target::Weighted(weighted_clusters(weighted, metadata, context, &at)?))
        }
        Some(
            ClusterSpecifier::ClusterSpecifierPlugin(_) | ClusterSpecifier::InlineClusterSpecifierPlugin(_),
        ) => Err(at.field("cluster_specifier_plugin").error("is not supported")),
        Some(ClusterSpecifier::Cluster(_)) | None => Err(at.field("cluster").missing()),
    }
}

fn weighted_clusters(
    message: &rds::WeightedCluster,
    metadata: &Option<core::Metadata>,
    context: &Context,
    at: &At<'_>,
) -> Converted<WeightedClusters> {
    use rds::WeightedCluster as Weighted;
    use rds::weighted_cluster::cluster_weight::HostRewriteSpecifier;
    use rds::weighted_cluster::{ClusterWeight, RandomValueSpecifier};
    let Weighted { clusters, total_weight: _, runtime_key_prefix: _, random_value_specifier } = message;
    if let Some(RandomValueSpecifier::HeaderName(_)) = random_value_specifier {
        return Err(at.field("header_name").error("is not supported"));
    }
    let field = at.field("clusters");
    let mut entries = Vec::with_capacity(clusters.len());
    for (index, entry) in clusters.iter().enumerate() {
        let at = field.index(index);
        take!(entry, at, ClusterWeight {
            name, weight, request_headers_to_add, request_headers_to_remove, response_headers_to_add,
            response_headers_to_remove, typed_per_filter_config, host_rewrite_specifier, metadata_match,
        } refuse { cluster_header });
        if name.is_empty() {
            return Err(at.field("name").missing());
        }
        let host_rewrite = host_rewrite_specifier.as_ref().map(|rewrite| {
            let HostRewriteSpecifier::HostRewriteLiteral(host) = rewrite;
            Bytes::from(host.clone())
        });
        entries.push(WeightedCluster {
            cluster: context.store.cluster_slot(name),
            weight: values::u32_or(weight, 0),
            edits: headers::level(
                request_headers_to_add,
                request_headers_to_remove,
                response_headers_to_add,
                response_headers_to_remove,
                &at,
            )?,
            filters: overrides::read(typed_per_filter_config, context, &at.field("typed_per_filter_config"))?,
            host_rewrite,
            subset: values::subset(&[metadata, metadata_match]),
        });
    }
    WeightedClusters::new(entries).ok_or_else(|| at.error("the weights must sum up to more than zero"))
}

fn host_rewrite(
    specifier: &Option<rds::route_action::HostRewriteSpecifier>,
    at: &At<'_>,
) -> Converted<Option<HostRewrite>> {
    use rds::route_action::HostRewriteSpecifier as Specifier;
    Ok(match specifier {
        None => None,
        Some(Specifier::HostRewriteLiteral(host)) => Some(HostRewrite::Literal(Bytes::from(host.clone()))),
        Some(Specifier::AutoHostRewrite(auto)) => auto.value.then_some(HostRewrite::Auto),
        Some(Specifier::HostRewriteHeader(name)) => {
            Some(HostRewrite::Header(name.to_ascii_lowercase().into()))
        }
        Some(Specifier::HostRewritePathRegex(rewrite)) => {
            let (regex, substitution) = policy::rewrite(rewrite, &at.field("host_rewrite_path_regex"))?;
            Some(HostRewrite::PathRegex(regex, substitution))
        }
        Some(Specifier::HostRewrite(_)) => return Err(at.field("host_rewrite").error("is not supported")),
    })
}

fn read_redirect(message: &rds::RedirectAction, at: &At<'_>) -> Converted<Redirect> {
    use rds::RedirectAction;
    use rds::redirect_action::{PathRewriteSpecifier, RedirectResponseCode as Code, SchemeRewriteSpecifier};
    take!(
        message,
        at,
        RedirectAction {
            host_redirect,
            port_redirect,
            response_code,
            strip_query,
            scheme_rewrite_specifier,
            path_rewrite_specifier,
        }
    );
    let status = match Code::try_from(*response_code) {
        Ok(Code::MovedPermanently) => 301,
        Ok(Code::Found) => 302,
        Ok(Code::SeeOther) => 303,
        Ok(Code::TemporaryRedirect) => 307,
        Ok(Code::PermanentRedirect) => 308,
        Err(_) => return Err(at.field("response_code").unsupported(response_code)),
    };
    let scheme = match scheme_rewrite_specifier {
        Some(SchemeRewriteSpecifier::HttpsRedirect(true)) => Some("https".into()),
        Some(SchemeRewriteSpecifier::SchemeRedirect(scheme)) => Some(scheme.to_ascii_lowercase().into()),
        Some(SchemeRewriteSpecifier::HttpsRedirect(false)) | None => None,
    };
    let path = match path_rewrite_specifier {
        Some(PathRewriteSpecifier::PathRedirect(path)) => Some(PathRewrite::Full(Bytes::from(path.clone()))),
        Some(PathRewriteSpecifier::PrefixRewrite(prefix)) => {
            Some(PathRewrite::Prefix(Bytes::from(prefix.clone())))
        }
        Some(PathRewriteSpecifier::RegexRewrite(rewrite)) => {
            let (regex, substitution) = policy::rewrite(rewrite, &at.field("regex_rewrite"))?;
            Some(PathRewrite::Regex(regex, substitution))
        }
        Some(PathRewriteSpecifier::PathRewrite(_)) => {
            return Err(at.field("path_rewrite").error("is not supported"));
        }
        None => None,
    };
    Ok(Redirect {
        status,
        scheme,
        host: Some(host_redirect.as_str()).filter(|host| !host.is_empty()).map(Into::into),
        port: match port_redirect {
            0 => None,
            port => Some(values::port(*port, &at.field("port_redirect"))?),
        },
        path,
        strip_query: *strip_query,
    })
}

fn direct_response(
    message: &rds::DirectResponseAction,
    max_body: u32,
    at: &At<'_>,
) -> Converted<DirectResponse> {
    use rds::DirectResponseAction;
    take!(message, at, DirectResponseAction { status, body } refuse { body_format });
    if !(200..=599).contains(status) {
        return Err(at.field("status").error(format!("{status} is not between 200 and 599")));
    }
    let body = match body {
        Some(source) => values::data_source(source, &at.field("body"))?,
        None => Vec::new(),
    };
    if body.len() > max_body as usize {
        return Err(at.field("body").error(format!("has {} bytes, more than {max_body}", body.len())));
    }
    Ok(DirectResponse { status: *status as u16, body: body.into() })
}
