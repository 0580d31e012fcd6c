//! What the clients of a namespace see: the services and rules that their Sidecar imports, or everything that is
//! exported to them.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use lateen_api::networking::sidecar::{CaptureMode, IstioEgressListener, SidecarPort};

use crate::service::Origin;
use crate::{Mesh, Service, Sidecar, VirtualService, hostname};

/// What the clients of one namespace with one Sidecar see.
#[derive(Debug)]
pub struct Scope {
    /// The clients' namespace.
    pub namespace: Arc<str>,
    /// The Sidecar that applies to them, if any.
    pub sidecar: Option<Arc<Sidecar>>,
    /// One entry for each egress listener of the Sidecar; without Sidecar a single one that has everything.
    pub egress: Vec<Egress>,
    /// Every service that is seen, by host; of several with one host the one that counts.
    pub services: Arc<ServicesByHost>,
}

/// Services by their hosts.
pub type ServicesByHost = BTreeMap<Arc<str>, Arc<Service>>;

/// What is reached through one egress listener.
#[derive(Debug, Default)]
pub struct Egress {
    /// The Sidecar's listener, when it is for one port only.
    pub listener: Option<IstioEgressListener>,
    /// How connections reach it.
    pub capture: CaptureMode,
    /// The services, by host.
    pub services: Arc<ServicesByHost>,
    /// VirtualServices that apply to sidecars, oldest first.
    pub virtual_services: Vec<Arc<VirtualService>>,
}

impl Egress {
    /// The port that the listener is for, if it is for one only.
    pub fn port(&self) -> Option<&SidecarPort> {
        self.listener.as_ref()?.port.as_ref()
    }
}

impl Scope {
    /// Works out what a Sidecar (or, without one, visibility alone) lets the clients of a namespace see.
    /// `before` is what was worked out at an earlier snapshot, from which the services are taken where they are the
    /// same.
    pub fn new(
        mesh: &Mesh,
        namespace: &Arc<str>,
        sidecar: Option<&Arc<Sidecar>>,
        before: Option<(&Mesh, &Scope)>,
    ) -> Scope {
        let same = |old: &Mesh| {
            Arc::ptr_eq(&old.services, &mesh.services) && Arc::ptr_eq(&old.settings, &mesh.settings)
        };
        let known = before.filter(|(old, scope)| scope.sidecar.is_none() && sidecar.is_none() && same(old));
        let everything = Egress {
            listener: None,
            capture: CaptureMode::Default,
            services: match known {
                Some((_, scope)) => scope.services.clone(),
                None => Arc::new(visible_services(mesh, namespace)),
            },
            virtual_services: visible_rules(mesh, namespace),
        };
        let egress = match sidecar {
            Some(sidecar) if !sidecar.spec.egress.is_empty() => {
                let listeners = sidecar.spec.egress.iter();
                listeners
                    .map(|l| imported(mesh, &everything, namespace, &sidecar.meta.namespace, l))
                    .collect()
            }
            _ => vec![everything],
        };
        let services = match egress.as_slice() {
            [only] => only.services.clone(),
            several => {
                let mut all = ServicesByHost::new();
                for (host, service) in several.iter().flat_map(|e| e.services.iter()) {
                    all.entry(host.clone()).or_insert_with(|| service.clone());
                }
                Arc::new(all)
            }
        };
        let mut scope = Scope { namespace: namespace.clone(), sidecar: sidecar.cloned(), egress, services };
        if scope.sidecar.is_some() {
            scope.add_destinations(mesh);
        }
        scope
    }

    /// The service of a host, as these clients see it.
    pub fn service(&self, host: &str) -> Option<&Arc<Service>> {
        self.services.get(host)
    }

    /// Rules may send requests to services that the Sidecar does not import by name: they are imported with the rule.
    fn add_destinations(&mut self, mesh: &Mesh) {
        let rules = self.egress.iter().flat_map(|e| &e.virtual_services);
        let hosts: HashSet<Arc<str>> = rules.flat_map(|vs| vs.destinations.iter().cloned()).collect();
        for host in hosts {
            if !self.services.contains_key(&host)
                && let Some(service) = mesh.service_for(&host, &self.namespace)
            {
                Arc::make_mut(&mut self.services).insert(host, service.clone());
            }
        }
    }
}

/// The services that are exported to a namespace.
fn visible_services(mesh: &Mesh, namespace: &str) -> ServicesByHost {
    let mut services = ServicesByHost::new();
    let default = &mesh.settings.default_service_export;
    for service in mesh.services.all().iter().filter(|s| s.visible_to(namespace, default)) {
        put_best(&mut services, service, namespace);
    }
    services
}

fn put_best(services: &mut ServicesByHost, service: &Arc<Service>, namespace: &str) {
    match services.get(&service.id.host) {
        Some(known) if !beats(service, known, namespace) => {}
        _ => drop(services.insert(service.id.host.clone(), service.clone())),
    }
}

/// The rules for sidecars that are exported to a namespace, oldest first.
fn visible_rules(mesh: &Mesh, namespace: &str) -> Vec<Arc<VirtualService>> {
    let default = &mesh.settings.default_virtual_service_export;
    let rules = mesh.virtual_services.mesh.iter().filter(|vs| vs.visible_to(namespace, default));
    rules.cloned().collect()
}

/// Whether a service counts rather than another of the same host: the clients' own namespace first, then
/// Kubernetes', then the older.
pub(crate) fn beats(new: &Service, known: &Service, namespace: &str) -> bool {
    let rank = |s: &Service| (&*s.id.namespace != namespace, s.origin != Origin::Kubernetes);
    rank(new).cmp(&rank(known)).then(new.meta.by_age(&known.meta)).is_lt()
}

/// What an egress listener's `hosts` (`namespace/host`) import of everything that is visible.
fn imported(
    mesh: &Mesh,
    everything: &Egress,
    namespace: &str,
    home: &str,
    listener: &IstioEgressListener,
) -> Egress {
    let hosts = ImportedHosts::parse(&listener.hosts, namespace, home, &mesh.settings.domain);
    let of_port = |service: &Service| match &listener.port {
        Some(port) if port.number != 0 => service.ports.iter().any(|p| u32::from(p.number) == port.number),
        _ => true,
    };
    // A rule is imported when one of its hosts is.
    let rules = everything.virtual_services.iter();
    let rules: Vec<_> = rules
        .filter(|vs| vs.hosts.iter().any(|host| hosts.hold(&vs.meta.namespace, host)))
        .cloned()
        .collect();
    // The choice between services of one host is made among the imported ones.
    let mut services = ServicesByHost::new();
    let default = &mesh.settings.default_service_export;
    for service in mesh.services.all() {
        let wanted = hosts.hold(&service.id.namespace, &service.id.host) && of_port(service);
        if wanted && service.visible_to(namespace, default) {
            put_best(&mut services, service, namespace);
        }
    }
    let has_port = listener.port.as_ref().is_some_and(|p| p.number != 0);
    Egress {
        listener: has_port.then(|| listener.clone()),
        capture: listener.capture_mode,
        services: Arc::new(services),
        virtual_services: rules,
    }
}

/// `hosts` of an egress listener, by namespace (`*` is any).
struct ImportedHosts(HashMap<String, Vec<String>>);

impl ImportedHosts {
    fn parse(list: &[String], namespace: &str, home: &str, domain: &str) -> Self {
        let mut hosts: HashMap<String, Vec<String>> = HashMap::new();
        for entry in list {
            let (from, host) = entry.split_once('/').unwrap_or(("*", entry));
            let from = match from {
                "." => namespace,
                "~" => continue,
                other => other,
            };
            let host = hostname::qualify(host, if from == "*" { home } else { from }, domain);
            hosts.entry(from.to_owned()).or_default().push(host);
        }
        ImportedHosts(hosts)
    }

    fn hold(&self, namespace: &str, host: &str) -> bool {
        let from = [self.0.get(namespace), self.0.get("*")];
        let mut patterns = from.into_iter().flatten().flatten();
        patterns.any(|pattern| hostname::subset_of(host, pattern) || hostname::overlap(pattern, host))
    }
}
