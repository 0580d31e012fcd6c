//! `virtualInbound`: where all captured inbound connections arrive, and what becomes of them by port.

use std::collections::BTreeMap;

use lateen_mesh::{Inbound, Protocol, Settings};
use lateen_xds::pb::envoy::config::core::v3::TrafficDirection;
use lateen_xds::pb::envoy::config::listener::v3::{FilterChain, FilterChainMatch, Listener};
use lateen_xds::pb::envoy::config::route::v3::route::Action;
use lateen_xds::pb::envoy::config::route::v3::{Decorator, Route, RouteConfiguration, VirtualHost};
use lateen_xds::{Encoded, TypeUrl};

use super::http::{self, Routes, Side};
use super::{inspect, patient, tcp};
use crate::names;
use crate::proto::{address, boolean, u32_value};
use crate::proxy::{Flavour, Interception};
use crate::route::{action, host};

/// The port to which inbound connections are redirected.
const PORT: u16 = 15006;

/// Service ports by the port on which the application listens; of one port the oldest service comes first.
pub(crate) type ByPort<'a> = Vec<(u16, Vec<&'a Inbound>)>;

/// Groups what a workload serves by port.
pub(crate) fn by_port(inbound: &[Inbound]) -> ByPort<'_> {
    let mut ports: BTreeMap<u16, Vec<&Inbound>> = BTreeMap::new();
    for one in inbound {
        ports.entry(one.target).or_default().push(one);
    }
    for served in ports.values_mut() {
        served.sort_by(|a, b| a.service.meta.by_age(&b.service.meta).then(a.port.number.cmp(&b.port.number)));
    }
    ports.into_iter().collect()
}

/// The listener of a sidecar whose application serves these ports.
pub(crate) fn listener(
    ports: &ByPort<'_>,
    settings: &Settings,
    flavour: Flavour,
    interception: Interception,
) -> Encoded {
    let mut chains =
        vec![looped(settings, flavour), unknown_http(settings, flavour), unknown(settings, flavour)];
    for (port, served) in ports {
        chains.extend(of_port(*port, served, settings, flavour));
    }
    let protocol = |(_, served): &(u16, Vec<&Inbound>)| served.first().map(|i| i.port.protocol);
    let declared: Vec<u16> =
        ports.iter().filter(|p| protocol(p) != Some(Protocol::Auto)).map(|(port, _)| *port).collect();
    let all: Vec<u16> = ports.iter().map(|(port, _)| *port).collect();
    let mut listener = Listener {
        name: "virtualInbound".to_owned(),
        address: address("0.0.0.0", u32::from(PORT)),
        filter_chains: chains,
        listener_filters: vec![inspect::original_destination(), inspect::tls(&all), inspect::http(&declared)],
        use_original_dst: boolean(false),
        transparent: (interception == Interception::Tproxy).then(|| boolean(true)).flatten(),
        traffic_direction: TrafficDirection::Inbound as i32,
        ..Listener::default()
    };
    patient(&mut listener, settings);
    Encoded::new(TypeUrl::Listener, "virtualInbound", &listener)
}

fn chain(name: &str, matched: FilterChainMatch) -> FilterChain {
    FilterChain { name: name.to_owned(), filter_chain_match: Some(matched), ..FilterChain::default() }
}

/// A connection that was meant for the port itself would come back for ever: it is refused.
fn looped(settings: &Settings, flavour: Flavour) -> FilterChain {
    let port = u32_value(u32::from(PORT));
    let matched = FilterChainMatch { destination_port: port, ..FilterChainMatch::default() };
    FilterChain {
        filters: tcp::to_cluster(names::BLACK_HOLE, settings, flavour),
        ..chain("virtualInbound-blackhole", matched)
    }
}

/// HTTP to a port that no service has.
fn unknown_http(settings: &Settings, flavour: Flavour) -> FilterChain {
    let cluster = names::INBOUND_PASSTHROUGH;
    let routes = routes(cluster, "inbound|http|0", cluster, None);
    let manager = http::manager(Side::Inbound, cluster, routes, settings, flavour);
    FilterChain { filters: vec![manager], ..chain("virtualInbound-catchall-http", inspect::plain_http()) }
}

/// Anything else to a port that no service has.
fn unknown(settings: &Settings, flavour: Flavour) -> FilterChain {
    FilterChain {
        filters: tcp::to_cluster(names::INBOUND_PASSTHROUGH, settings, flavour),
        name: "virtualInbound".to_owned(),
        ..FilterChain::default()
    }
}

/// The chains of one port: HTTP, TCP, or both where the protocol is not declared.
fn of_port(port: u16, served: &[&Inbound], settings: &Settings, flavour: Flavour) -> Vec<FilterChain> {
    let Some(first) = served.first() else { return Vec::new() };
    let name = format!("0.0.0.0_{port}");
    let cluster = names::inbound(port);
    let destination_port = u32_value(u32::from(port));
    let of_http = |matched: FilterChainMatch| {
        let operation = format!("{}:{}/*", first.service.id.host, first.port.number);
        let routes =
            routes(&cluster, &format!("inbound|http|{}", first.port.number), &cluster, Some(operation));
        let manager = http::manager(Side::Inbound, &format!("inbound_{name}"), routes, settings, flavour);
        FilterChain {
            filters: vec![manager],
            ..chain(&name, FilterChainMatch { destination_port, ..matched })
        }
    };
    let of_tcp = || FilterChain {
        filters: tcp::to_cluster(&cluster, settings, flavour),
        ..chain(&name, FilterChainMatch { destination_port, ..FilterChainMatch::default() })
    };
    match first.port.protocol {
        protocol if protocol.is_http() => vec![of_http(FilterChainMatch::default())],
        Protocol::Auto => vec![of_http(inspect::plain_http()), of_tcp()],
        _ => vec![of_tcp()],
    }
}

/// Routes that lead everything to the application.
fn routes(name: &str, virtual_host: &str, cluster: &str, operation: Option<String>) -> Routes {
    let route = Route {
        name: "default".to_owned(),
        r#match: Some(crate::route::match_all()),
        decorator: operation.map(|operation| Decorator { operation, ..Decorator::default() }),
        action: Some(Action::Route(action::plain(cluster.to_owned()))),
        ..Route::default()
    };
    Routes::Inline(Box::new(RouteConfiguration {
        name: name.to_owned(),
        virtual_hosts: vec![VirtualHost {
            // The client's proxy has counted its attempts already.
            include_request_attempt_count: false,
            ..host::host(virtual_host, vec!["*".to_owned()], vec![route])
        }],
        validate_clusters: boolean(false),
        ..RouteConfiguration::default()
    }))
}
