//! The listeners of gateways: one for each address of their servers.

use std::collections::BTreeMap;
use std::sync::Arc;

use lateen_xds::pb::envoy::config::core::v3::TrafficDirection;
use lateen_xds::pb::envoy::config::listener::v3::{FilterChain, FilterChainMatch, Listener};
use lateen_xds::{Encoded, TypeUrl};

use super::http::{self, Routes, Side};
use super::{access_log, inspect, patient, tcp, tcp_rules};
use crate::families::additional;
use crate::gateway::{GatewayServer, ServerProtocol};
use crate::names;
use crate::proto::address;
use crate::route;
use crate::route::rule::Target;
use crate::security::Guards;
use crate::tls;
use crate::view::View;

/// The listeners of all servers. One without anything to serve is left out: connections to it are refused.
pub(crate) fn listeners(
    view: &View<'_>,
    servers: &BTreeMap<(u16, String), Vec<GatewayServer>>,
    guards: &Guards,
) -> Vec<Arc<Encoded>> {
    let one = |((port, bind), servers): (&(u16, String), &Vec<GatewayServer>)| {
        let (ip, other) = match bind.parse::<std::net::IpAddr>() {
            Ok(_) => (bind.as_str(), None),
            Err(_) => view.key.families.wildcards(),
        };
        let name = format!("{ip}_{port}");
        let mut chains: Vec<FilterChain> = Vec::new();
        for server in servers {
            for chain in chains_of(view, server, &name, guards) {
                let same = |c: &FilterChain| c.filter_chain_match == chain.filter_chain_match;
                if !chains.iter().any(same) {
                    chains.push(chain);
                }
            }
        }
        let by_name = servers
            .first()
            .is_some_and(|s| !matches!(s.protocol, ServerProtocol::Http | ServerProtocol::Tcp));
        let mut listener = Listener {
            name: name.clone(),
            address: address(ip, u32::from(*port)),
            additional_addresses: additional(other, *port),
            filter_chains: chains,
            traffic_direction: TrafficDirection::Outbound as i32,
            access_log: access_log::of_refused(&view.mesh.settings, view.key.flavour),
            ..Listener::default()
        };
        if by_name {
            listener.listener_filters = vec![inspect::tls(&[])];
            patient(&mut listener, &view.mesh.settings);
        }
        (!listener.filter_chains.is_empty())
            .then(|| Arc::new(Encoded::new(TypeUrl::Listener, name, &listener)))
    };
    servers.iter().filter_map(one).collect()
}

/// The chains of a server. One whose certificate is missing is closed, so that no other server takes its connections.
fn chains_of(view: &View<'_>, server: &GatewayServer, name: &str, guards: &Guards) -> Vec<FilterChain> {
    let settings = &view.mesh.settings;
    let gateways = [&*server.gateway.id];
    let target = Target { view, listen: server.port, gateways: &gateways };
    let manager = || {
        let routes = Routes::Named(server.route_name());
        let prefix = format!("outbound_{name}");
        http::manager(Side::Gateway, &prefix, routes, view.mesh, view.key.flavour, &guards.http)
    };
    let secured = |http: bool, chains: Vec<FilterChain>| {
        let credentials = &view.mesh.credentials;
        let socket = server.tls().and_then(|t| {
            tls::server::gateway(t, http, view.key.flavour, (&view.key.namespace, credentials), settings)
        });
        let matched = by_server_name(server);
        match socket {
            Some(socket) => chains
                .into_iter()
                .map(|chain| FilterChain {
                    filter_chain_match: matched.clone(),
                    transport_socket: Some(socket.clone()),
                    ..chain
                })
                .collect(),
            None => vec![FilterChain {
                filter_chain_match: matched,
                filters: tcp::to_cluster(names::BLACK_HOLE, settings, view.key.flavour),
                ..FilterChain::default()
            }],
        }
    };
    match server.protocol {
        ServerProtocol::Http => vec![FilterChain { filters: vec![manager()], ..FilterChain::default() }],
        ServerProtocol::Https => {
            secured(true, vec![FilterChain { filters: vec![manager()], ..FilterChain::default() }])
        }
        ServerProtocol::Tcp => guarded(guards, plain(view, server, &target)),
        ServerProtocol::TlsTerminated => secured(false, guarded(guards, plain(view, server, &target))),
        ServerProtocol::TlsPassthrough => {
            let rules = route::gateway::rules(view, server);
            let shared = rules.filter(|vs| !server.hosts_of(vs).is_empty());
            guarded(guards, shared.flat_map(|vs| tcp_rules::tls(vs, &target)).collect())
        }
        ServerProtocol::AutoPassthrough => guarded(guards, super::auto_passthrough::chains(view, server)),
    }
}

/// Chains behind what guards connections that are no HTTP.
fn guarded(guards: &Guards, mut chains: Vec<FilterChain>) -> Vec<FilterChain> {
    for chain in &mut chains {
        chain.filters.splice(0..0, guards.tcp.iter().cloned());
    }
    chains
}

fn plain(view: &View<'_>, server: &GatewayServer, target: &Target<'_>) -> Vec<FilterChain> {
    let rules = route::gateway::rules(view, server);
    let shared = rules.filter(|vs| !server.hosts_of(vs).is_empty());
    shared.flat_map(|vs| tcp_rules::plain(vs, target)).collect()
}

fn by_server_name(server: &GatewayServer) -> Option<FilterChainMatch> {
    let hosts: Vec<String> = server.hosts().map(str::to_owned).collect();
    let server_names = tcp_rules::server_names(&hosts);
    (!server_names.is_empty()).then(|| FilterChainMatch { server_names, ..FilterChainMatch::default() })
}
