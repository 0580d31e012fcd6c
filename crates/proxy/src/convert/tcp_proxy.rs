//! The TCP proxy filter.

use std::time::Duration;

use lateen_xds::pb::envoy::extensions::filters::network::tcp_proxy::v3 as pb;
use lateen_xds::pb::envoy::r#type::v3::hash_policy::PolicySpecifier;

use super::{At, Context, Converted, access_log, take, values};
use crate::config::{TcpProxy as Settings, TcpTarget};
use crate::upstream::stats::TcpStats;

/// Reads a TCP proxy filter.
pub(super) fn read(message: &pb::TcpProxy, context: &Context, at: &At<'_>) -> Converted<Settings> {
    use pb::TcpProxy;
    use pb::tcp_proxy::weighted_cluster::ClusterWeight;
    use pb::tcp_proxy::{ClusterSpecifier, WeightedCluster};
    take!(message, at, TcpProxy {
        stat_prefix, idle_timeout, access_log, max_connect_attempts, hash_policy, max_downstream_connection_duration,
        cluster_specifier, metadata_match,
    } ignore {
        backoff_options, upstream_connect_mode, max_early_data_bytes, check_drain_close,
        max_downstream_connection_duration_jitter_percentage, access_log_flush_interval,
        flush_access_log_on_connected, access_log_options, proxy_protocol_tlvs, proxy_protocol_tlv_merge_policy,
    } refuse { on_demand, tunneling_config, downstream_idle_timeout, upstream_idle_timeout });
    let clusters = match cluster_specifier {
        Some(ClusterSpecifier::Cluster(name)) => vec![TcpTarget {
            cluster: context.store.cluster_slot(name),
            weight: 1,
            subset: values::subset(&[metadata_match]),
        }],
        Some(ClusterSpecifier::WeightedClusters(weighted)) => {
            take!(weighted, at, WeightedCluster { clusters });
            let target = |entry: &ClusterWeight| TcpTarget {
                cluster: context.store.cluster_slot(&entry.name),
                weight: entry.weight,
                subset: values::subset(&[metadata_match, &entry.metadata_match]),
            };
            clusters.iter().map(target).collect()
        }
        None => return Err(at.field("cluster").missing()),
    };
    if clusters.iter().all(|target| target.weight == 0) {
        return Err(at.field("weighted_clusters").error("all weights are zero"));
    }
    let by_source = |policy: &lateen_xds::pb::envoy::r#type::v3::HashPolicy| {
        matches!(policy.policy_specifier, Some(PolicySpecifier::SourceIp(_)))
    };
    if let Some(index) = hash_policy.iter().position(|policy| !by_source(policy)) {
        return Err(at.field("hash_policy").index(index).unsupported("another source than source_ip"));
    }
    let hour = Some(Duration::from_secs(3600));
    Ok(Settings {
        stat_prefix: stat_prefix.as_str().into(),
        clusters,
        idle_timeout: values::timeout(idle_timeout, hour, &at.field("idle_timeout"))?,
        max_connection_duration: values::timeout(
            max_downstream_connection_duration,
            None,
            &at.field("max_downstream_connection_duration"),
        )?,
        max_connect_attempts: values::u32_or(max_connect_attempts, 1).max(1),
        exchange: false,
        announcement: context.istio.announcement(),
        hash_source_ip: !hash_policy.is_empty(),
        access_logs: access_log::read_all(access_log, context, &at.field("access_log"))?,
        stats: TcpStats::new(context.store.workers()).into(),
    })
}
