use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use lateen_api::networking::virtual_service::{Destination, RouteDestination, VirtualServiceSpec};
use lateen_api::networking::virtual_service_http::HttpRoute;

use crate::{Meta, Visibility, delegate, hostname, service};

/// The name of the gateway that stands for all sidecars.
pub const MESH_GATEWAY: &str = "mesh";

/// A VirtualService whose names are all resolved.
#[derive(Clone, Debug, PartialEq)]
pub struct VirtualService {
    /// Name, namespace and age.
    pub meta: Meta,
    /// Hosts, short names resolved.
    pub hosts: Vec<Arc<str>>,
    /// Gateways as `namespace/name`, or [`MESH_GATEWAY`].
    pub gateways: Vec<Arc<str>>,
    /// To which namespaces it is visible; `None` is the mesh's default.
    pub export_to: Option<Visibility>,
    /// The rules, with hosts and gateways resolved as above and delegates merged.
    pub spec: VirtualServiceSpec,
    /// Every host that a rule sends requests to.
    pub destinations: Vec<Arc<str>>,
    /// Keys of workload labels that rules match on (`sourceLabels`).
    pub source_labels: BTreeSet<String>,
    /// Whether a rule matches on the client's namespace (`sourceNamespace`).
    pub by_source_namespace: bool,
}

impl VirtualService {
    /// Resolves the names in a VirtualService: short hosts by its namespace, gateways without namespace likewise.
    pub(crate) fn resolve(meta: Meta, mut spec: VirtualServiceSpec, domain: &str) -> VirtualService {
        let namespace = meta.namespace.clone();
        for destination in destinations_mut(&mut spec) {
            destination.host = hostname::qualify(&destination.host, &namespace, domain);
        }
        for gateways in gateways_mut(&mut spec) {
            for gateway in gateways.iter_mut() {
                *gateway = qualify_gateway(gateway, &namespace);
            }
        }
        if spec.gateways.is_empty() {
            spec.gateways.push(MESH_GATEWAY.to_owned());
        }
        for host in &mut spec.hosts {
            *host = hostname::qualify(host, &namespace, domain);
        }
        Self::finish(meta, spec)
    }

    /// Works out what is asked of the rules later.
    pub(crate) fn finish(meta: Meta, mut spec: VirtualServiceSpec) -> VirtualService {
        let destinations: BTreeSet<Arc<str>> =
            destinations_mut(&mut spec).map(|d| Arc::from(d.host.as_str())).collect();
        let mut source_labels = BTreeSet::new();
        let mut by_source_namespace = false;
        let http = spec.http.iter().flat_map(|r| &r.r#match).map(|m| (&m.source_labels, &m.source_namespace));
        let tls = spec.tls.iter().flat_map(|r| &r.r#match).map(|m| (&m.source_labels, &m.source_namespace));
        let tcp = spec.tcp.iter().flat_map(|r| &r.r#match).map(|m| (&m.source_labels, &m.source_namespace));
        for (labels, source) in http.chain(tls).chain(tcp) {
            source_labels.extend(labels.keys().cloned());
            by_source_namespace |= !source.is_empty();
        }
        VirtualService {
            hosts: spec.hosts.iter().map(|h| h.as_str().into()).collect(),
            gateways: spec.gateways.iter().map(|g| g.as_str().into()).collect(),
            export_to: Visibility::parse(&spec.export_to, &meta.namespace),
            destinations: destinations.into_iter().collect(),
            source_labels,
            by_source_namespace,
            spec,
            meta,
        }
    }

    /// Whether it applies to sidecars.
    pub fn in_mesh(&self) -> bool {
        self.gateways.iter().any(|g| &**g == MESH_GATEWAY)
    }

    /// Whether clients of a namespace see it.
    pub fn visible_to(&self, client_namespace: &str, default: &Visibility) -> bool {
        service::visible(self.export_to.as_ref(), &self.meta.namespace, client_namespace, default)
    }
}

/// `name` is a gateway of the same namespace; `namespace/name` and `mesh` stay; the old form
/// `name.namespace.svc.domain` names the service of a gateway in `namespace`.
fn qualify_gateway(gateway: &str, namespace: &str) -> String {
    if gateway == MESH_GATEWAY || gateway.is_empty() {
        return MESH_GATEWAY.to_owned();
    }
    if gateway.contains('/') {
        return gateway.to_owned();
    }
    match gateway.split_once('.') {
        Some((name, rest)) => format!("{}/{name}", rest.split('.').next().unwrap_or_default()),
        None => format!("{namespace}/{gateway}"),
    }
}

fn gateways_mut(spec: &mut VirtualServiceSpec) -> impl Iterator<Item = &mut Vec<String>> {
    let http = spec.http.iter_mut().flat_map(|r| r.r#match.iter_mut()).map(|m| &mut m.gateways);
    let tls = spec.tls.iter_mut().flat_map(|r| r.r#match.iter_mut()).map(|m| &mut m.gateways);
    let tcp = spec.tcp.iter_mut().flat_map(|r| r.r#match.iter_mut()).map(|m| &mut m.gateways);
    std::iter::once(&mut spec.gateways).chain(http).chain(tls).chain(tcp)
}

fn destinations_mut(spec: &mut VirtualServiceSpec) -> impl Iterator<Item = &mut Destination> {
    fn of_http(route: &mut HttpRoute) -> impl Iterator<Item = &mut Destination> {
        let routes = route.route.iter_mut().filter_map(|r| r.destination.as_mut());
        let mirrors = route.mirrors.iter_mut().filter_map(|m| m.destination.as_mut());
        routes.chain(mirrors).chain(route.mirror.as_mut())
    }
    fn of_l4(route: &mut [RouteDestination]) -> impl Iterator<Item = &mut Destination> {
        route.iter_mut().filter_map(|r| r.destination.as_mut())
    }
    let http = spec.http.iter_mut().flat_map(of_http);
    let tls = spec.tls.iter_mut().flat_map(|r| of_l4(&mut r.route));
    let tcp = spec.tcp.iter_mut().flat_map(|r| of_l4(&mut r.route));
    http.chain(tls).chain(tcp)
}

/// All VirtualServices, oldest first, by what they apply to.
#[derive(Debug, Default)]
pub struct VirtualServices {
    /// All as they are declared, delegates apart, oldest first.
    pub declared: Vec<Arc<VirtualService>>,
    /// Those that apply to sidecars, oldest first.
    pub mesh: Vec<Arc<VirtualService>>,
    by_gateway: HashMap<Arc<str>, Vec<Arc<VirtualService>>>,
    /// Keys of workload labels that any rule matches on.
    pub source_labels: BTreeSet<String>,
}

impl VirtualServices {
    /// Indexes resolved VirtualServices; delegates are merged into what delegates to them.
    pub(crate) fn index(all: &HashMap<crate::ConfigKey, Arc<VirtualService>>, default: &Visibility) -> Self {
        let mut declared: Vec<Arc<VirtualService>> = all.values().cloned().collect();
        declared.sort_by(|a, b| a.meta.by_age(&b.meta));
        let sorted = delegate::merge(&declared, all, default);
        let mut index = Self { declared, ..Self::default() };
        for service in sorted {
            index.source_labels.extend(service.source_labels.iter().cloned());
            for gateway in &service.gateways {
                if &**gateway == MESH_GATEWAY {
                    index.mesh.push(service.clone());
                } else {
                    index.by_gateway.entry(gateway.clone()).or_default().push(service.clone());
                }
            }
        }
        index
    }

    /// Those that name a gateway (`namespace/name`), oldest first.
    pub fn of_gateway(&self, gateway: &str) -> &[Arc<VirtualService>] {
        self.by_gateway.get(gateway).map_or(&[], Vec::as_slice)
    }

    /// Every gateway that is named, with the VirtualServices that name it.
    pub fn gateways(&self) -> impl Iterator<Item = (&Arc<str>, &[Arc<VirtualService>])> {
        self.by_gateway.iter().map(|(name, list)| (name, list.as_slice()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lateen_api::networking::virtual_service_http::HttpRouteDestination;

    fn meta() -> Meta {
        Meta { name: "reviews".into(), namespace: "bookinfo".into(), created: 1 }
    }

    #[test]
    fn short_names_and_gateways_are_resolved_by_the_rules_namespace() {
        let destination = Destination { host: "reviews".into(), ..Destination::default() };
        let route =
            HttpRouteDestination { destination: Some(destination), ..HttpRouteDestination::default() };
        let spec = VirtualServiceSpec {
            hosts: vec!["reviews".into(), "www.example.com".into()],
            gateways: vec!["edge".into(), "istio-system/main".into(), "mesh".into()],
            http: vec![HttpRoute { route: vec![route], ..HttpRoute::default() }],
            ..VirtualServiceSpec::default()
        };
        let resolved = VirtualService::resolve(meta(), spec, "cluster.local");
        assert_eq!(
            resolved.hosts,
            ["reviews.bookinfo.svc.cluster.local".into(), Arc::from("www.example.com")]
        );
        assert_eq!(
            resolved.gateways.iter().map(|g| &**g).collect::<Vec<_>>(),
            ["bookinfo/edge", "istio-system/main", "mesh"]
        );
        assert_eq!(resolved.destinations, ["reviews.bookinfo.svc.cluster.local".into()]);
    }

    #[test]
    fn without_gateways_it_applies_to_sidecars() {
        assert!(VirtualService::resolve(meta(), VirtualServiceSpec::default(), "cluster.local").in_mesh());
    }
}
