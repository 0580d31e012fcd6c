//! The TCP proxy filter and the metrics before it.

use lateen_api::networking::virtual_service::RouteDestination;
use lateen_mesh::Settings;
use lateen_xds::pb::envoy::config::listener::v3::Filter;
use lateen_xds::pb::envoy::extensions::filters::network::tcp_proxy::v3::TcpProxy;
use lateen_xds::pb::envoy::extensions::filters::network::tcp_proxy::v3::tcp_proxy::weighted_cluster::ClusterWeight;
use lateen_xds::pb::envoy::extensions::filters::network::tcp_proxy::v3::tcp_proxy::{
    ClusterSpecifier, WeightedCluster,
};

use super::http::network_filter;
use super::{access_log, stats};
use crate::proto::any;
use crate::proxy::Flavour;
use crate::route::rule::Target;

/// Forwards connections to one cluster.
pub(crate) fn to_cluster(cluster: &str, settings: &Settings, flavour: Flavour) -> Vec<Filter> {
    filters(cluster, ClusterSpecifier::Cluster(cluster.to_owned()), settings, flavour)
}

/// Forwards connections to the destinations of a rule, by their weights.
pub(crate) fn to_destinations(
    routes: &[RouteDestination],
    target: &Target<'_>,
    settings: &Settings,
    flavour: Flavour,
) -> Vec<Filter> {
    if let [only] = routes {
        return to_cluster(&target.cluster(only.destination.as_ref()), settings, flavour);
    }
    let weighted = routes.iter().filter(|r| r.weight > 0).map(|route| ClusterWeight {
        name: target.cluster(route.destination.as_ref()),
        weight: u32::try_from(route.weight).unwrap_or_default(),
        ..ClusterWeight::default()
    });
    let clusters: Vec<ClusterWeight> = weighted.collect();
    let name = clusters.first().map(|c| c.name.clone()).unwrap_or_default();
    filters(&name, ClusterSpecifier::WeightedClusters(WeightedCluster { clusters }), settings, flavour)
}

fn filters(
    stat_prefix: &str,
    cluster: ClusterSpecifier,
    settings: &Settings,
    flavour: Flavour,
) -> Vec<Filter> {
    let proxy = TcpProxy {
        stat_prefix: stat_prefix.to_owned(),
        cluster_specifier: Some(cluster),
        access_log: access_log::of(settings, flavour),
        ..TcpProxy::default()
    };
    let proxy = network_filter("envoy.filters.network.tcp_proxy", any(&proxy));
    let stats = stats::config(settings).filter(|_| flavour == Flavour::Lateen);
    stats.map(|config| network_filter(stats::NAME, Some(config))).into_iter().chain([proxy]).collect()
}
