//! The virtual hosts that sidecars send requests through: one for each service port, and one for each host of a
//! VirtualService that is no service.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use lateen_mesh::{Egress, MESH_GATEWAY, Origin, Protocol, Service, VirtualService, hostname};
use lateen_xds::Encoded;

use super::host;
use super::rule::{self, Target};
use crate::cache::{Cache, Destination, Domains, Same, UnitKey};
use crate::names;
use crate::view::View;

/// The rules of an egress listener, by the services and hosts that they are for.
pub(crate) struct Rules {
    /// The rule of each service that has one: that with the most specific host, of equals the oldest.
    of_service: HashMap<Arc<str>, Arc<VirtualService>>,
    /// Hosts that are no services: their rule, and the ports on which it is offered.
    hosts: BTreeMap<Arc<str>, (Arc<VirtualService>, Vec<u16>)>,
    /// Services that are another name for a service (ExternalName), by that service's host.
    aliases: HashMap<Arc<str>, Vec<Same<Service>>>,
}

/// The port on which a rule is offered when none of its hosts is a service. Source: Istio.
const DEFAULT_PORT: u16 = 80;

impl Rules {
    /// Sorts out which rule is for what. Costs a look-up a rule, and a scan of the services only for wildcards.
    pub fn of(egress: &Egress) -> Self {
        let mut exact: HashMap<Arc<str>, Arc<VirtualService>> = HashMap::new();
        let mut wildcards: Vec<(Arc<str>, Arc<VirtualService>)> = Vec::new();
        let mut rules = Rules { of_service: HashMap::new(), hosts: BTreeMap::new(), aliases: HashMap::new() };
        for service in egress.services.values() {
            if let Some(target) = &service.external_name {
                rules.aliases.entry(target.clone()).or_default().push(Same(service.clone()));
            }
        }
        for vs in egress.virtual_services.iter().filter(|vs| !vs.spec.http.is_empty()) {
            let ports = Self::ports(vs, egress);
            for name in &vs.hosts {
                if egress.services.contains_key(name) {
                    exact.entry(name.clone()).or_insert_with(|| vs.clone());
                    continue;
                }
                if hostname::is_wildcard(name) {
                    wildcards.push((name.clone(), vs.clone()));
                    if egress.services.keys().any(|host| hostname::subset_of(host, name)) {
                        continue;
                    }
                }
                rules.hosts.entry(name.clone()).or_insert_with(|| (vs.clone(), ports.clone()));
            }
        }
        if !wildcards.is_empty() {
            wildcards.sort_by(|(a, _), (b, _)| hostname::by_specificity(a, b));
            for name in egress.services.keys().filter(|name| !exact.contains_key(*name)) {
                let best = wildcards.iter().find(|(pattern, _)| hostname::subset_of(name, pattern));
                rules.of_service.extend(best.map(|(_, vs)| (name.clone(), vs.clone())));
            }
        }
        rules.of_service.extend(exact);
        rules
    }

    /// The ports of the services among a rule's hosts; the hosts that are no services are offered on the same.
    fn ports(vs: &VirtualService, egress: &Egress) -> Vec<u16> {
        let services = vs.hosts.iter().filter_map(|host| egress.services.get(host));
        let http = |p: &&lateen_mesh::Port| p.protocol.is_http() || p.protocol == Protocol::Auto;
        let mut ports: Vec<u16> =
            services.flat_map(|s| s.ports.iter()).filter(http).map(|p| p.number).collect();
        if ports.is_empty() {
            ports.push(DEFAULT_PORT);
        }
        ports
    }

    /// The ports on which a host that is no service is offered.
    pub fn host_ports(&self) -> impl Iterator<Item = u16> {
        self.hosts.values().flat_map(|(_, ports)| ports.iter().copied())
    }

    /// The rule of a service.
    pub fn of_service(&self, host: &str) -> Option<&Arc<VirtualService>> {
        self.of_service.get(host)
    }
}

/// The virtual hosts of the route configuration of a port.
pub(crate) fn of_port(
    view: &View<'_>,
    cache: &mut Cache,
    rules: &Rules,
    port: u16,
    services: &[Arc<Service>],
) -> Vec<Arc<Encoded>> {
    let route: Arc<str> = port.to_string().into();
    let mut hosts = Vec::with_capacity(services.len() + 1);
    for service in services {
        let same = service.id.namespace == view.key.namespace;
        let domains = match rules.aliases.get(&service.id.host) {
            None => Domains::Service(Same(service.clone()), same),
            Some(aliases) => {
                let near = |alias: &Same<Service>| alias.0.id.namespace == view.key.namespace;
                let aliases = aliases.iter().map(|alias| (alias.clone(), near(alias))).collect();
                Domains::Aliased(Same(service.clone()), same, aliases)
            }
        };
        hosts.push(one(view, cache, rules, (&route, port), service, domains));
    }
    for (name, (vs, ports)) in &rules.hosts {
        if ports.contains(&port) {
            let domains = Domains::Host(name.clone());
            let title: Arc<str> = format!("{name}:{port}").into();
            hosts.push(of_rule(view, cache, vs, (&route, port), title, domains));
        }
    }
    hosts.push(unknown(view, cache, &route));
    without_duplicates(hosts, services, rules, view)
}

/// The virtual host of the route configuration `host:port`, of a service whose protocol is not declared.
pub(crate) fn of_service(
    view: &View<'_>,
    cache: &mut Cache,
    rules: &Rules,
    port: u16,
    service: &Arc<Service>,
) -> Arc<Encoded> {
    let route: Arc<str> = format!("{}:{port}", service.id.host).into();
    one(view, cache, rules, (&route, port), service, Domains::Any)
}

fn one(
    view: &View<'_>,
    cache: &mut Cache,
    rules: &Rules,
    (route, port): (&Arc<str>, u16),
    service: &Arc<Service>,
    domains: Domains,
) -> Arc<Encoded> {
    let title: Arc<str> = format!("{}:{port}", service.id.host).into();
    if let Some(vs) = rules.of_service(&service.id.host) {
        return of_rule(view, cache, vs, (route, port), title, domains);
    }
    let key = UnitKey::VirtualHost {
        route: route.clone(),
        port,
        name: title.clone(),
        domains: domains.clone(),
        rule: None,
        destinations: [view.destination(&service.id.host)].into(),
        client: view.client(false, false),
        settings: Same(view.mesh.settings.clone()),
    };
    first(cache.unit(key, || {
        let target = Target { view, listen: port, gateways: &[MESH_GATEWAY] };
        let cluster = names::outbound(port, "", &service.id.host);
        let mut default = rule::default_route(&service.id.host, port, cluster);
        rule::hash_by(&mut default, &service.id.host, &target);
        vec![host::encode(route, &host::host(&title, names_of(&domains), vec![default]))]
    }))
}

fn of_rule(
    view: &View<'_>,
    cache: &mut Cache,
    vs: &Arc<VirtualService>,
    (route, port): (&Arc<str>, u16),
    title: Arc<str>,
    domains: Domains,
) -> Arc<Encoded> {
    let destinations: Box<[Destination]> =
        vs.destinations.iter().map(|host| view.destination(host)).collect();
    let key = UnitKey::VirtualHost {
        route: route.clone(),
        port,
        name: title.clone(),
        domains: domains.clone(),
        rule: Some(Same(vs.clone())),
        destinations,
        client: view.client(!vs.source_labels.is_empty(), vs.by_source_namespace),
        settings: Same(view.mesh.settings.clone()),
    };
    first(cache.unit(key, || {
        let target = Target { view, listen: port, gateways: &[MESH_GATEWAY] };
        let host = host::host(&title, names_of(&domains), rule::routes(vs, &target));
        vec![host::encode(route, &host)]
    }))
}

fn unknown(view: &View<'_>, cache: &mut Cache, route: &Arc<str>) -> Arc<Encoded> {
    let key = UnitKey::VirtualHost {
        route: route.clone(),
        port: 0,
        name: host::unknown_name(view.allow_any()).into(),
        domains: Domains::Any,
        rule: None,
        destinations: Box::default(),
        client: view.client(false, false),
        settings: Same(view.mesh.settings.clone()),
    };
    first(cache.unit(key, || vec![host::encode(route, &host::unknown(view.allow_any()))]))
}

fn first(unit: &crate::cache::Unit) -> Arc<Encoded> {
    unit[0].clone()
}

fn names_of(domains: &Domains) -> Vec<String> {
    match domains {
        Domains::Any => vec!["*".to_owned()],
        Domains::Host(name) => vec![name.to_string()],
        Domains::Service(service, same_namespace) => host::domains(&service.0, *same_namespace),
        Domains::Aliased(service, same_namespace, aliases) => {
            let mut names = host::domains(&service.0, *same_namespace);
            names.extend(aliases.iter().flat_map(|(alias, near)| host::domains(&alias.0, *near)));
            names
        }
    }
}

/// Envoy refuses a route configuration in which a domain stands twice. Hosts differ, so that only addresses shared by
/// several services, or names such as `reviews.default` that are short for a service's, can meet.
fn without_duplicates(
    hosts: Vec<Arc<Encoded>>,
    services: &[Arc<Service>],
    rules: &Rules,
    view: &View<'_>,
) -> Vec<Arc<Encoded>> {
    let mut addresses = HashSet::new();
    let mut all = services.iter().flat_map(|s| &s.addresses).filter(|a| a.is_single());
    let shared = all.any(|address| !addresses.insert(address.ip));
    let (domain, namespace) = (&view.mesh.settings.domain, &view.key.namespace);
    let is_short = |name: &str| {
        let completions = [
            format!("{name}.{domain}"),
            format!("{name}.svc.{domain}"),
            format!("{name}.{namespace}.svc.{domain}"),
        ];
        completions.iter().any(|full| view.scope.service(full).is_some())
    };
    let foreign = services.iter().filter(|s| s.origin == Origin::ServiceEntry).map(|s| &s.id.host);
    let clash = shared || foreign.chain(rules.hosts.keys()).any(|name| is_short(name));
    if clash { dedup(hosts) } else { hosts }
}

/// Takes the domains that stood earlier out of later hosts.
fn dedup(hosts: Vec<Arc<Encoded>>) -> Vec<Arc<Encoded>> {
    use lateen_xds::pb::envoy::config::route::v3::VirtualHost;
    use prost::Message;
    let mut taken: HashSet<String> = HashSet::new();
    let unique = |encoded: Arc<Encoded>| {
        let Ok(mut host) = VirtualHost::decode(encoded.body.clone()) else { return Some(encoded) };
        let before = host.domains.len();
        host.domains.retain(|domain| taken.insert(domain.clone()));
        match host.domains.len() {
            0 => None,
            after if after == before => Some(encoded),
            _ => Some(Arc::new(Encoded::new(encoded.type_url, encoded.name.clone(), &host))),
        }
    };
    hosts.into_iter().filter_map(unique).collect()
}
