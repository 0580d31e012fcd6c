//! All resources of a scope, put together from units.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use lateen_mesh::{Changes, DestinationRule, Resolution, Service};
use lateen_xds::{Encoded, TypeUrl};

use crate::cache::{Cache, Same, Unit, UnitKey};
use crate::delta::slot;
use crate::families::Families;
use crate::gateway::ServerProtocol;
use crate::locality::Near;
use crate::proxy::{Flavour, ProxyKind};
use crate::resources::{ResourceList, ResourceSet};
use crate::view::View;
use crate::{cluster, credentials, endpoints, gateway, listener, route, security};

/// A list for each type, in the order of [`TypeUrl::ALL`].
pub(crate) type Lists = [Vec<Arc<Encoded>>; TypeUrl::ALL.len()];

/// Everything that the proxies of a scope share. `known` is a set whose clusters and load assignments are the same.
pub(crate) fn all(
    view: &View<'_>,
    cache: &mut Cache,
    known: Option<&ResourceSet>,
) -> [ResourceList; TypeUrl::ALL.len()] {
    let mut lists = Lists::default();
    if known.is_none() {
        upstream(view, cache, &mut lists);
    }
    match view.key.kind {
        ProxyKind::Sidecar => sidecar(view, cache, &mut lists),
        ProxyKind::Gateway => gateway(view, &mut lists),
    }
    lists[slot(TypeUrl::Secret)].extend(credentials::of_view(view));
    let mut lists = lists.map(sorted);
    for type_url in [TypeUrl::Cluster, TypeUrl::Endpoints] {
        if let Some(known) = known {
            lists[slot(type_url)] = known.list(type_url).clone();
        }
    }
    lists
}

/// Clusters and load assignments.
fn upstream(view: &View<'_>, cache: &mut Cache, lists: &mut Lists) {
    let fixed = cluster::fixed(&view.mesh.settings).into_iter().map(Arc::new);
    lists[slot(TypeUrl::Cluster)].extend(fixed);
    // Spans are sent by the proxy itself, whatever its Sidecar lets the application see.
    let traces = listener::tracing::service(view.mesh);
    let traces = traces.filter(|service| !view.scope.services.contains_key(&service.id.host));
    let services = view.scope.services.values().chain(traces);
    for service in services.filter(|s| s.external_name.is_none()) {
        lists[slot(TypeUrl::Cluster)].extend_from_slice(&clusters(view, cache, service));
        if let Some(unit) = load_assignments(view, cache, service) {
            lists[slot(TypeUrl::Endpoints)].extend_from_slice(&unit);
        }
    }
}

fn clusters(view: &View<'_>, cache: &mut Cache, service: &Arc<Service>) -> Unit {
    let rule = view.rule(service);
    let settings = &view.mesh.settings;
    let endpoints = view.mesh.endpoints(&service.id);
    let certified = view.key.authenticated;
    let exchange = certified && view.key.flavour == Flavour::Lateen;
    // The endpoints of DNS clusters stand in the cluster.
    let near = match service.resolution {
        Resolution::Dns => near_of(view, rule),
        _ => None,
    };
    let families = match service.resolution {
        Resolution::Dns | Resolution::DnsRoundRobin => view.key.families,
        _ => Families::default(),
    };
    let key = UnitKey::Clusters {
        service: Same(service.clone()),
        rule: rule.cloned().map(Same),
        settings: Same(settings.clone()),
        kind: view.key.kind,
        families,
        certified,
        exchange,
        near: near.cloned(),
        accounts: endpoints.accounts.clone(),
        all_mtls: match service.headless {
            true => service.ports.iter().map(|p| endpoints.all_mtls(p.number)).collect(),
            false => Box::default(),
        },
    };
    let near = near.map(|n| &**n);
    let caller = cluster::Caller { kind: view.key.kind, families, certified, exchange, endpoints, near };
    let make = || cluster::of_service(service, rule.map(|r| &**r), settings, caller);
    cache.unit(key, make).clone()
}

/// Where the clients are, where that may make a difference: without outlier detection or locality settings, all of them
/// get the same.
fn near_of<'a>(view: &'a View<'_>, rule: Option<&Arc<DestinationRule>>) -> Option<&'a Arc<Near>> {
    let counts = rule.is_some() || !view.mesh.settings.locality.distribute.is_empty();
    view.key.near.as_ref().filter(|_| counts)
}

fn load_assignments(view: &View<'_>, cache: &mut Cache, service: &Arc<Service>) -> Option<Unit> {
    if !endpoints::are_served(service, view.key.kind) {
        return None;
    }
    let rule = view.rule(service);
    let ready = view.mesh.endpoints(&service.id);
    let near = near_of(view, rule);
    let key = UnitKey::Endpoints {
        service: Same(service.clone()),
        rule: rule.cloned().map(Same),
        endpoints: Same(ready.clone()),
        near: near.cloned(),
        kind: view.key.kind,
        families: view.key.families,
    };
    let client = endpoints::Client {
        near: near.map(|n| &**n),
        families: view.key.families,
        settings: &view.mesh.settings,
    };
    let make = || endpoints::of_service(service, rule.map(|r| &**r), ready, client);
    Some(cache.unit(key, make).clone())
}

fn sidecar(view: &View<'_>, cache: &mut Cache, lists: &mut Lists) {
    lists[slot(TypeUrl::Listener)].push(Arc::new(listener::virtual_outbound::listener(view)));
    let mut names = BTreeSet::new();
    for egress in &view.scope.egress {
        let rules = route::sidecar::Rules::of(egress);
        let (listeners, http) = listener::outbound::listeners(view, cache, egress, rules.host_ports());
        let first = |l: &Arc<Encoded>, names: &mut BTreeSet<Arc<str>>| names.insert(l.name.clone());
        lists[slot(TypeUrl::Listener)].extend(listeners.into_iter().filter(|l| first(l, &mut names)));
        for (port, services) in &http.by_port {
            let hosts = route::sidecar::of_port(view, cache, &rules, *port, services);
            push_routes(view, lists, &port.to_string(), hosts);
        }
        for (service, port) in &http.sniffed {
            let host = route::sidecar::of_service(view, cache, &rules, *port, service);
            push_routes(view, lists, &format!("{}:{port}", service.id.host), vec![host]);
        }
    }
}

fn push_routes(view: &View<'_>, lists: &mut Lists, name: &str, hosts: Vec<Arc<Encoded>>) {
    let known = lists[slot(TypeUrl::Route)].iter().any(|r| &*r.name == name);
    if known {
        return;
    }
    let config = route::config::route_config(name, view.key.flavour, &hosts);
    lists[slot(TypeUrl::Route)].push(Arc::new(config));
    if view.key.flavour == Flavour::Lateen {
        lists[slot(TypeUrl::VirtualHost)].extend(hosts);
    }
}

fn gateway(view: &View<'_>, lists: &mut Lists) {
    let servers = gateway::servers(view);
    let reroutes = route::gateway::asks_for_claims(view);
    let guards = security::guards(
        view.mesh,
        &view.key.namespace,
        &view.key.labels,
        &[],
        (reroutes, view.key.families),
    );
    lists[slot(TypeUrl::Listener)].extend(listener::gateway::listeners(view, &servers, &guards));
    lists[slot(TypeUrl::Cluster)].extend(guards.clusters.into_iter().map(Arc::new));
    for server in servers.values().flatten().filter(|s| s.protocol == ServerProtocol::AutoPassthrough) {
        let clusters = listener::auto_passthrough::clusters(view, server);
        let names: BTreeSet<Arc<str>> = clusters.iter().map(|cluster| cluster.name.clone()).collect();
        let endpoints = &mut lists[slot(TypeUrl::Endpoints)];
        let more = listener::auto_passthrough::load_assignments(endpoints, |name| names.contains(name));
        endpoints.extend(more);
        lists[slot(TypeUrl::Cluster)].extend(clusters.into_iter().map(Arc::new));
    }
    let mut configs: BTreeMap<Arc<str>, route::gateway::GatewayRoutes> = BTreeMap::new();
    for servers in servers.values() {
        for routes in route::gateway::routes(view, servers) {
            configs.entry(routes.config.name.clone()).or_insert(routes);
        }
    }
    for routes in configs.into_values() {
        lists[slot(TypeUrl::Route)].push(Arc::new(routes.config));
        if view.key.flavour == Flavour::Lateen {
            lists[slot(TypeUrl::VirtualHost)].extend(routes.hosts);
        }
    }
}

/// Sorts a list by name, and keeps one of each.
pub(crate) fn sorted(mut list: Vec<Arc<Encoded>>) -> ResourceList {
    list.sort_by(|a, b| a.name.cmp(&b.name));
    list.dedup_by(|later, first| later.name == first.name);
    list.into()
}

/// The set with the load assignments of changed services in place of the old ones; `None` when more than load
/// assignments depend on the change, and everything is to be looked at.
pub(crate) fn with_endpoints(
    view: &View<'_>,
    cache: &mut Cache,
    old: &Arc<ResourceSet>,
    changes: &Changes,
) -> Option<Arc<ResourceSet>> {
    let (mut new, mut secured): (Vec<Arc<Encoded>>, Vec<Arc<Encoded>>) = Default::default();
    for id in &changes.endpoints {
        let Some(service) = view.scope.service(&id.host).filter(|s| s.id == *id) else { continue };
        if service.headless && view.key.kind == ProxyKind::Sidecar {
            // Listeners stand on the addresses of a headless service's pods.
            return None;
        }
        new.extend(load_assignments(view, cache, service).iter().flat_map(|unit| unit.iter().cloned()));
        // The first endpoint of an account changes what clients expect of the server's certificate.
        if service.external_name.is_none() {
            secured.extend_from_slice(&clusters(view, cache, service));
        }
    }
    if view.key.kind == ProxyKind::Gateway {
        if !changes.workloads.is_empty() {
            return None;
        }
        let known = old.list(TypeUrl::Endpoints);
        let is_known = |name: &str| known.binary_search_by(|r| (*r.name).cmp(name)).is_ok();
        let more = listener::auto_passthrough::load_assignments(&new, is_known);
        new.extend(more);
    }
    let mut lists = TypeUrl::ALL.map(|t| old.list(t).clone());
    let mut changed = false;
    for (type_url, resources) in [(TypeUrl::Endpoints, new), (TypeUrl::Cluster, secured)] {
        // The names depend on services and rules alone, which are the same.
        if let Some(patched) = patched(old.list(type_url), resources)? {
            lists[slot(type_url)] = patched;
            changed = true;
        }
    }
    Some(if changed { ResourceSet::new(lists) } else { old.clone() })
}

/// The list with some resources replaced: outer `None` when one has no place in it, inner `None` when nothing differs.
fn patched(list: &ResourceList, resources: Vec<Arc<Encoded>>) -> Option<Option<ResourceList>> {
    let mut new: Option<Vec<Arc<Encoded>>> = None;
    for resource in resources {
        let at = list.binary_search_by(|r| r.name.cmp(&resource.name)).ok()?;
        if list[at].version != resource.version {
            new.get_or_insert_with(|| list.to_vec())[at] = resource;
        }
    }
    Some(new.map(Into::into))
}
