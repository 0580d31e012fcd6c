//! `virtualInbound`: where all captured inbound connections arrive, and what becomes of them by port.

use std::collections::BTreeMap;
use std::net::IpAddr;

use lateen_api::networking::gateway::ServerTlsSettings;
use lateen_api::networking::sidecar::CaptureMode;
use lateen_mesh::{Inbound, Mesh, Mtls, Protocol, ServedBy, Settings};
use lateen_xds::pb::envoy::config::core::v3::TrafficDirection;
use lateen_xds::pb::envoy::config::listener::v3::{Filter, FilterChain, FilterChainMatch, Listener};
use lateen_xds::pb::envoy::config::route::v3::route::Action;
use lateen_xds::pb::envoy::config::route::v3::{Decorator, Route, RouteConfiguration, VirtualHost};
use lateen_xds::{Encoded, TypeUrl};

use super::http::{self, Routes, Side};
use super::variant::{Variant, terminated, variants};
use super::{access_log, inspect, patient_inbound, tcp};
use crate::families::additional;
use crate::names;
use crate::proto::{address, boolean, empty_any, u32_value};
use crate::proxy::{Flavour, Interception, Proxy};
use crate::route::{action, host};
use crate::security::{self, Guards};
use crate::tls;

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

/// A sidecar whose inbound listener is made.
pub(crate) struct Receiver<'a> {
    pub mesh: &'a Mesh,
    pub proxy: &'a Proxy,
}

impl Receiver<'_> {
    /// How a port is to be spoken to. A proxy without certificate offers no encryption, but it still refuses plain
    /// connections where they must not be.
    fn mode(&self, port: u16, served: &[&Inbound]) -> Mtls {
        let served: Vec<ServedBy<'_>> = served.iter().map(|i| (&*i.service, &i.port)).collect();
        let policy = self.mesh.policies.peer(&self.proxy.namespace, &self.proxy.labels, port, &served);
        match policy.mode {
            Mtls::Permissive if !self.proxy.authenticated => Mtls::Disable,
            mode => mode,
        }
    }

    /// What guards a port.
    fn guards(&self, served: &[&Inbound]) -> Guards {
        let served: Vec<ServedBy<'_>> = served.iter().map(|i| (&*i.service, &i.port)).collect();
        let Proxy { namespace, labels, .. } = self.proxy;
        security::guards(self.mesh, namespace, labels, &served, (false, self.proxy.families()))
    }

    /// Whether the proxy knows Istio's metadata exchange.
    fn exchanges(&self) -> bool {
        self.proxy.flavour == Flavour::Lateen
    }

    fn settings(&self) -> &Settings {
        &self.mesh.settings
    }
}

/// The address on which a port is opened, and one of the other IP version; none: its connections are captured.
///
/// Source: Istio, Sidecar `ingress[].captureMode` and `bind`.
fn bound(served: &[&Inbound], proxy: &Proxy) -> Option<(String, Option<String>)> {
    let ingress = served.first()?.ingress.as_deref()?;
    let open = match ingress.capture {
        CaptureMode::None => true,
        CaptureMode::Default => proxy.interception == Interception::None,
        CaptureMode::Iptables => false,
    };
    if !open {
        return None;
    }
    Some(match (ingress.bind, proxy.addresses.first()) {
        (Some(bind), _) => (bind.to_string(), None),
        (None, None) => (proxy.families().wildcards().0.to_owned(), None),
        (None, Some(first)) => {
            let routed = |ip: &&IpAddr| ip.is_ipv4() != first.is_ipv4() && proxy.families().are_both();
            (first.to_string(), proxy.addresses.iter().find(routed).map(IpAddr::to_string))
        }
    })
}

/// The listeners of ports that clients connect to without being captured.
pub(crate) fn bound_listeners(ports: &ByPort<'_>, receiver: &Receiver<'_>) -> (Vec<Encoded>, Vec<Encoded>) {
    let settings = receiver.settings();
    let (mut listeners, mut clusters) = (Vec::new(), Vec::new());
    for (port, served) in ports {
        let Some((bind, other)) = bound(served, receiver.proxy) else { continue };
        let guards = receiver.guards(served);
        let mode = receiver.mode(*port, served);
        let mut chains = of_port(*port, served, mode, receiver, &guards);
        for chain in &mut chains {
            if let Some(matched) = &mut chain.filter_chain_match {
                matched.destination_port = None;
            }
        }
        let name = format!("{bind}_{port}");
        let mut listener = Listener {
            name: name.clone(),
            address: address(&bind, u32::from(*port)),
            additional_addresses: additional(other.as_deref(), *port),
            filter_chains: chains,
            listener_filters: vec![inspect::tls(&[]), inspect::http(&[])],
            traffic_direction: TrafficDirection::Inbound as i32,
            access_log: access_log::of_refused(settings, receiver.proxy.flavour),
            ..Listener::default()
        };
        patient_inbound(&mut listener, settings);
        listeners.push(Encoded::new(TypeUrl::Listener, name, &listener));
        clusters.extend(guards.clusters);
    }
    (listeners, clusters)
}

/// The listener of a sidecar whose application serves these ports.
/// Clusters that only its policies need come with it.
pub(crate) fn listener(ports: &ByPort<'_>, receiver: &Receiver<'_>) -> (Encoded, Vec<Encoded>) {
    let settings = receiver.settings();
    let mut chains = vec![looped(settings, receiver.proxy.flavour)];
    let elsewhere = receiver.guards(&[]);
    let named = receiver.mesh.policies.named_ports(&receiver.proxy.namespace, &receiver.proxy.labels);
    for port in named.into_iter().filter(|port| ports.iter().all(|(served, _)| served != port)) {
        chains.extend(undeclared(Some(port), receiver, &elsewhere));
    }
    chains.extend(undeclared(None, receiver, &elsewhere));
    let mut clusters = elsewhere.clusters;
    let mut plain = Vec::new();
    for (port, served) in ports.iter().filter(|(_, served)| bound(served, receiver.proxy).is_none()) {
        let mode = receiver.mode(*port, served);
        if mode == Mtls::Disable && own_tls(served, mode).is_none() {
            plain.push(*port);
        }
        let guards = receiver.guards(served);
        chains.extend(of_port(*port, served, mode, receiver, &guards));
        clusters.extend(guards.clusters);
    }
    let protocol = |(_, served): &(u16, Vec<&Inbound>)| served.first().map(|i| i.port.protocol);
    let declared: Vec<u16> =
        ports.iter().filter(|p| protocol(p) != Some(Protocol::Auto)).map(|(port, _)| *port).collect();
    let transparent = receiver.proxy.interception == Interception::Tproxy;
    let source = transparent.then(inspect::original_source);
    let (wildcard, other) = receiver.proxy.families().wildcards();
    let inspectors = [inspect::tls(&plain), inspect::http(&declared)];
    let mut listener = Listener {
        name: "virtualInbound".to_owned(),
        address: address(wildcard, u32::from(PORT)),
        additional_addresses: additional(other, PORT),
        filter_chains: chains,
        listener_filters: std::iter::once(inspect::original_destination())
            .chain(source)
            .chain(inspectors)
            .collect(),
        use_original_dst: boolean(false),
        transparent: boolean(true).filter(|_| transparent),
        traffic_direction: TrafficDirection::Inbound as i32,
        access_log: access_log::of_refused(settings, receiver.proxy.flavour),
        ..Listener::default()
    };
    patient_inbound(&mut listener, settings);
    (Encoded::new(TypeUrl::Listener, "virtualInbound", &listener), clusters)
}

/// The filters that forward what is no HTTP, behind what guards it; before both, on connections of the mesh, who is who.
fn guarded(guards: &Guards, cluster: &str, receiver: &Receiver<'_>, encrypted: bool) -> Vec<Filter> {
    let exchange = (encrypted && receiver.exchanges())
        .then(|| http::network_filter(tls::EXCHANGE, Some(empty_any(tls::EXCHANGE_TYPE))));
    let forward = tcp::to_cluster(cluster, receiver.settings(), receiver.proxy.flavour);
    exchange.into_iter().chain(guards.tcp.iter().cloned()).chain(forward).collect()
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

/// The chains of ports that no service has: of one that a policy names, or of all the others.
fn undeclared(port: Option<u16>, receiver: &Receiver<'_>, guards: &Guards) -> Vec<FilterChain> {
    let (settings, flavour) = (receiver.settings(), receiver.proxy.flavour);
    let cluster = names::INBOUND_PASSTHROUGH;
    let mode = receiver.mode(port.unwrap_or(0), &[]);
    let one = |variant: Variant| {
        let filters = match variant.http {
            true => {
                let routes = routes(cluster, "inbound|http|0", cluster, None);
                vec![http::manager(Side::Inbound, cluster, routes, receiver.mesh, flavour, &guards.http)]
            }
            false => guarded(guards, cluster, receiver, variant.tls),
        };
        let name = if variant.http { "virtualInbound-catchall-http" } else { "virtualInbound" };
        let destination_port = port.and_then(|port| u32_value(u32::from(port)));
        FilterChain {
            filters,
            transport_socket: variant
                .tls
                .then(|| tls::server::mutual(variant.http, receiver.exchanges(), settings)),
            ..chain(name, FilterChainMatch { destination_port, ..variant.matched })
        }
    };
    variants(Protocol::Auto, mode).into_iter().map(one).collect()
}

/// The chains of one port: HTTP, TCP, or both where the protocol is not declared; plain, encrypted, or both.
fn of_port(
    port: u16,
    served: &[&Inbound],
    mode: Mtls,
    receiver: &Receiver<'_>,
    guards: &Guards,
) -> Vec<FilterChain> {
    let Some(first) = served.first() else { return Vec::new() };
    let (settings, flavour) = (receiver.settings(), receiver.proxy.flavour);
    let name = format!("{}_{port}", receiver.proxy.families().wildcards().0);
    let cluster = names::inbound(port);
    let manager = || {
        let operation = format!("{}:{}/*", first.service.id.host, first.port.number);
        let routes =
            routes(&cluster, &format!("inbound|http|{}", first.port.number), &cluster, Some(operation));
        http::manager(Side::Inbound, &format!("inbound_{name}"), routes, receiver.mesh, flavour, &guards.http)
    };
    let own = own_tls(served, mode);
    let one = |variant: Variant| {
        let transport_socket = match own {
            Some(own) => {
                let place = (&*receiver.proxy.namespace, &*receiver.mesh.credentials);
                tls::server::gateway(own, variant.http, flavour, place, settings)
            }
            None => variant.tls.then(|| tls::server::mutual(variant.http, receiver.exchanges(), settings)),
        };
        let filters = match variant.http {
            // Without a certificate the port is closed rather than open.
            _ if own.is_some() && transport_socket.is_none() => {
                tcp::to_cluster(names::BLACK_HOLE, settings, flavour)
            }
            true => vec![manager()],
            false => guarded(guards, &cluster, receiver, variant.tls),
        };
        let matched = FilterChainMatch { destination_port: u32_value(u32::from(port)), ..variant.matched };
        FilterChain { filters, transport_socket, ..chain(&name, matched) }
    };
    let protocol = first.port.protocol;
    let variants = own.map_or_else(|| variants(protocol, mode), |_| vec![terminated(protocol)]);
    variants.into_iter().map(one).collect()
}

/// The TLS of a port's clients that ends at the sidecar: only where the mesh's own is off.
///
/// Source: Istio, Sidecar `ingress[].tls`.
fn own_tls<'a>(served: &[&'a Inbound], mode: Mtls) -> Option<&'a ServerTlsSettings> {
    let ingress = served.first()?.ingress.as_deref()?;
    ingress.tls.as_ref().filter(|_| mode == Mtls::Disable)
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
