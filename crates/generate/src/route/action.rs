//! What a route does with a request: forward, redirect or answer.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lateen_api::Duration;
use lateen_api::networking::virtual_service::Destination;
use lateen_api::networking::virtual_service_http::{
    HeaderOperations, Headers, HttpBody, HttpDirectResponse, HttpRedirect, HttpRetry, HttpRoute,
    HttpRouteDestination, RedirectPort, RedirectPortSelection,
};
use lateen_xds::pb::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use lateen_xds::pb::envoy::config::core::v3::{
    DataSource, HeaderValue, HeaderValueOption, RuntimeFractionalPercent, data_source,
};
use lateen_xds::pb::envoy::config::route::v3::redirect_action::{
    PathRewriteSpecifier, RedirectResponseCode, SchemeRewriteSpecifier,
};
use lateen_xds::pb::envoy::config::route::v3::route_action::{
    ClusterSpecifier, HostRewriteSpecifier, MaxStreamDuration, RequestMirrorPolicy,
};
use lateen_xds::pb::envoy::config::route::v3::weighted_cluster::ClusterWeight;
use lateen_xds::pb::envoy::config::route::v3::{
    DirectResponseAction, RedirectAction, RetryPolicy, RouteAction, WeightedCluster, retry_policy,
};
use lateen_xds::pb::envoy::extensions::retry::host::previous_hosts::v3::PreviousHostsPredicate;
use lateen_xds::pb::envoy::r#type::matcher::v3::RegexMatchAndSubstitute;

use super::hash;
use super::matching;
use super::rule::Target;
use crate::proto::{any, boolean, duration, percent, seconds, u32_value};

/// The conditions on which Istio retries when nothing is said.
const RETRY_ON: &str = "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes";

/// Headers that a route changes, in Envoy's terms.
#[derive(Debug, Default)]
pub(crate) struct HeaderChanges {
    pub request_add: Vec<HeaderValueOption>,
    pub request_remove: Vec<String>,
    pub response_add: Vec<HeaderValueOption>,
    pub response_remove: Vec<String>,
    /// What `Host` or `:authority` is set to.
    pub authority: Option<String>,
}

impl HeaderChanges {
    /// The changes that a VirtualService asks for.
    pub fn of(headers: Option<&Headers>) -> Self {
        let (request, response) =
            (headers.and_then(|h| h.request.as_ref()), headers.and_then(|h| h.response.as_ref()));
        let mut changes = Self {
            request_add: added(request, true),
            request_remove: request.map(|r| r.remove.clone()).unwrap_or_default(),
            response_add: added(response, false),
            response_remove: response.map(|r| r.remove.clone()).unwrap_or_default(),
            authority: None,
        };
        let mut set = request.iter().flat_map(|r| r.set.iter().chain(&r.add));
        changes.authority = set.find(|(name, _)| is_authority(name)).map(|(_, value)| value.clone());
        changes
    }
}

fn is_authority(name: &str) -> bool {
    name.eq_ignore_ascii_case("host") || name.eq_ignore_ascii_case(":authority")
}

fn added(operations: Option<&HeaderOperations>, of_request: bool) -> Vec<HeaderValueOption> {
    let Some(operations) = operations else { return Vec::new() };
    let option = |key: &String, value: &String, action: HeaderAppendAction| HeaderValueOption {
        header: Some(HeaderValue { key: key.clone(), value: value.clone(), ..HeaderValue::default() }),
        append_action: action as i32,
        ..HeaderValueOption::default()
    };
    let plain = |(key, _): &(&String, &String)| !of_request || !is_authority(key);
    let add = operations.add.iter().filter(plain);
    let set = operations.set.iter().filter(plain);
    add.map(|(k, v)| option(k, v, HeaderAppendAction::AppendIfExistsOrAdd))
        .chain(set.map(|(k, v)| option(k, v, HeaderAppendAction::OverwriteIfExistsOrAdd)))
        .collect()
}

/// Timeouts as Istio sets them: none unless asked for, and clients cannot set their own by `grpc-timeout`.
pub(crate) fn timeouts(action: &mut RouteAction, timeout: Option<Duration>) {
    let timeout = duration(timeout.unwrap_or(Duration::ZERO));
    action.timeout = Some(timeout);
    action.max_stream_duration = Some(MaxStreamDuration {
        max_stream_duration: Some(timeout),
        grpc_timeout_header_max: Some(timeout),
        ..Default::default()
    });
}

/// Forwards to the destinations of a rule.
pub(crate) fn forward(rule: &HttpRoute, target: &Target<'_>) -> RouteAction {
    let mut action =
        RouteAction { cluster_specifier: Some(clusters(&rule.route, target)), ..Default::default() };
    timeouts(&mut action, rule.timeout);
    action.retry_policy =
        retries(rule.retries.as_ref().or(target.view.mesh.settings.default_retries.as_ref()));
    action.request_mirror_policies = mirrors(rule, target);
    if let Some(rewrite) = &rule.rewrite {
        match &rewrite.uri_regex_rewrite {
            Some(regex) => {
                action.regex_rewrite = Some(RegexMatchAndSubstitute {
                    pattern: Some(matching::regex(&regex.r#match)),
                    substitution: regex.rewrite.clone(),
                });
            }
            None => action.prefix_rewrite.clone_from(&rewrite.uri),
        }
        if !rewrite.authority.is_empty() {
            action.host_rewrite_specifier =
                Some(HostRewriteSpecifier::HostRewriteLiteral(rewrite.authority.clone()));
        }
    }
    let single = rule.route.first().filter(|_| rule.route.len() == 1);
    let authority = HeaderChanges::of(rule.headers.as_ref()).authority;
    let authority = single.and_then(|r| HeaderChanges::of(r.headers.as_ref()).authority).or(authority);
    if let Some(authority) = authority {
        action.host_rewrite_specifier = Some(HostRewriteSpecifier::HostRewriteLiteral(authority));
    }
    let hosts = rule.route.iter().filter_map(|r| r.destination.as_ref());
    action.hash_policy = hash::policies(hosts, target);
    action
}

/// The clusters that requests go to; destinations of no weight get none.
fn clusters(routes: &[HttpRouteDestination], target: &Target<'_>) -> ClusterSpecifier {
    if let [only] = routes {
        return ClusterSpecifier::Cluster(target.cluster(only.destination.as_ref()));
    }
    let weighted = routes.iter().filter(|r| r.weight > 0).map(|route| {
        let headers = HeaderChanges::of(route.headers.as_ref());
        ClusterWeight {
            name: target.cluster(route.destination.as_ref()),
            weight: u32::try_from(route.weight).ok().and_then(u32_value),
            request_headers_to_add: headers.request_add,
            request_headers_to_remove: headers.request_remove,
            response_headers_to_add: headers.response_add,
            response_headers_to_remove: headers.response_remove,
            host_rewrite_specifier: headers.authority.map(
                lateen_xds::pb::envoy::config::route::v3::weighted_cluster::cluster_weight::HostRewriteSpecifier::HostRewriteLiteral,
            ),
            ..ClusterWeight::default()
        }
    });
    ClusterSpecifier::WeightedClusters(WeightedCluster { clusters: weighted.collect(), ..Default::default() })
}

/// Istio's retries: two attempts on failures that reached no application, each at an endpoint not tried before.
pub(crate) fn retries(wanted: Option<&HttpRetry>) -> Option<RetryPolicy> {
    let mut policy = RetryPolicy {
        retry_on: RETRY_ON.to_owned(),
        num_retries: u32_value(2),
        retriable_status_codes: vec![503],
        retry_host_predicate: vec![previous_hosts()],
        host_selection_retry_max_attempts: 5,
        ..RetryPolicy::default()
    };
    let Some(wanted) = wanted else { return Some(policy) };
    if wanted.attempts <= 0 {
        return None;
    }
    policy.num_retries = u32::try_from(wanted.attempts).ok().and_then(u32_value);
    if !wanted.retry_on.is_empty() {
        (policy.retry_on, policy.retriable_status_codes) = conditions(&wanted.retry_on);
    }
    policy.per_try_timeout = wanted.per_try_timeout.map(duration);
    if wanted.retry_ignore_previous_hosts == Some(false) {
        policy.retry_host_predicate.clear();
        policy.host_selection_retry_max_attempts = 0;
    }
    policy.retry_back_off = wanted
        .backoff
        .map(|base| retry_policy::RetryBackOff { base_interval: Some(duration(base)), max_interval: None });
    Some(policy)
}

/// Splits Istio's `retryOn` into conditions and status codes: numbers in the list are codes to retry on.
fn conditions(retry_on: &str) -> (String, Vec<u32>) {
    let mut codes = Vec::new();
    let mut names: Vec<&str> = Vec::new();
    for part in retry_on.split(',').map(str::trim).filter(|p| !p.is_empty()) {
        match part.parse::<u32>() {
            Ok(code) if (100..600).contains(&code) => codes.push(code),
            _ => names.push(part),
        }
    }
    const BY_CODE: &str = "retriable-status-codes";
    if !codes.is_empty() && !names.contains(&BY_CODE) {
        names.push(BY_CODE);
    }
    (names.join(","), codes)
}

fn previous_hosts() -> retry_policy::RetryHostPredicate {
    retry_policy::RetryHostPredicate {
        name: "envoy.retry_host_predicates.previous_hosts".to_owned(),
        config_type: any(&PreviousHostsPredicate {})
            .map(retry_policy::retry_host_predicate::ConfigType::TypedConfig),
    }
}

fn mirrors(rule: &HttpRoute, target: &Target<'_>) -> Vec<RequestMirrorPolicy> {
    let policy = |destination: Option<&Destination>, share: f64| {
        (share > 0.0).then(|| RequestMirrorPolicy {
            cluster: target.cluster(destination),
            runtime_fraction: Some(RuntimeFractionalPercent {
                default_value: Some(percent(share)),
                runtime_key: String::new(),
            }),
            trace_sampled: boolean(false),
            ..RequestMirrorPolicy::default()
        })
    };
    let old = rule.mirror.as_ref().and_then(|mirror| {
        let share = rule.mirror_percentage.as_ref().map(|p| p.value);
        policy(Some(mirror), share.or(rule.mirror_percent.map(f64::from)).unwrap_or(100.0))
    });
    let new = rule.mirrors.iter().filter_map(|mirror| {
        policy(mirror.destination.as_ref(), mirror.percentage.as_ref().map_or(100.0, |p| p.value))
    });
    new.chain(old).collect()
}

/// Sends the client elsewhere.
pub(crate) fn redirect(wanted: &HttpRedirect) -> RedirectAction {
    let path = match wanted.uri.strip_prefix("%PREFIX()%") {
        Some(rest) => Some(PathRewriteSpecifier::PrefixRewrite(rest.to_owned())),
        None => Some(wanted.uri.clone()).filter(|u| !u.is_empty()).map(PathRewriteSpecifier::PathRedirect),
    };
    let code = match wanted.redirect_code {
        302 => RedirectResponseCode::Found,
        303 => RedirectResponseCode::SeeOther,
        307 => RedirectResponseCode::TemporaryRedirect,
        308 => RedirectResponseCode::PermanentRedirect,
        _ => RedirectResponseCode::MovedPermanently,
    };
    let mut action = RedirectAction {
        host_redirect: wanted.authority.clone(),
        response_code: code as i32,
        path_rewrite_specifier: path,
        ..RedirectAction::default()
    };
    if !wanted.scheme.is_empty() {
        action.scheme_rewrite_specifier = Some(SchemeRewriteSpecifier::SchemeRedirect(wanted.scheme.clone()));
    }
    match &wanted.redirect_port {
        Some(RedirectPort::Port(port)) => action.port_redirect = *port,
        // Envoy keeps the request's port unless told otherwise; it drops the default ports of schemes by itself.
        Some(RedirectPort::Derive(RedirectPortSelection::FromRequestPort)) | None => {}
        Some(RedirectPort::Derive(RedirectPortSelection::FromProtocolDefault)) => {
            action.port_redirect = if wanted.scheme == "https" { 443 } else { 80 };
        }
    }
    action
}

/// Answers by itself.
pub(crate) fn direct_response(wanted: &HttpDirectResponse) -> DirectResponseAction {
    let body = match &wanted.body {
        Some(HttpBody::Text(text)) => Some(data_source::Specifier::InlineString(text.clone())),
        Some(HttpBody::Base64(encoded)) => {
            STANDARD.decode(encoded).ok().map(data_source::Specifier::InlineBytes)
        }
        Some(HttpBody::Unset) | None => None,
    };
    DirectResponseAction {
        status: wanted.status,
        body: body.map(|specifier| DataSource { specifier: Some(specifier), ..DataSource::default() }),
        ..DirectResponseAction::default()
    }
}

/// Forwards to one cluster, without rules of its own.
pub(crate) fn plain(cluster: String) -> RouteAction {
    let mut action =
        RouteAction { cluster_specifier: Some(ClusterSpecifier::Cluster(cluster)), ..RouteAction::default() };
    action.timeout = seconds(0);
    action.max_stream_duration = Some(MaxStreamDuration {
        max_stream_duration: seconds(0),
        grpc_timeout_header_max: seconds(0),
        ..Default::default()
    });
    action
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_retry_on_are_status_codes() {
        let (names, codes) = conditions("gateway-error, 503,connect-failure");
        assert_eq!(names, "gateway-error,connect-failure,retriable-status-codes");
        assert_eq!(codes, [503]);
    }

    #[test]
    fn no_attempts_mean_no_retries_and_silence_means_two() {
        assert_eq!(retries(Some(&HttpRetry::default())), None);
        assert_eq!(retries(None).and_then(|p| p.num_retries).map(|n| n.value), Some(2));
    }

    #[test]
    fn setting_host_rewrites_the_authority() {
        let set = [("Host".to_owned(), "other".to_owned()), ("x".to_owned(), "1".to_owned())].into();
        let request = Some(HeaderOperations { set, ..HeaderOperations::default() });
        let changes = HeaderChanges::of(Some(&Headers { request, response: None }));
        assert_eq!(changes.authority.as_deref(), Some("other"));
        assert_eq!(changes.request_add.len(), 1);
    }
}
