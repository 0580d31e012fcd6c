//! Load balancing, circuit breakers, outlier detection.

use std::time::Duration;

use lateen_xds::pb::envoy::extensions::load_balancing_policies::cluster_provided::v3::ClusterProvided;
use lateen_xds::pb::envoy::extensions::load_balancing_policies::least_request::v3::LeastRequest;
use lateen_xds::pb::envoy::extensions::load_balancing_policies::random::v3::Random;
use lateen_xds::pb::envoy::extensions::load_balancing_policies::round_robin::v3::RoundRobin;
use prost::Name as _;

use super::super::pb::{cds, core};
use super::super::{At, Converted, any, take, values};
use crate::config::{CircuitBreakers as Limits, Cluster, LbPolicy, OutlierDetection as Outlier};

/// How a cluster balances.
pub(super) fn lb_policy(
    policy: i32,
    config: &Option<cds::cluster::LbConfig>,
    extension: &Option<cds::LoadBalancingPolicy>,
    at: &At<'_>,
) -> Converted<LbPolicy> {
    use cds::cluster::{LbConfig, LbPolicy as Policy, LeastRequestLbConfig, RingHashLbConfig};
    if let Some(extension) = extension {
        return extended(extension, &at.field("load_balancing_policy"));
    }
    let field = at.field("lb_policy");
    match Policy::try_from(policy).map_err(|_| field.unsupported(policy))? {
        Policy::RoundRobin => Ok(LbPolicy::RoundRobin),
        Policy::Random => Ok(LbPolicy::Random),
        Policy::ClusterProvided => Ok(LbPolicy::ClusterProvided),
        Policy::LeastRequest => {
            let mut choices = 2;
            if let Some(LbConfig::LeastRequestLbConfig(config)) = config {
                take!(config, at, LeastRequestLbConfig { choice_count } ignore { active_request_bias, slow_start_config });
                choices = values::u32_or(choice_count, 2);
            }
            Ok(LbPolicy::LeastRequest { choices: choices.max(2) })
        }
        Policy::RingHash => {
            let (mut min_size, mut max_size) = (1024, 8 << 20);
            if let Some(LbConfig::RingHashLbConfig(config)) = config {
                take!(config, at, RingHashLbConfig { minimum_ring_size, maximum_ring_size } ignore { hash_function });
                min_size = minimum_ring_size.map_or(min_size, |value| value.value);
                max_size = maximum_ring_size.map_or(max_size, |value| value.value);
            }
            if min_size > max_size || max_size > 8 << 20 {
                return Err(at
                    .field("ring_hash_lb_config")
                    .error("the ring may have at most 8388608 points"));
            }
            Ok(LbPolicy::RingHash { min_size, max_size })
        }
        Policy::Maglev => {
            let mut table_size = 65_537;
            if let Some(LbConfig::MaglevLbConfig(config)) = config {
                table_size = config.table_size.map_or(table_size, |value| value.value);
            }
            if table_size > 5_000_011 {
                return Err(at
                    .field("maglev_lb_config")
                    .field("table_size")
                    .error("must be at most 5000011"));
            }
            Ok(LbPolicy::Maglev { table_size })
        }
        Policy::LoadBalancingPolicyConfig => Err(at.field("load_balancing_policy").missing()),
    }
}

/// The first policy of the list that is known, as Envoy chooses.
fn extended(extension: &cds::LoadBalancingPolicy, at: &At<'_>) -> Converted<LbPolicy> {
    for policy in &extension.policies {
        let Some(config) =
            policy.typed_extension_config.as_ref().and_then(|config| config.typed_config.as_ref())
        else {
            continue;
        };
        let name = any::name(config);
        if name == RoundRobin::full_name() {
            let config: RoundRobin = any::decode(config, at)?;
            take!(&config, at, RoundRobin {} ignore { slow_start_config, locality_lb_config });
            return Ok(LbPolicy::RoundRobin);
        }
        if name == Random::full_name() {
            return Ok(LbPolicy::Random);
        }
        if name == ClusterProvided::full_name() {
            return Ok(LbPolicy::ClusterProvided);
        }
        if name == LeastRequest::full_name() {
            let config: LeastRequest = any::decode(config, at)?;
            take!(&config, at, LeastRequest { choice_count } ignore {
                active_request_bias, slow_start_config, locality_lb_config, enable_full_scan, selection_method,
            });
            return Ok(LbPolicy::LeastRequest { choices: values::u32_or(choice_count, 2).max(2) });
        }
    }
    Err(at.unsupported("none of the policies"))
}

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

/// The share of healthy endpoints below which all are used.
pub(super) fn panic_threshold(config: &Option<cds::cluster::CommonLbConfig>, at: &At<'_>) -> Converted<u32> {
    use cds::cluster::CommonLbConfig;
    let Some(config) = config else { return Ok(50) };
    take!(config, at, CommonLbConfig { healthy_panic_threshold } ignore {
        update_merge_window, close_connections_on_host_set_change, ignore_new_hosts_until_first_hc,
        locality_config_specifier,
    } refuse { consistent_hashing_lb_config, override_host_status });
    let percent = healthy_panic_threshold.map_or(50.0, |percent| percent.value);
    if !(0.0..=100.0).contains(&percent) {
        return Err(at.field("healthy_panic_threshold").error(format!("{percent} is not a percentage")));
    }
    Ok(percent.round() as u32)
}
