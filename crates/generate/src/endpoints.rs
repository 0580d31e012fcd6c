//! EDS: the load assignments of a service, one for each cluster.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use lateen_api::networking::destination_rule::Subset;
use lateen_mesh::{
    DestinationRule, Endpoint, Endpoints, Locality, Resolution, Service, Settings, Workload, labels,
};
use lateen_xds::pb::envoy::config::core::v3 as core;
use lateen_xds::pb::envoy::config::endpoint::v3 as pb;
use lateen_xds::{Encoded, TypeUrl};

use crate::cluster::policy::Policy;
use crate::families::Families;
use crate::locality::{Near, Preference};
use crate::names;
use crate::ordered::{self, ClusterLoadAssignment, LbEndpoint, LocalityLbEndpoints};
use crate::proto::{ISTIO, address, u32_value};
use crate::proxy::ProxyKind;
use crate::tls::client::MODE;

/// The cluster in which workloads are taken to be, until there are several.
const CLUSTER: &str = "Kubernetes";

/// The key under which an endpoint's metadata tells which transport socket it takes.
const SOCKET_MATCH: &str = "envoy.transport_socket_match";

/// Whether clients of this kind ask for the endpoints of a service.
pub(crate) fn are_served(service: &Service, kind: ProxyKind) -> bool {
    match service.resolution {
        Resolution::Endpoints => true,
        Resolution::Passthrough => kind == ProxyKind::Gateway,
        Resolution::Dns | Resolution::DnsRoundRobin => false,
    }
}

/// Who asks for load assignments.
#[derive(Clone, Copy)]
pub(crate) struct Client<'a> {
    /// Where it is, where that may make a difference.
    pub near: Option<&'a Near>,
    /// The IP versions of its addresses.
    pub families: Families,
    pub settings: &'a Settings,
}

/// All load assignments of a service: for each port that of the whole service and that of each subset.
pub(crate) fn of_service(
    service: &Service,
    rule: Option<&DestinationRule>,
    endpoints: &Endpoints,
    client: Client<'_>,
) -> Vec<Encoded> {
    let mut out = Vec::new();
    for port in &service.ports {
        let all = endpoints.of_port(port.number);
        let mut push = |subset: Option<&Subset>, chosen: &[&Endpoint]| {
            let name = names::outbound(port.number, subset.map_or("", |s| &s.name), &service.id.host);
            let policy = Policy::of(rule.map(|r| &r.spec), subset, port.number);
            let preference = Preference::new(client.near, &policy, client.settings);
            let merged = merged(chosen, client.families);
            let message = grouped(&name, merged, preference.as_ref());
            out.push(Encoded::new(TypeUrl::Endpoints, name, &message));
        };
        push(None, &all.iter().collect::<Vec<_>>());
        for subset in rule.iter().flat_map(|r| &r.spec.subsets) {
            let chosen: Vec<_> = all.iter().filter(|e| labels::selects(&subset.labels, &e.labels)).collect();
            push(Some(subset), &chosen);
        }
    }
    out
}

/// An endpoint, and the same workload's address of the other IP version.
type Place<'a> = (&'a Endpoint, Option<&'a Endpoint>);

/// The endpoints as clients of these IP versions reach them: those of another version are left out, as long as any
/// stays, and the two addresses of one workload become one endpoint.
///
/// Source: Istio, which gives the second address as an additional one of the endpoint.
fn merged<'a>(endpoints: &[&'a Endpoint], families: Families) -> Vec<Place<'a>> {
    let ip = |e: &Endpoint| e.address.parse::<IpAddr>().ok();
    let alone = |list: &[&'a Endpoint]| list.iter().map(|e| (*e, None)).collect::<Vec<Place<'a>>>();
    let foreign = |e: &&Endpoint| ip(e).is_some_and(|ip| !families.prefers(ip));
    if !endpoints.iter().any(foreign) {
        return alone(endpoints);
    }
    let reached = |e: &&&Endpoint| ip(e).is_none_or(|ip| families.reaches(ip));
    let mut reached: Vec<&Endpoint> = endpoints.iter().filter(reached).copied().collect();
    if reached.is_empty() {
        return alone(endpoints);
    }
    if !families.are_both() {
        return alone(&reached);
    }
    reached.sort_by_key(|e| ip(e).is_some_and(|ip| !families.prefers(ip)));
    let mut places: Vec<Place<'a>> = Vec::with_capacity(reached.len());
    let mut by_workload: HashMap<(*const Workload, u16), usize> = HashMap::new();
    for endpoint in reached {
        let Some(workload) = &endpoint.workload else {
            places.push((endpoint, None));
            continue;
        };
        let version = |e: &Endpoint| ip(e).map(|ip| ip.is_ipv4());
        match by_workload.entry((Arc::as_ptr(workload), endpoint.port)) {
            Entry::Occupied(at)
                if places[*at.get()].1.is_none() && version(places[*at.get()].0) != version(endpoint) =>
            {
                places[*at.get()].1 = Some(endpoint);
            }
            Entry::Occupied(_) => places.push((endpoint, None)),
            Entry::Vacant(at) => {
                at.insert(places.len());
                places.push((endpoint, None));
            }
        }
    }
    places
}

/// A load assignment, its endpoints grouped by locality.
pub(crate) fn assignment(cluster: &str, endpoints: &[&Endpoint]) -> ClusterLoadAssignment {
    preferring(cluster, endpoints, None)
}

/// A load assignment whose localities have the priorities or shares that some clients give them.
pub(crate) fn preferring(
    cluster: &str,
    endpoints: &[&Endpoint],
    preference: Option<&Preference<'_>>,
) -> ClusterLoadAssignment {
    grouped(cluster, endpoints.iter().map(|endpoint| (*endpoint, None)).collect(), preference)
}

fn grouped(
    cluster: &str,
    endpoints: Vec<Place<'_>>,
    preference: Option<&Preference<'_>>,
) -> ClusterLoadAssignment {
    let distance = |e: &Endpoint| preference.filter(|p| p.splits_localities()).map_or(0, |p| p.distance(e));
    let mut by_locality: BTreeMap<(&Arc<Locality>, u32), Vec<Place<'_>>> = BTreeMap::new();
    for place in endpoints {
        by_locality.entry((&place.0.locality, distance(place.0))).or_default().push(place);
    }
    let mut groups: Vec<(u32, LocalityLbEndpoints)> = by_locality
        .into_iter()
        .map(|((locality, distance), endpoints)| (distance, group(locality, endpoints)))
        .collect();
    if let Some(preference) = preference {
        preference.arrange(&mut groups);
    }
    ClusterLoadAssignment {
        cluster_name: cluster.to_owned(),
        endpoints: groups.into_iter().map(|(_, group)| group).collect(),
    }
}

fn group(locality: &Locality, endpoints: Vec<Place<'_>>) -> LocalityLbEndpoints {
    LocalityLbEndpoints {
        locality: Some(core::Locality {
            region: locality.region.to_string(),
            zone: locality.zone.to_string(),
            sub_zone: locality.subzone.to_string(),
        }),
        load_balancing_weight: u32_value(
            endpoints.iter().map(|(e, _)| e.weight).fold(0, u32::saturating_add).max(1),
        ),
        lb_endpoints: endpoints.into_iter().map(endpoint).collect(),
        ..LocalityLbEndpoints::default()
    }
}

/// Where an endpoint is: an address, or a unix socket (`unix:///path`).
fn place(endpoint: &Endpoint) -> Option<core::Address> {
    let Some(path) = endpoint.address.strip_prefix("unix://") else {
        return address(&endpoint.address, u32::from(endpoint.port));
    };
    let pipe = core::Pipe { path: path.to_owned(), ..core::Pipe::default() };
    Some(core::Address { address: Some(core::address::Address::Pipe(pipe)) })
}

fn endpoint((endpoint, other): Place<'_>) -> LbEndpoint {
    let identity = endpoint.workload.as_ref().map(|workload| {
        let id = &workload.identity;
        let text = [
            id.workload.as_str(),
            id.namespace.as_str(),
            id.canonical_name.as_str(),
            id.canonical_revision.as_str(),
            CLUSTER,
        ];
        (ISTIO, "workload", text.join(";"))
    });
    // The client's transport socket matches are told apart by this.
    let tls = endpoint.mtls.then(|| (SOCKET_MATCH, MODE, "istio".to_owned()));
    let metadata = ordered::texts(identity.into_iter().chain(tls));
    LbEndpoint {
        endpoint: Some(pb::Endpoint {
            address: place(endpoint),
            additional_addresses: other
                .map(|other| pb::endpoint::AdditionalAddress { address: place(other) })
                .into_iter()
                .collect(),
            ..pb::Endpoint::default()
        }),
        health_status: core::HealthStatus::Healthy as i32,
        metadata,
        load_balancing_weight: u32_value(endpoint.weight.max(1)),
    }
}
