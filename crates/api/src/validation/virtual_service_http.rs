//! Rules of the HTTP routes of VirtualService.

use super::common::{
    duration, duration_at, duration_or_zero, is_dns_label, labels, percent, percentage, port,
};
use super::virtual_service::{destination, match_port, required_destination, total_weight, weight};
use super::{headers, host};
use crate::networking::virtual_service::StringMatch;
use crate::networking::virtual_service_http::{
    AbortError, CorsPolicy, DelayTime, FaultAbort, FaultDelay, HttpBody, HttpDirectResponse,
    HttpFaultInjection, HttpMatchRequest, HttpRedirect, HttpRetry, HttpRewrite, HttpRoute, RedirectPort,
};
use crate::wire::report::Report;

/// What `retryOn` may hold, from Envoy's router filter: `x-envoy-retry-on` and `x-envoy-retry-grpc-on`.
const RETRY_ON: &[&str] = &[
    "5xx",
    "gateway-error",
    "reset",
    "reset-before-request",
    "connect-failure",
    "envoy-ratelimited",
    "retriable-4xx",
    "refused-stream",
    "retriable-status-codes",
    "retriable-headers",
    "http3-post-connect-failure",
    "cancelled",
    "deadline-exceeded",
    "internal",
    "resource-exhausted",
    "unavailable",
];

const METHODS: &[&str] = &["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "CONNECT", "OPTIONS", "TRACE"];

/// The names of gRPC's status codes: <https://grpc.io/docs/guides/status-codes/>.
pub const GRPC_STATUS: &[&str] = &[
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// The largest body of a fixed response, in bytes.
const MAX_BODY: usize = 1024 * 1024;

/// Reports every error of a route; `delegate`: the virtual service has no hosts of its own.
pub fn validate(route: &HttpRoute, delegate: bool, report: &mut Report) {
    conflicts(route, delegate, report);
    let delegating = delegate || route.delegate.is_some();
    report.each("match", &route.r#match, |r, condition| condition_rules(r, condition, delegating));
    headers::operations(report, route.headers.as_ref());
    if let Some(policy) = &route.cors_policy {
        report.field("corsPolicy", |r| cors(r, policy));
    }
    if let Some(fault) = &route.fault {
        report.field("fault", |r| fault_injection(r, fault));
    }
    mirrors(report, route);
    if let Some(redirect) = &route.redirect {
        report.field("redirect", |r| redirect_rules(r, redirect));
    }
    if let Some(response) = &route.direct_response {
        report.field("directResponse", |r| direct_response(r, response));
    }
    if let Some(policy) = &route.retries {
        report.field("retries", |r| retries(r, policy));
    }
    if let Some(change) = &route.rewrite {
        report.field("rewrite", |r| rewrite(r, change));
    }
    authority_is_set_once(report, route);
    report.each("route", &route.route, |r, to| {
        required_destination(r, to.destination.as_ref());
        weight(r, to.weight);
        headers::operations(r, to.headers.as_ref());
    });
    total_weight(report, route.route.iter().map(|to| to.weight));
    duration_at(report, "timeout", route.timeout);
}

/// A route forwards, redirects, answers or delegates, and only one of these.
fn conflicts(route: &HttpRoute, delegate: bool, report: &mut Report) {
    let forwards = !route.route.is_empty();
    if let Some(next) = &route.delegate {
        if delegate {
            report.error_at("delegate", "delegate HTTP route cannot contain delegate");
        } else {
            for (field, set) in [
                ("redirect", route.redirect.is_some()),
                ("route", forwards),
                ("directResponse", route.direct_response.is_some()),
            ] {
                if set {
                    report.error_at(field, format!("a route with a delegate must not specify {field}"));
                }
            }
            if next.name.is_empty() {
                report.warn_at("delegate", "names no virtual service, so the route does nothing");
            }
            return;
        }
    }
    let actions = [
        ("redirect", route.redirect.is_some()),
        ("directResponse", route.direct_response.is_some()),
        ("route", forwards),
    ];
    let set: Vec<&str> = actions.iter().filter(|(_, set)| *set).map(|(name, _)| *name).collect();
    match set.as_slice() {
        [] => report.error_with(
            "HTTP route, redirect or directResponse is required",
            "name a destination under route",
        ),
        [_] => {}
        [first, .., last] => report.error(format!("HTTP route cannot contain both {last} and {first}")),
    }
    for (field, _) in actions.iter().take(2).filter(|(_, set)| *set) {
        if route.fault.is_some() {
            report.error_at("fault", format!("HTTP route cannot contain both fault and {field}"));
        }
        if route.rewrite.is_some() {
            report.error_at("rewrite", format!("HTTP route cannot contain both rewrite and {field}"));
        }
    }
}

fn condition_rules(report: &mut Report, condition: &HttpMatchRequest, delegating: bool) {
    let parts = [
        ("uri", &condition.uri),
        ("scheme", &condition.scheme),
        ("method", &condition.method),
        ("authority", &condition.authority),
    ];
    for (field, matcher) in parts {
        if let Some(matcher) = matcher {
            report.field(field, |r| matcher_rules(r, matcher, delegating));
        }
    }
    let maps = [
        ("headers", &condition.headers, true),
        ("withoutHeaders", &condition.without_headers, true),
        ("queryParams", &condition.query_params, false),
    ];
    for (field, map, is_header) in maps {
        report.field(field, |r| {
            for (name, matcher) in map {
                r.key(name, |r| {
                    if is_header && !headers::is_claim(name) {
                        r.check(headers::name(name));
                    }
                    matcher_rules(r, matcher, delegating);
                });
            }
        });
    }
    match_port(report, condition.port);
    labels(report, "sourceLabels", &condition.source_labels);
    host::gateway_names(report, &condition.gateways);
    if !condition.source_namespace.is_empty() && !is_dns_label(&condition.source_namespace) {
        report.error_at(
            "sourceNamespace",
            format!("{:?} is no name of a namespace", condition.source_namespace),
        );
    }
}

fn matcher_rules(report: &mut Report, matcher: &StringMatch, delegating: bool) {
    if delegating && matches!(matcher, StringMatch::Regex(_)) {
        report.error_at("regex", "regex match is not supported for delegating");
    }
    headers::string_match(report, matcher);
}

fn cors(report: &mut Report, policy: &CorsPolicy) {
    report.each("allowOrigins", &policy.allow_origins, |r, origin| match origin {
        StringMatch::Unset => r.error("allowed origin must have exact, prefix or regex"),
        StringMatch::Exact(text) | StringMatch::Prefix(text) | StringMatch::Regex(text)
            if text.is_empty() =>
        {
            r.error("allowed origin must not be empty");
        }
        origin => headers::string_match(r, origin),
    });
    if !policy.allow_origin.is_empty() {
        report.warn_at("allowOrigin", "deprecated; use allowOrigins");
    }
    report.each("allowMethods", &policy.allow_methods, |r, method| {
        if !METHODS.contains(&method.as_str()) && method != "*" {
            r.error(format!("{method:?} is not a supported HTTP method"));
        }
    });
    for (field, names) in [("allowHeaders", &policy.allow_headers), ("exposeHeaders", &policy.expose_headers)]
    {
        report.each(field, names, |r, name| {
            if name != "*" {
                r.check(headers::name(name));
            }
        });
    }
    if let Some(age) = policy.max_age {
        report.field("maxAge", |r| {
            r.check(duration(age));
            if age.nanos() % 1_000_000_000 != 0 {
                r.error("maxAge is accurate only to seconds precision");
            }
        });
    }
}

fn fault_injection(report: &mut Report, fault: &HttpFaultInjection) {
    if fault.abort.is_none() && fault.delay.is_none() {
        report.error("HTTP fault injection must have an abort and/or a delay");
    }
    if let Some(delay) = &fault.delay {
        report.field("delay", |r| fault_delay(r, delay));
    }
    if let Some(abort) = &fault.abort {
        report.field("abort", |r| fault_abort(r, abort));
    }
}

fn share(report: &mut Report, whole: i32, exact: Option<f64>) {
    report.check_at("percent", percent(whole));
    if let Some(value) = exact {
        report.field("percentage", |r| r.check_at("value", percentage(value)));
    }
}

fn fault_delay(report: &mut Report, delay: &FaultDelay) {
    share(report, delay.percent, delay.percentage.as_ref().map(|p| p.value));
    match &delay.http_delay {
        Some(DelayTime::Fixed(time)) => report.check_at("fixedDelay", duration(*time)),
        Some(DelayTime::Exponential(_)) => {
            report.error_at("exponentialDelay", "exponentialDelay is not supported")
        }
        None => report.warn("delay has no time, so it does nothing; set fixedDelay"),
    }
}

fn fault_abort(report: &mut Report, abort: &FaultAbort) {
    share(report, abort.percent, abort.percentage.as_ref().map(|p| p.value));
    match &abort.error {
        Some(AbortError::HttpStatus(code)) => report.check_at("httpStatus", status(i64::from(*code))),
        Some(AbortError::GrpcStatus(name)) => {
            if !GRPC_STATUS.contains(&name.as_str()) {
                report.error_at(
                    "grpcStatus",
                    format!("gRPC status {name:?} is not supported; use one of {}", GRPC_STATUS.join(", ")),
                );
            }
        }
        Some(AbortError::Http2Error(_)) => report.error_at("http2Error", "HTTP/2 abort is not supported"),
        None => report.warn("abort has no error, so it does nothing; set httpStatus or grpcStatus"),
    }
}

fn status(code: i64) -> Result<(), String> {
    if (200..=599).contains(&code) {
        Ok(())
    } else {
        Err(format!("HTTP status {code} is not in range 200-599"))
    }
}

fn mirrors(report: &mut Report, route: &HttpRoute) {
    if let Some(to) = &route.mirror {
        report.field("mirror", |r| destination(r, to));
        if !route.mirrors.is_empty() {
            report.error_at("mirrors", "HTTP route cannot contain both mirror and mirrors");
        }
    }
    report.each("mirrors", &route.mirrors, |r, mirror| {
        required_destination(r, mirror.destination.as_ref());
        if let Some(share) = &mirror.percentage {
            r.field("percentage", |r| r.check_at("value", percentage(share.value)));
        }
    });
    if let Some(value) = route.mirror_percent {
        report.check_at("mirrorPercent", percent(i32::try_from(value).unwrap_or(i32::MAX)));
        report.warn_at("mirrorPercent", "deprecated; use mirrorPercentage");
    }
    if let Some(share) = &route.mirror_percentage {
        report.field("mirrorPercentage", |r| r.check_at("value", percentage(share.value)));
    }
}

fn redirect_rules(report: &mut Report, redirect: &HttpRedirect) {
    let nothing = redirect.uri.is_empty() && redirect.authority.is_empty() && redirect.scheme.is_empty();
    if nothing && redirect.redirect_port.is_none() {
        report.error("redirect must specify uri, authority, scheme, or port");
    }
    if redirect.redirect_code != 0 && !(300..=399).contains(&redirect.redirect_code) {
        report.error_at(
            "redirectCode",
            format!("{} is not a valid redirect code, must be 3xx", redirect.redirect_code),
        );
    }
    if !matches!(redirect.scheme.as_str(), "" | "http" | "https") {
        report.error_at(
            "scheme",
            format!("{:?} is no scheme of a redirect, must be http or https", redirect.scheme),
        );
    }
    if let Some(RedirectPort::Port(number)) = redirect.redirect_port {
        report.check_at("port", port(number));
    }
}

fn direct_response(report: &mut Report, response: &HttpDirectResponse) {
    report.check_at("status", status(i64::from(response.status)));
    let size = match &response.body {
        Some(HttpBody::Text(text)) => text.len(),
        Some(HttpBody::Base64(text)) => text.len() / 4 * 3,
        Some(HttpBody::Unset) | None => 0,
    };
    if size > MAX_BODY {
        report.error_at("body", format!("is {size} bytes; at most {MAX_BODY} are allowed"));
    } else if size > MAX_BODY / 10 {
        report.warn_at("body", "large bodies cost the control plane and every proxy memory");
    }
}

fn retries(report: &mut Report, policy: &HttpRetry) {
    super::common::not_negative(report, "attempts", policy.attempts);
    let configured = policy.per_try_timeout.is_some()
        || !policy.retry_on.is_empty()
        || policy.retry_remote_localities.is_some()
        || policy.backoff.is_some();
    if policy.attempts == 0 && configured {
        report.error_at("attempts", "http retry policy configured when attempts are set to 0 (disabled)");
    }
    if let Some(time) = policy.per_try_timeout {
        report.check_at("perTryTimeout", duration_or_zero(time));
    }
    duration_at(report, "backoff", policy.backoff);
    if policy.retry_on.is_empty() {
        return;
    }
    for condition in policy.retry_on.split(',') {
        let is_status = condition.parse::<u16>().is_ok_and(|code| (100..=599).contains(&code));
        if !is_status && !RETRY_ON.contains(&condition.trim()) {
            report.error_at("retryOn", format!("{condition:?} is not a valid retryOn policy"));
        }
    }
}

fn rewrite(report: &mut Report, change: &HttpRewrite) {
    match &change.uri_regex_rewrite {
        Some(_) if !change.uri.is_empty() => {
            report.error("rewrite may only contain one of uri or uriRegexRewrite")
        }
        None if change.uri.is_empty() && change.authority.is_empty() => {
            report.error("rewrite must specify at least one of uri, uriRegexRewrite, or authority");
        }
        _ => {}
    }
    if let Some(by) = &change.uri_regex_rewrite {
        report.field("uriRegexRewrite", |r| {
            if by.r#match.is_empty() || by.rewrite.is_empty() {
                r.error("requires both match and rewrite");
            } else {
                r.check_at("match", headers::regex(&by.r#match));
            }
        });
    }
}

/// The authority is set by `rewrite`, or by one header operation, not by several.
fn authority_is_set_once(report: &mut Report, route: &HttpRoute) {
    let request = route.headers.as_ref().and_then(|h| h.request.as_ref());
    let mut settings: Vec<&str> =
        route.rewrite.iter().map(|r| r.authority.as_str()).filter(|a| !a.is_empty()).collect();
    for map in request.iter().flat_map(|r| [&r.set, &r.add]) {
        settings.extend(
            map.iter().filter(|(name, _)| headers::is_authority(name)).map(|(_, value)| value.as_str()),
        );
    }
    if let [first, second, ..] = settings.as_slice() {
        report.error(format!(
            "authority cannot be set multiple times: have {first:?}, attempting to set {second:?}"
        ));
    }
}
