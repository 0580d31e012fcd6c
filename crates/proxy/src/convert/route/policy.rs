//! Retries, mirrors, hash policies, rewrites.

use std::time::Duration;

use super::super::pb::{matcher, rds};
use super::super::{At, Context, Converted, take, values};
use super::matches;
use crate::config::{
    Fraction, HashPolicy as Hash, HashSource, MirrorPolicy, Regex, RetryOn, RetryPolicy as Retry,
    Substitution,
};

/// Reads a retry policy. Conditions that are not known are left out, as in Envoy.
pub(super) fn retry(message: &rds::RetryPolicy, at: &At<'_>) -> Converted<Retry> {
    use rds::RetryPolicy;
    use rds::retry_policy::RetryBackOff;
    take!(message, at, RetryPolicy {
        retry_on, num_retries, per_try_timeout, per_try_idle_timeout, retry_host_predicate,
        host_selection_retry_max_attempts, retriable_status_codes, retry_back_off, retriable_headers,
        retriable_request_headers,
    } ignore { rate_limited_retry_back_off, retry_priority, retry_options_predicates, refresh_cluster_on_retry });
    // A list of status codes may stand among the conditions (Istio writes `connect-failure,503`).
    let mut codes: Vec<u16> = Vec::new();
    let mut conditions = RetryOn::default();
    for name in retry_on.split(',').map(str::trim).filter(|name| !name.is_empty()) {
        match (RetryOn::by_name(name), name.parse()) {
            (Some(condition), _) => conditions.0 |= condition.0,
            (None, Ok(code)) => codes.push(code),
            (None, Err(_)) => tracing::warn!(condition = name, "a retry condition is not known and left out"),
        }
    }
    if !codes.is_empty() {
        conditions.0 |= RetryOn::RETRIABLE_STATUS_CODES.0;
    }
    for code in retriable_status_codes {
        codes.push(
            u16::try_from(*code).map_err(|_| at.field("retriable_status_codes").error("is not a status"))?,
        );
    }
    let known = |name: &str| {
        matches!(
            name,
            "envoy.retry_host_predicates.previous_hosts" | "envoy.extensions.retry.host.previous_hosts"
        )
    };
    if let Some(predicate) = retry_host_predicate.iter().find(|predicate| !known(&predicate.name)) {
        return Err(at.field("retry_host_predicate").unsupported(&predicate.name));
    }
    let mut retry = Retry {
        on: conditions,
        max_retries: values::u32_or(num_retries, 1),
        per_try_timeout: values::timeout(per_try_timeout, None, &at.field("per_try_timeout"))?,
        per_try_idle_timeout: values::timeout(per_try_idle_timeout, None, &at.field("per_try_idle_timeout"))?,
        retriable_status_codes: codes,
        retriable_headers: matches::header_matchers(retriable_headers, &at.field("retriable_headers"))?,
        retriable_request_headers: matches::header_matchers(
            retriable_request_headers,
            &at.field("retriable_request_headers"),
        )?,
        avoid_previous_hosts: !retry_host_predicate.is_empty(),
        host_selection_attempts: u32::try_from(*host_selection_retry_max_attempts).unwrap_or(0).max(1),
        ..Retry::default()
    };
    if let Some(back_off) = retry_back_off {
        let at = at.field("retry_back_off");
        take!(back_off, at, RetryBackOff { base_interval, max_interval });
        let base = values::optional_duration(base_interval, &at.field("base_interval"))?;
        retry.base_interval =
            base.ok_or_else(|| at.field("base_interval").missing())?.max(Duration::from_millis(1));
        let most = values::optional_duration(max_interval, &at.field("max_interval"))?;
        retry.max_interval = most.unwrap_or(retry.base_interval * 10).max(retry.base_interval);
    }
    Ok(retry)
}

/// Reads mirrors.
pub(super) fn mirrors(
    list: &[rds::route_action::RequestMirrorPolicy],
    context: &Context,
    at: &At<'_>,
) -> Converted<Vec<MirrorPolicy>> {
    use rds::route_action::RequestMirrorPolicy;
    let mut mirrors = Vec::with_capacity(list.len());
    for (index, policy) in list.iter().enumerate() {
        let at = at.index(index);
        take!(policy, at, RequestMirrorPolicy { cluster, runtime_fraction, disable_shadow_host_suffix_append }
            ignore { trace_sampled } refuse { cluster_header, request_headers_mutations, host_rewrite_literal });
        if cluster.is_empty() {
            return Err(at.field("cluster").missing());
        }
        mirrors.push(MirrorPolicy {
            cluster: context.store.cluster_slot(cluster),
            fraction: match runtime_fraction {
                Some(share) => values::runtime_fraction(share, &at.field("runtime_fraction"))?,
                None => Fraction::ALL,
            },
            keep_host: *disable_shadow_host_suffix_append,
        });
    }
    Ok(mirrors)
}

/// Reads hash policies.
pub(super) fn hash_policies(list: &[rds::route_action::HashPolicy], at: &At<'_>) -> Converted<Vec<Hash>> {
    list.iter().enumerate().map(|(index, policy)| hash_policy(policy, &at.index(index))).collect()
}

fn hash_policy(policy: &rds::route_action::HashPolicy, at: &At<'_>) -> Converted<Hash> {
    use rds::route_action::hash_policy::{Cookie, Header, PolicySpecifier};
    let source = match policy.policy_specifier.as_ref().ok_or_else(|| at.field("header").missing())? {
        PolicySpecifier::Header(header) => {
            take!(header, at.field("header"), Header { header_name } refuse { regex_rewrite });
            HashSource::Header(header_name.to_ascii_lowercase().into())
        }
        PolicySpecifier::Cookie(cookie) => {
            let at = at.field("cookie");
            take!(cookie, at, Cookie { name, ttl, path } ignore { attributes });
            HashSource::Cookie {
                name: name.as_str().into(),
                ttl: values::optional_duration(ttl, &at.field("ttl"))?,
                path: path.as_str().into(),
            }
        }
        PolicySpecifier::ConnectionProperties(properties) if properties.source_ip => HashSource::SourceIp,
        PolicySpecifier::ConnectionProperties(_) => {
            return Err(at.field("connection_properties").error("must set source_ip"));
        }
        PolicySpecifier::QueryParameter(parameter) => HashSource::Query(parameter.name.as_str().into()),
        PolicySpecifier::FilterState(_) => return Err(at.field("filter_state").error("is not supported")),
    };
    Ok(Hash { source, terminal: policy.terminal })
}

/// Reads a regex with its substitution.
pub(super) fn rewrite(
    message: &matcher::RegexMatchAndSubstitute,
    at: &At<'_>,
) -> Converted<(Regex, Substitution)> {
    let pattern = message.pattern.as_ref().ok_or_else(|| at.field("pattern").missing())?;
    let regex =
        Regex::anywhere(&pattern.regex).map_err(|error| at.field("pattern").error(error.to_string()))?;
    Ok((regex, Substitution::new(&message.substitution)))
}
