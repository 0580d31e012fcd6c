//! Outbound listeners: one for each HTTP port, shared by all services, and one for each address of a TCP service.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use lateen_api::networking::sidecar::CaptureMode;
use lateen_mesh::{Egress, MESH_GATEWAY, Port, Protocol, Service, VirtualService, hostname};
use lateen_xds::pb::envoy::config::listener::v3::{FilterChain, FilterChainMatch};
use lateen_xds::{Encoded, TypeUrl};

use super::http::{self, Routes, Side};
use super::{inspect, patient, tcp, tcp_rules, tracing, unbound, virtual_outbound};
use crate::cache::{Cache, Same, UnitKey};
use crate::families::additional;
use crate::names;
use crate::proto::{boolean, cidr};
use crate::proxy::Interception;
use crate::route::rule::Target;
use crate::view::View;

/// What stands behind one port on every address: HTTP of all services, and TLS or TCP of services without an address
/// of their own.
#[derive(Default)]
struct Shared {
    /// The name of the route configuration, where some service speaks HTTP on the port.
    route: Option<String>,
    /// Chains that are told apart by server name or network.
    chains: Vec<FilterChain>,
    /// The chain of everything else, where a service takes it.
    rest: Option<FilterChain>,
}

/// Services by the port on which they speak HTTP, and route configurations of services with undeclared protocols.
#[derive(Default)]
pub(crate) struct HttpPorts {
    /// Services of each route configuration that is named after a port.
    pub by_port: BTreeMap<u16, Vec<Arc<Service>>>,
    /// Services that have a route configuration of their own.
    pub sniffed: Vec<(Arc<Service>, u16)>,
}

/// The listeners of an egress listener without a port, and the HTTP ports that need routes.
pub(crate) fn listeners(
    view: &View<'_>,
    cache: &mut Cache,
    egress: &Egress,
    extra_http: impl Iterator<Item = u16>,
) -> (Vec<Arc<Encoded>>, HttpPorts) {
    let rules = L4Rules::of(egress);
    let mut http = HttpPorts::default();
    let mut shared: BTreeMap<u16, Shared> = BTreeMap::new();
    let mut out = Vec::new();
    let narrow = egress.port().map(|p| p.number);
    let open = bound(view, egress);
    for service in egress.services.values().filter(|s| s.external_name.is_none()) {
        for port in service.ports.iter().filter(|p| narrow.is_none_or(|n| n == u32::from(p.number))) {
            if port.protocol.is_http() {
                http.by_port.entry(port.number).or_default().push(service.clone());
                shared.entry(port.number).or_default().route = Some(port.number.to_string());
                continue;
            }
            // Behind a listener that clients connect to by itself, no address tells services apart.
            let single: Vec<IpAddr> = match open {
                Some(_) => Vec::new(),
                None => own_addresses(view, service, port),
            };
            if single.is_empty() {
                let shared = shared.entry(port.number).or_default();
                without_address(view, &rules, service, port, (open.is_some(), shared));
                continue;
            }
            if port.protocol == Protocol::Auto {
                http.sniffed.push((service.clone(), port.number));
            }
            let found = single.iter().map(|ip| own_listener(view, cache, &rules, service, port, *ip));
            out.extend(found);
        }
    }
    for port in extra_http.filter(|p| narrow.is_none_or(|n| n == u32::from(*p))) {
        http.by_port.entry(port).or_default();
        shared.entry(port).or_default().route = Some(port.to_string());
    }
    let make = |(port, shared): (u16, Shared)| match &open {
        None => Some(Arc::new(shared_listener(view, port, shared))),
        // Nobody has asked for a port that only the privileged may open.
        Some(_) if port < PRIVILEGED && narrow.is_none() => None,
        Some(binds) => bound_listener(view, *binds, port, shared).map(Arc::new),
    };
    out.extend(shared.into_iter().filter_map(make));
    (out, http)
}

/// Ports below this one are only opened by the privileged.
const PRIVILEGED: u16 = 1024;

/// The address on which the listeners of an egress listener are opened; none: connections are captured.
///
/// Source: Istio, Sidecar `captureMode` and `bind`: without capture, applications connect to the listener itself, which
/// is on the loopback interface unless `bind` says otherwise.
fn bound<'a>(view: &View<'_>, egress: &'a Egress) -> Option<(&'a str, Option<&'static str>)> {
    let open = match egress.capture {
        CaptureMode::None => true,
        CaptureMode::Default => view.key.interception == Interception::None,
        CaptureMode::Iptables => false,
    };
    let bind = egress.listener.as_ref().map(|listener| listener.bind.as_str()).unwrap_or_default();
    let own = bind.parse::<IpAddr>().is_ok();
    open.then(|| if own { (bind, None) } else { view.key.families.loopbacks() })
}

/// The listener of a port that clients connect to; none where nothing stands behind it.
fn bound_listener(
    view: &View<'_>,
    (bind, other): (&str, Option<&str>),
    port: u16,
    shared: Shared,
) -> Option<Encoded> {
    let name = format!("{bind}_{port}");
    let mut chains = shared.chains;
    if let Some(route) = &shared.route {
        let routes = Routes::Named(route.clone());
        let prefix = format!("outbound_{name}");
        let manager = http::manager(Side::Outbound, &prefix, routes, view.mesh, view.key.flavour, &[]);
        chains.push(FilterChain { filters: vec![manager], ..FilterChain::default() });
    } else {
        chains.extend(shared.rest);
    }
    let by_name = |chain: &FilterChain| chain.filter_chain_match.is_some();
    let inspected = chains.iter().any(by_name);
    let mut listener = unbound(&name, bind, port, chains);
    if listener.filter_chains.is_empty() {
        return None;
    }
    listener.bind_to_port = boolean(true);
    listener.additional_addresses = additional(other, port);
    if inspected {
        listener.listener_filters = vec![inspect::tls(&[])];
        patient(&mut listener, &view.mesh.settings);
    }
    Some(Encoded::new(TypeUrl::Listener, name, &listener))
}

/// The addresses on which a TCP service is told from others: its own, or those of a headless service's pods.
fn own_addresses(view: &View<'_>, service: &Service, port: &Port) -> Vec<IpAddr> {
    if service.headless {
        let endpoints = view.mesh.endpoints(&service.id);
        return endpoints.of_port(port.number).iter().filter_map(|e| e.address.parse().ok()).collect();
    }
    service.addresses.iter().filter(|a| a.is_single()).map(|a| a.ip).collect()
}

/// A service that has no address of its own: its chains stand on the listener of the port.
fn without_address(
    view: &View<'_>,
    rules: &L4Rules,
    service: &Arc<Service>,
    port: &Port,
    (open, shared): (bool, &mut Shared),
) {
    if service.headless && !open {
        // Pods come and go; without any there is nothing to tell the service by.
        return;
    }
    let networks = service.addresses.iter().filter(|_| !open);
    let networks: Vec<_> = networks.map(|a| cidr(&a.ip.to_string(), a.prefix)).collect();
    let narrow = |mut chain: FilterChain| {
        if !networks.is_empty() {
            chain.filter_chain_match.get_or_insert_with(Default::default).prefix_ranges = networks.clone();
        }
        chain
    };
    for mut chain in chains(view, rules, service, port) {
        let told_apart = chain.filter_chain_match.as_ref().is_some_and(|m| !m.server_names.is_empty());
        if !told_apart && port.protocol.is_tls() && !hostname_is_any(service) {
            // TLS tells its destination by name.
            let matched = FilterChainMatch {
                server_names: vec![service.id.host.to_string()],
                ..FilterChainMatch::default()
            };
            chain.filter_chain_match = Some(matched);
        }
        let chain = narrow(chain);
        match &chain.filter_chain_match {
            Some(matched) if shared.chains.iter().any(|c| c.filter_chain_match.as_ref() == Some(matched)) => {
            }
            Some(_) => shared.chains.push(chain),
            None if shared.rest.is_none() => shared.rest = Some(chain),
            None => {}
        }
    }
}

fn hostname_is_any(service: &Service) -> bool {
    &*service.id.host == "*"
}

/// The chains of a service's port: those of VirtualServices, then the one to the service itself.
fn chains(view: &View<'_>, rules: &L4Rules, service: &Arc<Service>, port: &Port) -> Vec<FilterChain> {
    let target = Target { view, listen: port.number, gateways: &[MESH_GATEWAY] };
    let mut chains = Vec::new();
    let mut closed = false;
    if let Some(vs) = rules.of_service(&service.id.host) {
        closed = tcp_rules::only_for_others(vs, &target);
        if port.protocol.is_tls() {
            chains.extend(tcp_rules::tls(vs, &target));
        }
        // What TLS rules leave over, TCP rules may still take.
        chains.extend(tcp_rules::plain(vs, &target));
    }
    let everything = chains.iter().any(|c| c.filter_chain_match.is_none());
    if !everything {
        let service_cluster = names::outbound(port.number, "", &service.id.host);
        let cluster = if closed { names::BLACK_HOLE } else { &service_cluster };
        chains.push(FilterChain {
            filters: tcp::to_cluster(cluster, &view.mesh.settings, view.key.flavour),
            ..FilterChain::default()
        });
    }
    chains
}

/// The listener of one address of a service.
fn own_listener(
    view: &View<'_>,
    cache: &mut Cache,
    rules: &L4Rules,
    service: &Arc<Service>,
    port: &Port,
    ip: IpAddr,
) -> Arc<Encoded> {
    let name: Arc<str> = format!("{ip}_{}", port.number).into();
    if rules.of_service(&service.id.host).is_some() {
        return Arc::new(build(view, rules, service, port, ip, &name));
    }
    let key = UnitKey::Listener {
        name: name.clone(),
        service: Same(service.clone()),
        port: port.number,
        settings: Same(view.mesh.settings.clone()),
        traced: tracing::is_known(view.mesh),
        client: view.client(false, false),
    };
    cache.unit(key, || vec![build(view, rules, service, port, ip, &name)])[0].clone()
}

fn build(
    view: &View<'_>,
    rules: &L4Rules,
    service: &Arc<Service>,
    port: &Port,
    ip: IpAddr,
    name: &Arc<str>,
) -> Encoded {
    let mut all = Vec::new();
    let mut needs_names = false;
    if port.protocol == Protocol::Auto {
        let route = Routes::Named(format!("{}:{}", service.id.host, port.number));
        let manager = http::manager(
            Side::Outbound,
            &format!("outbound_{name}"),
            route,
            view.mesh,
            view.key.flavour,
            &[],
        );
        all.push(FilterChain {
            filter_chain_match: Some(inspect::plain_http()),
            filters: vec![manager],
            ..FilterChain::default()
        });
    }
    for chain in chains(view, rules, service, port) {
        needs_names |= chain.filter_chain_match.as_ref().is_some_and(|m| !m.server_names.is_empty());
        let same = |c: &FilterChain| c.filter_chain_match == chain.filter_chain_match;
        if !all.iter().any(same) {
            all.push(chain);
        }
    }
    let mut listener = unbound(name, &ip.to_string(), port.number, all);
    if port.protocol == Protocol::Auto {
        listener.listener_filters = vec![inspect::tls(&[]), inspect::http(&[])];
        patient(&mut listener, &view.mesh.settings);
    } else if needs_names {
        listener.listener_filters = vec![inspect::tls(&[])];
        patient(&mut listener, &view.mesh.settings);
    }
    Encoded::new(TypeUrl::Listener, name.clone(), &listener)
}

/// The listener of a port on every address.
fn shared_listener(view: &View<'_>, port: u16, shared: Shared) -> Encoded {
    let (any, other) = view.key.families.wildcards();
    let name = format!("{any}_{port}");
    let mut chains = shared.chains;
    if let Some(route) = &shared.route {
        let routes = Routes::Named(route.clone());
        let manager = http::manager(
            Side::Outbound,
            &format!("outbound_{name}"),
            routes,
            view.mesh,
            view.key.flavour,
            &[],
        );
        chains.push(FilterChain {
            filter_chain_match: Some(inspect::plain_http()),
            filters: vec![manager],
            ..FilterChain::default()
        });
    }
    let inspected = !chains.is_empty();
    let rest = shared.rest.unwrap_or_else(|| virtual_outbound::unknown(view, "PassthroughFilterChain"));
    let mut listener = unbound(&name, any, port, chains);
    listener.additional_addresses = additional(other, port);
    if inspected {
        listener.default_filter_chain = Some(rest);
        listener.listener_filters = vec![inspect::tls(&[]), inspect::http(&[])];
        patient(&mut listener, &view.mesh.settings);
    } else {
        listener.filter_chains = vec![rest];
    }
    Encoded::new(TypeUrl::Listener, name, &listener)
}

/// VirtualServices that have TCP or TLS rules, by the service that they are for.
struct L4Rules {
    rules: Vec<Arc<VirtualService>>,
}

impl L4Rules {
    fn of(egress: &Egress) -> Self {
        let l4 =
            egress.virtual_services.iter().filter(|vs| !vs.spec.tcp.is_empty() || !vs.spec.tls.is_empty());
        L4Rules { rules: l4.cloned().collect() }
    }

    /// The rule with the most specific host, of equals the oldest.
    fn of_service(&self, host: &str) -> Option<&Arc<VirtualService>> {
        let matching = self.rules.iter().flat_map(|vs| vs.hosts.iter().map(move |h| (h, vs)));
        let matching = matching.filter(|(pattern, _)| hostname::subset_of(host, pattern));
        matching.min_by(|(a, _), (b, _)| hostname::by_specificity(a, b)).map(|(_, vs)| vs)
    }
}
