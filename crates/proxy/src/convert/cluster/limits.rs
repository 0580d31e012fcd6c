//! Circuit breakers, outlier detection.

use std::time::Duration;

use super::super::pb::{cds, core};
use super::super::{At, Converted, take, values};
use crate::config::{CircuitBreakers as Limits, Cluster, OutlierDetection as Outlier};

/// Circuit breakers of both priorities.
pub(super) fn circuit_breakers(
    breakers: &Option<cds::CircuitBreakers>,
    cluster: &mut Cluster,
    at: &At<'_>,
) -> Converted<()> {
    use cds::CircuitBreakers;
    let Some(breakers) = breakers else { return Ok(()) };
    take!(breakers, at, CircuitBreakers { thresholds } refuse { per_host_thresholds });
    for (index, threshold) in thresholds.iter().enumerate() {
        let field = at.field("thresholds");
        let at = field.index(index);
        let limits = read_limits(threshold, &at)?;
        if threshold.priority == core::RoutingPriority::High as i32 {
            cluster.high_limits = limits;
        } else {
            cluster.limits = limits;
        }
    }
    Ok(())
}

fn read_limits(thresholds: &cds::circuit_breakers::Thresholds, at: &At<'_>) -> Converted<Limits> {
    use cds::circuit_breakers::Thresholds;
    use cds::circuit_breakers::thresholds::RetryBudget;
    take!(thresholds, at, Thresholds {
        priority, max_connections, max_pending_requests, max_requests, max_retries, retry_budget,
    } ignore { track_remaining, max_connection_pools });
    if core::RoutingPriority::try_from(*priority).is_err() {
        return Err(at.field("priority").unsupported(priority));
    }
    let retry_budget = match retry_budget {
        Some(budget) => {
            take!(budget, at, RetryBudget { budget_percent, min_retry_concurrency } ignore { budget_interval });
            let percent = budget_percent.map_or(20.0, |percent| percent.value);
            Some((percent, values::u32_or(min_retry_concurrency, 3)))
        }
        None => None,
    };
    let defaults = Limits::default();
    Ok(Limits {
        max_connections: values::u32_or(max_connections, defaults.max_connections),
        max_pending_requests: values::u32_or(max_pending_requests, defaults.max_pending_requests),
        max_requests: values::u32_or(max_requests, defaults.max_requests),
        max_retries: values::u32_or(max_retries, defaults.max_retries),
        retry_budget,
    })
}

/// Outlier detection.
pub(super) fn outlier_detection(
    detection: &Option<cds::OutlierDetection>,
    at: &At<'_>,
) -> Converted<Option<Outlier>> {
    use cds::OutlierDetection;
    let Some(detection) = detection else { return Ok(None) };
    take!(detection, at, OutlierDetection {
        consecutive_5xx, interval, base_ejection_time, max_ejection_percent, enforcing_consecutive_5xx,
        consecutive_gateway_failure, enforcing_consecutive_gateway_failure, split_external_local_origin_errors,
        consecutive_local_origin_failure, enforcing_consecutive_local_origin_failure, max_ejection_time,
        enforcing_failure_percentage, enforcing_failure_percentage_local_origin,
    } ignore {
        enforcing_success_rate, success_rate_minimum_hosts, success_rate_request_volume, success_rate_stdev_factor,
        enforcing_local_origin_success_rate, failure_percentage_minimum_hosts, failure_percentage_request_volume,
        failure_percentage_threshold, successful_active_health_check_uneject_host, max_ejection_time_jitter,
        always_eject_one_host,
    } refuse { monitors, detect_degraded_hosts });
    for (field, share) in [
        ("enforcing_failure_percentage", enforcing_failure_percentage),
        ("enforcing_failure_percentage_local_origin", enforcing_failure_percentage_local_origin),
    ] {
        if values::u32_or(share, 0) != 0 {
            return Err(at.field(field).unsupported("ejection by failure percentage"));
        }
    }
    let duration = |value, name, default| -> Converted<Duration> {
        Ok(values::optional_duration(value, &at.field(name))?.unwrap_or(default))
    };
    // A share of enforcement other than none is taken as always.
    let enforced = |count: &_, default, share: &_, default_share| {
        Some(values::u32_or(count, default))
            .filter(|count| *count > 0 && values::u32_or(share, default_share) > 0)
    };
    let defaults = Outlier::default();
    let base_ejection = duration(base_ejection_time, "base_ejection_time", defaults.base_ejection)?;
    Ok(Some(Outlier {
        consecutive_5xx: enforced(consecutive_5xx, 5, enforcing_consecutive_5xx, 100),
        consecutive_gateway: enforced(
            consecutive_gateway_failure,
            5,
            enforcing_consecutive_gateway_failure,
            0,
        ),
        consecutive_local: enforced(
            consecutive_local_origin_failure,
            5,
            enforcing_consecutive_local_origin_failure,
            100,
        )
        .filter(|_| *split_external_local_origin_errors),
        split_local: *split_external_local_origin_errors,
        interval: duration(interval, "interval", defaults.interval)?,
        base_ejection,
        max_ejection: duration(
            max_ejection_time,
            "max_ejection_time",
            defaults.max_ejection.max(base_ejection),
        )?,
        max_ejection_percent: values::u32_or(max_ejection_percent, defaults.max_ejection_percent),
    }))
}
