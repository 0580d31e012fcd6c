//! What contradicts itself in a snapshot, counted under istiod's names.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use lateen_mesh::{Mesh, Origin, Resolution, Service, TargetPort};

/// What was counted in the last snapshot.
#[derive(Debug, Default)]
pub struct Conflicts([AtomicU64; KINDS.len()]);

/// Name, help, and how it is counted.
type Kind = (&'static str, &'static str, fn(&Mesh) -> usize);

/// What changes with endpoints.
const BY_ENDPOINTS: &str = "pilot_eds_no_instances";

const KINDS: [Kind; 7] = [
    ("pilot_conflict_inbound_listener", "Number of conflicting inbound listeners.", inbound),
    (
        "pilot_conflict_outbound_listener_tcp_over_current_tcp",
        "Number of conflicting tcp listeners with current tcp listener.",
        outbound,
    ),
    ("pilot_destrule_subsets", "Duplicate subsets across destination rules for same host.", subsets),
    (
        "pilot_duplicate_envoy_clusters",
        "Duplicate envoy clusters caused by service entries with same hostname.",
        duplicates,
    ),
    (BY_ENDPOINTS, "Number of clusters without instances.", without_instances),
    ("pilot_no_ip", "Pods not found in the endpoint table, possibly invalid.", without_address),
    ("pilot_vservice_dup_domain", "Virtual services with dup domains.", same_domains),
];

impl Conflicts {
    /// Counts in a snapshot; where only endpoints have changed, only what they may change.
    pub fn count(&self, mesh: &Mesh, config: bool) {
        let due = KINDS.iter().zip(&self.0).filter(|((name, ..), _)| config || *name == BY_ENDPOINTS);
        for ((_, _, count), place) in due {
            place.store(count(mesh) as u64, Relaxed);
        }
    }

    /// Names, helps and numbers.
    pub fn read(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
        KINDS.iter().zip(&self.0).map(|((name, help, _), count)| (*name, *help, count.load(Relaxed)))
    }
}

/// Ports of workloads that services of different protocols lead to.
fn inbound(mesh: &Mesh) -> usize {
    let mut known = HashMap::new();
    let mut conflicts = HashSet::new();
    for service in mesh.services.all().iter().filter(|service| !service.selector.is_empty()) {
        for port in &service.ports {
            let target = match &port.target {
                TargetPort::Number(number) => number.to_string(),
                TargetPort::Name(name) => name.to_string(),
            };
            let key = (&service.id.namespace, &service.selector, target);
            match known.get(&key) {
                None => drop(known.insert(key, port.protocol)),
                Some(protocol) if *protocol == port.protocol => {}
                Some(_) => drop(conflicts.insert(key)),
            }
        }
    }
    conflicts.len()
}

/// Ports of TCP that several services have, none of which has an address to be told by.
fn outbound(mesh: &Mesh) -> usize {
    let mut known: HashMap<u16, usize> = HashMap::new();
    let nowhere = |service: &Service| {
        service.origin == Origin::ServiceEntry
            && service.addresses.is_empty()
            && service.external_name.is_none()
    };
    for service in mesh.services.all().iter().filter(|service| nowhere(service)) {
        for port in service.ports.iter().filter(|p| !p.protocol.is_http() && !p.protocol.is_tls()) {
            *known.entry(port.number).or_default() += 1;
        }
    }
    known.values().filter(|count| **count > 1).count()
}

/// Hosts and ports that several services of one namespace declare.
fn duplicates(mesh: &Mesh) -> usize {
    let mut known = HashSet::new();
    let services = mesh.services.all().iter();
    let ports = services.flat_map(|service| service.ports.iter().map(move |port| (&service.id, port.number)));
    ports.filter(|port| !known.insert(*port)).count()
}

/// Clusters whose endpoints the control plane tells, and of which there are none.
fn without_instances(mesh: &Mesh) -> usize {
    let served = mesh.services.all().iter().filter(|s| s.resolution == Resolution::Endpoints);
    let of = |service: &std::sync::Arc<Service>| {
        let endpoints = mesh.endpoints(&service.id);
        service.ports.iter().filter(|port| endpoints.of_port(port.number).is_empty()).count()
    };
    served.map(of).sum()
}

/// Pods without an address.
fn without_address(mesh: &Mesh) -> usize {
    mesh.workloads().filter(|workload| workload.addresses.is_empty()).count()
}

/// Hosts that several VirtualServices of one namespace claim for sidecars.
fn same_domains(mesh: &Mesh) -> usize {
    let mut known = HashSet::new();
    let rules = mesh.virtual_services.mesh.iter();
    let hosts = rules.flat_map(|rule| rule.hosts.iter().map(move |host| (&rule.meta.namespace, host)));
    hosts.filter(|host| !known.insert(*host)).count()
}

/// Subsets that several rules of one namespace define for one host.
fn subsets(mesh: &Mesh) -> usize {
    mesh.destination_rules.duplicate_subsets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_has_istiods_name_and_begins_at_zero() {
        let conflicts = Conflicts::default();
        assert!(
            conflicts.read().all(|(name, help, n)| name.starts_with("pilot_") && !help.is_empty() && n == 0)
        );
    }
}
