//! Load balancing.

use lateen_xds::pb::envoy::extensions::load_balancing_policies::cluster_provided::v3::ClusterProvided;
use lateen_xds::pb::envoy::extensions::load_balancing_policies::common::v3 as common;
use lateen_xds::pb::envoy::extensions::load_balancing_policies::least_request::v3::LeastRequest;
use lateen_xds::pb::envoy::extensions::load_balancing_policies::random::v3::Random;
use lateen_xds::pb::envoy::extensions::load_balancing_policies::round_robin::v3::RoundRobin;
use prost::Name as _;

use super::super::pb::{cds, core};
use super::super::{At, Converted, any, take, values};
use crate::config::{Cluster, LbPolicy};

/// The fields that say how a cluster balances.
pub(super) struct Balancing<'a> {
    pub(super) policy: i32,
    pub(super) config: &'a Option<cds::cluster::LbConfig>,
    pub(super) extension: &'a Option<cds::LoadBalancingPolicy>,
    pub(super) common: &'a Option<cds::cluster::CommonLbConfig>,
}

/// Reads how a cluster balances.
pub(super) fn apply(from: Balancing<'_>, cluster: &mut Cluster, at: &At<'_>) -> Converted<()> {
    common_config(from.common, cluster, &at.field("common_lb_config"))?;
    match from.extension {
        Some(extension) => extended(extension, cluster, &at.field("load_balancing_policy")),
        None => {
            cluster.lb = policy(from.policy, from.config, at)?;
            Ok(())
        }
    }
}

fn policy(policy: i32, config: &Option<cds::cluster::LbConfig>, at: &At<'_>) -> Converted<LbPolicy> {
    use cds::cluster::{LbConfig, LbPolicy as Policy, LeastRequestLbConfig, RingHashLbConfig};
    let field = at.field("lb_policy");
    match Policy::try_from(policy).map_err(|_| field.unsupported(policy))? {
        Policy::RoundRobin => Ok(LbPolicy::RoundRobin),
        Policy::Random => Ok(LbPolicy::Random),
        Policy::ClusterProvided => Ok(LbPolicy::ClusterProvided),
        Policy::LeastRequest => match config {
            Some(LbConfig::LeastRequestLbConfig(config)) => {
                let at = at.field("least_request_lb_config");
                take!(config, at, LeastRequestLbConfig { choice_count, active_request_bias }
                    ignore { slow_start_config });
                least_request(values::u32_or(choice_count, 2), active_request_bias, &at)
            }
            _ => least_request(2, &None, at),
        },
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

fn least_request(choices: u32, bias: &Option<core::RuntimeDouble>, at: &At<'_>) -> Converted<LbPolicy> {
    let bias = bias.as_ref().map_or(1.0, |bias| bias.default_value);
    if !bias.is_finite() || bias < 0.0 {
        return Err(at.field("active_request_bias").error(format!("{bias} is not a number of 0 or more")));
    }
    Ok(LbPolicy::LeastRequest { choices: choices.clamp(2, MOST_CHOICES), bias })
}

/// Endpoints that one choice compares at most; more would cost more than they gain.
const MOST_CHOICES: u32 = 64;

/// The first policy of the list that is known, as Envoy chooses.
fn extended(extension: &cds::LoadBalancingPolicy, cluster: &mut Cluster, at: &At<'_>) -> Converted<()> {
    for policy in &extension.policies {
        let Some(config) =
            policy.typed_extension_config.as_ref().and_then(|config| config.typed_config.as_ref())
        else {
            continue;
        };
        let name = any::name(config);
        if name == RoundRobin::full_name() {
            let config: RoundRobin = any::decode(config, at)?;
            take!(&config, at, RoundRobin { locality_lb_config } ignore { slow_start_config });
            cluster.lb = LbPolicy::RoundRobin;
            return extended_localities(locality_lb_config, cluster);
        }
        if name == Random::full_name() {
            let config: Random = any::decode(config, at)?;
            take!(&config, at, Random { locality_lb_config });
            cluster.lb = LbPolicy::Random;
            return extended_localities(locality_lb_config, cluster);
        }
        if name == ClusterProvided::full_name() {
            cluster.lb = LbPolicy::ClusterProvided;
            return Ok(());
        }
        if name == LeastRequest::full_name() {
            let config: LeastRequest = any::decode(config, at)?;
            take!(&config, at, LeastRequest { choice_count, active_request_bias, locality_lb_config } ignore {
                slow_start_config, enable_full_scan, selection_method,
            });
            cluster.lb = least_request(values::u32_or(choice_count, 2), active_request_bias, at)?;
            return extended_localities(locality_lb_config, cluster);
        }
    }
    Err(at.unsupported("none of the policies"))
}

fn extended_localities(config: &Option<common::LocalityLbConfig>, cluster: &mut Cluster) -> Converted<()> {
    use common::locality_lb_config::{LocalityConfigSpecifier as Kind, ZoneAwareLbConfig};
    match config.as_ref().and_then(|config| config.locality_config_specifier.as_ref()) {
        None => {}
        Some(Kind::LocalityWeightedLbConfig(_)) => cluster.locality_weighted = true,
        Some(Kind::ZoneAwareLbConfig(zones)) => {
            take!(zones, (), ZoneAwareLbConfig { fail_traffic_on_panic } ignore {
                routing_enabled, min_cluster_size, force_locality_direct_routing, force_local_zone, locality_basis,
            });
            cluster.fail_on_panic = *fail_traffic_on_panic;
        }
    }
    Ok(())
}

/// Panic and localities.
fn common_config(
    config: &Option<cds::cluster::CommonLbConfig>,
    cluster: &mut Cluster,
    at: &At<'_>,
) -> Converted<()> {
    use cds::cluster::CommonLbConfig;
    use cds::cluster::common_lb_config::{LocalityConfigSpecifier as Kind, ZoneAwareLbConfig};
    let Some(config) = config else { return Ok(()) };
    take!(config, at, CommonLbConfig { healthy_panic_threshold, locality_config_specifier } ignore {
        update_merge_window, close_connections_on_host_set_change, ignore_new_hosts_until_first_hc,
    } refuse { consistent_hashing_lb_config, override_host_status });
    let percent = healthy_panic_threshold.map_or(50.0, |percent| percent.value);
    if !(0.0..=100.0).contains(&percent) {
        return Err(at.field("healthy_panic_threshold").error(format!("{percent} is not a percentage")));
    }
    cluster.panic_threshold = percent.round() as u32;
    match locality_config_specifier {
        None => {}
        Some(Kind::LocalityWeightedLbConfig(_)) => cluster.locality_weighted = true,
        Some(Kind::ZoneAwareLbConfig(zones)) => {
            take!(zones, at, ZoneAwareLbConfig { fail_traffic_on_panic }
                ignore { routing_enabled, min_cluster_size });
            cluster.fail_on_panic = *fail_traffic_on_panic;
        }
    }
    Ok(())
}
