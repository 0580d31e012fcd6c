//! The listeners that are there from the start: Prometheus' (15090) and readiness (15021).

use std::net::IpAddr;

use lateen_xds::any;
use lateen_xds::pb::envoy::config::core::v3::TrafficDirection;
use lateen_xds::pb::envoy::config::listener::v3::filter::ConfigType;
use lateen_xds::pb::envoy::config::listener::v3::{AdditionalAddress, Filter, FilterChain, Listener};
use lateen_xds::pb::envoy::config::route::v3::route::Action;
use lateen_xds::pb::envoy::config::route::v3::route_action::ClusterSpecifier;
use lateen_xds::pb::envoy::config::route::v3::route_match::PathSpecifier;
use lateen_xds::pb::envoy::config::route::v3::{Route, RouteAction, RouteConfiguration, RouteMatch, VirtualHost};
use lateen_xds::pb::envoy::extensions::filters::http::router::v3::Router;
use lateen_xds::pb::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::{
    CodecType, RouteSpecifier,
};
use lateen_xds::pb::envoy::extensions::filters::network::http_connection_manager::v3::http_filter::ConfigType as HttpFilterConfig;
use lateen_xds::pb::envoy::extensions::filters::network::http_connection_manager::v3::{
    HttpConnectionManager, HttpFilter,
};

use super::clusters::{AGENT, PROMETHEUS};
use super::{PROMETHEUS_PORT, READINESS_PORT, address};
use crate::addresses::wildcards;

/// The listeners of a pod with these addresses.
pub(super) fn all(addresses: &[IpAddr]) -> Vec<Listener> {
    let everywhere = |port: u16, listener: Listener| {
        let (first, other) = wildcards(addresses);
        let at = |ip: IpAddr| Some(address(&ip.to_string(), port));
        let more = other.map(|ip| AdditionalAddress { address: at(ip), ..AdditionalAddress::default() });
        Listener { address: at(first), additional_addresses: more.into_iter().collect(), ..listener }
    };
    vec![
        everywhere(PROMETHEUS_PORT, one_path("prometheus", "/stats/prometheus", PROMETHEUS)),
        everywhere(READINESS_PORT, one_path("readiness", "/healthz/ready", AGENT)),
    ]
}

/// A listener that forwards one path to one cluster and knows nothing else.
fn one_path(name: &str, path: &str, cluster: &str) -> Listener {
    let route = Route {
        r#match: Some(RouteMatch {
            path_specifier: Some(PathSpecifier::Path(path.to_owned())),
            ..RouteMatch::default()
        }),
        action: Some(Action::Route(RouteAction {
            cluster_specifier: Some(ClusterSpecifier::Cluster(cluster.to_owned())),
            ..RouteAction::default()
        })),
        ..Route::default()
    };
    let manager = HttpConnectionManager {
        codec_type: CodecType::Auto as i32,
        stat_prefix: name.to_owned(),
        route_specifier: Some(RouteSpecifier::RouteConfig(RouteConfiguration {
            name: format!("{name}_route"),
            virtual_hosts: vec![VirtualHost {
                name: "backend".to_owned(),
                domains: vec!["*".to_owned()],
                routes: vec![route],
                ..VirtualHost::default()
            }],
            ..RouteConfiguration::default()
        })),
        http_filters: vec![HttpFilter {
            name: "envoy.filters.http.router".to_owned(),
            config_type: Some(HttpFilterConfig::TypedConfig(any(&Router::default()))),
            ..HttpFilter::default()
        }],
        ..HttpConnectionManager::default()
    };
    Listener {
        name: name.to_owned(),
        traffic_direction: TrafficDirection::Inbound as i32,
        filter_chains: vec![FilterChain {
            filters: vec![Filter {
                name: "envoy.filters.network.http_connection_manager".to_owned(),
                config_type: Some(ConfigType::TypedConfig(any(&manager))),
            }],
            ..FilterChain::default()
        }],
        ..Listener::default()
    }
}
