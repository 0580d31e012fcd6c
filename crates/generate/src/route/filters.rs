//! What a route says to single HTTP filters: faults and CORS.

use lateen_api::networking::virtual_service_http::{
    AbortError, CorsPolicy, DelayTime, FaultAbort, FaultDelay, HttpFaultInjection, Percent,
    UnmatchedPreflights,
};
use lateen_api::validation::virtual_service_http::GRPC_STATUS;
use lateen_xds::pb::envoy::config::core::v3::RuntimeFractionalPercent;
use lateen_xds::pb::envoy::extensions::filters::common::fault::v3 as delay;
use lateen_xds::pb::envoy::extensions::filters::http::cors::v3 as cors;
use lateen_xds::pb::envoy::extensions::filters::http::fault::v3 as fault;
use lateen_xds::pb::envoy::r#type::matcher::v3::StringMatcher;
use lateen_xds::pb::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
use lateen_xds::pb::envoy::r#type::v3::FractionalPercent;

use super::matching;
use crate::proto::{boolean, duration, percent};

/// The names under which the filters stand in listeners and routes.
pub(crate) const FAULT: &str = "envoy.filters.http.fault";
/// See [`FAULT`].
pub(crate) const CORS: &str = "envoy.filters.http.cors";

/// Delays and aborts.
pub(crate) fn fault(wanted: &HttpFaultInjection) -> fault::HttpFault {
    fault::HttpFault {
        delay: wanted.delay.as_ref().and_then(delayed),
        abort: wanted.abort.as_ref().and_then(aborted),
        ..fault::HttpFault::default()
    }
}

fn delayed(wanted: &FaultDelay) -> Option<delay::FaultDelay> {
    let Some(DelayTime::Fixed(time)) = &wanted.http_delay else { return None };
    Some(delay::FaultDelay {
        percentage: Some(share(wanted.percentage.as_ref(), wanted.percent)),
        fault_delay_secifier: Some(delay::fault_delay::FaultDelaySecifier::FixedDelay(duration(*time))),
    })
}

fn aborted(wanted: &FaultAbort) -> Option<fault::FaultAbort> {
    use fault::fault_abort::ErrorType;
    let error = match wanted.error.as_ref()? {
        AbortError::HttpStatus(status) => ErrorType::HttpStatus(u32::try_from(*status).ok()?),
        AbortError::GrpcStatus(name) => ErrorType::GrpcStatus(grpc_status(name)?),
        AbortError::Http2Error(_) => return None,
    };
    Some(fault::FaultAbort {
        percentage: Some(share(wanted.percentage.as_ref(), wanted.percent)),
        error_type: Some(error),
        ..fault::FaultAbort::default()
    })
}

/// The share of requests; all, if nothing is said. Source: Istio, `fault.delay.percentage`: "if left unspecified, all
/// requests will be delayed".
fn share(wanted: Option<&Percent>, old: i32) -> FractionalPercent {
    match (wanted, old) {
        (Some(wanted), _) => percent(wanted.value),
        (None, 0) => percent(100.0),
        (None, old) => percent(f64::from(old)),
    }
}

/// The number of a gRPC status code's name (or of a number). Source: gRPC, `doc/statuscodes.md`.
fn grpc_status(name: &str) -> Option<u32> {
    let known = GRPC_STATUS.iter().position(|n| n.eq_ignore_ascii_case(name));
    known.and_then(|at| u32::try_from(at).ok()).or_else(|| name.parse().ok())
}

/// Which origins may read the answers.
pub(crate) fn cors(wanted: &CorsPolicy) -> cors::CorsPolicy {
    let old = wanted.allow_origin.iter().map(|origin| StringMatcher {
        match_pattern: Some(match origin.as_str() {
            "*" => MatchPattern::SafeRegex(matching::regex(".*")),
            exact => MatchPattern::Exact(exact.to_owned()),
        }),
        ..StringMatcher::default()
    });
    let any =
        || matching::text(&lateen_api::networking::virtual_service::StringMatch::Regex(".*".to_owned()));
    let star = |m: &lateen_api::networking::virtual_service::StringMatch| {
        use lateen_api::networking::virtual_service::StringMatch::Exact;
        if matches!(m, Exact(text) if text == "*") { any() } else { matching::text(m) }
    };
    let seconds = wanted.max_age.map(|d| (d.nanos() / 1_000_000_000).to_string());
    cors::CorsPolicy {
        allow_origin_string_match: wanted.allow_origins.iter().filter_map(star).chain(old).collect(),
        allow_methods: wanted.allow_methods.join(","),
        allow_headers: wanted.allow_headers.join(","),
        expose_headers: wanted.expose_headers.join(","),
        max_age: seconds.unwrap_or_default(),
        allow_credentials: wanted.allow_credentials.and_then(boolean),
        filter_enabled: Some(RuntimeFractionalPercent {
            default_value: Some(percent(100.0)),
            runtime_key: String::new(),
        }),
        forward_not_matching_preflights: match wanted.unmatched_preflights {
            UnmatchedPreflights::Unspecified => None,
            UnmatchedPreflights::Forward => boolean(true),
            UnmatchedPreflights::Ignore => boolean(false),
        },
        ..cors::CorsPolicy::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_and_new_percentages_mean_the_same_and_none_means_all() {
        assert_eq!(share(None, 50), share(Some(&Percent { value: 50.0 }), 0));
        assert_eq!(share(None, 0), percent(100.0));
        assert_eq!(share(Some(&Percent { value: 0.0 }), 0).numerator, 0);
    }

    #[test]
    fn grpc_statuses_are_known_by_name_and_number() {
        assert_eq!(grpc_status("UNAVAILABLE"), Some(14));
        assert_eq!(grpc_status("13"), Some(13));
        assert_eq!(grpc_status("NO_SUCH"), None);
    }
}
