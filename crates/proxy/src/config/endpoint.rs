//! Endpoints and their state, which outlives updates of the set.

use super::health_check::EndpointCheck;
use super::subset::SubsetLabel;
use crate::request_info::PeerMetadata;
use arc_swap::ArcSwap;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// One address of a cluster.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Where to connect.
    pub address: SocketAddr,
    /// Where else the same endpoint is, by the other IP version most likely; tried when `address` is slow or refuses.
    pub alternatives: Box<[SocketAddr]>,
    /// The unix socket to connect to instead; `address` then only tells it apart from others.
    pub pipe: Option<Arc<std::path::Path>>,
    /// Host name, for `auto_host_rewrite` and logs.
    pub hostname: Option<Arc<str>>,
    /// Load-balancing weight; 1 by default.
    pub weight: u32,
    /// Locality priority; 0 is the highest.
    pub priority: u32,
    /// Locality as `region/zone/subzone`.
    pub locality: Option<Arc<str>>,
    /// Weight of the locality; 0: no locality weights.
    pub locality_weight: u32,
    /// Health as discovery tells it.
    pub health: Health,
    /// Metadata that chooses a transport socket (`envoy.transport_socket_match`), sorted by key.
    pub transport_match: Vec<(Box<str>, Box<str>)>,
    /// Labels that make subsets (`envoy.lb`), sorted by key.
    pub labels: Box<[SubsetLabel]>,
    /// The workload there, by Istio's metadata of the endpoint; for metrics.
    pub peer: Option<Arc<PeerMetadata>>,
    /// What it says about its own health checks.
    pub check: Option<Box<EndpointCheck>>,
    /// State that outlives updates.
    pub state: Arc<EndpointState>,
}

impl Endpoint {
    /// A healthy endpoint of weight 1.
    pub fn new(address: SocketAddr) -> Self {
        Endpoint {
            address,
            alternatives: Box::default(),
            pipe: None,
            hostname: None,
            weight: 1,
            priority: 0,
            locality: None,
            locality_weight: 0,
            health: Health::Healthy,
            transport_match: Vec::new(),
            labels: Box::default(),
            peer: None,
            check: None,
            state: Arc::default(),
        }
    }

    fn await_check(&self, awaited: bool) {
        let checked = !self.check.as_ref().is_some_and(|check| check.disabled);
        self.state.await_check(awaited && checked);
    }

    /// Whether the configuration says the same of both, whatever their state.
    pub fn is_configured_as(&self, other: &Endpoint) -> bool {
        let Endpoint {
            address,
            alternatives,
            pipe,
            hostname,
            weight,
            priority,
            locality,
            locality_weight,
            health,
            transport_match,
            labels,
            peer,
            check,
            state: _,
        } = self;
        (address, alternatives) == (&other.address, &other.alternatives)
            && (pipe, hostname) == (&other.pipe, &other.hostname)
            && (weight, priority) == (&other.weight, &other.priority)
            && (locality, locality_weight) == (&other.locality, &other.locality_weight)
            && (health, transport_match) == (&other.health, &other.transport_match)
            && (labels, peer, check) == (&other.labels, &other.peer, &other.check)
    }

    /// Whether traffic may go there.
    pub fn usable(&self) -> bool {
        self.health != Health::Unhealthy
            && !self.state.ejected.load(Ordering::Relaxed)
            && !self.state.failed_check.load(Ordering::Relaxed)
    }
}

/// Health of an endpoint as discovery tells it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Health {
    /// Healthy or unknown.
    #[default]
    Healthy,
    /// Only when there are not enough healthy ones.
    Degraded,
    /// Not at all (unhealthy, timeout, draining).
    Unhealthy,
}

/// State of an endpoint over all workers.
#[derive(Debug, Default)]
pub struct EndpointState {
    /// Requests under way.
    pub active: AtomicU32,
    /// Outlier detection has put it out.
    pub ejected: AtomicBool,
    /// Its active health check fails, or was not made yet.
    pub failed_check: AtomicBool,
    /// Its active health check was not made yet.
    pub pending_check: AtomicBool,
    /// 5xx answers or failures in a row.
    pub consecutive_5xx: AtomicU32,
    /// Gateway errors in a row.
    pub consecutive_gateway: AtomicU32,
    /// How often it has been ejected.
    pub ejections: AtomicU32,
    /// Requests so far.
    pub requests: AtomicU64,
    /// Requests that failed (5xx or none).
    pub errors: AtomicU64,
    /// Requests that succeeded.
    pub successes: AtomicU64,
    /// Open connections.
    pub connections: AtomicU32,
    /// Connections that could not be made.
    pub connect_failures: AtomicU64,
    /// Connections so far.
    pub connections_total: AtomicU64,
}

/// The endpoints of a cluster at one time.
#[derive(Debug)]
pub struct EndpointSet {
    /// All of them.
    pub endpoints: Vec<Arc<Endpoint>>,
    /// Share of healthy endpoints by which a priority counts as whole, in percent; 140 by default.
    pub overprovisioning: u32,
    /// The health of a priority goes by the weights of its endpoints, not by their number.
    pub weighted_health: bool,
}

impl Default for EndpointSet {
    fn default() -> Self {
        EndpointSet { endpoints: Vec::new(), overprovisioning: 140, weighted_health: false }
    }
}

impl EndpointSet {
    /// Healthy endpoints of weight 1.
    pub fn of(addresses: impl IntoIterator<Item = SocketAddr>) -> Self {
        let endpoints = addresses.into_iter().map(|address| Arc::new(Endpoint::new(address))).collect();
        EndpointSet { endpoints, ..EndpointSet::default() }
    }
}

/// The place where the current endpoints of a cluster stand.
#[derive(Debug)]
pub struct EndpointSlot {
    /// EDS service name, or the cluster's name.
    pub name: Arc<str>,
    current: ArcSwap<EndpointSet>,
    known: AtomicBool,
    /// Endpoints are checked before they are used.
    checked: AtomicBool,
}

impl EndpointState {
    /// Not to be used before a check tells that it may.
    fn await_check(&self, awaited: bool) {
        self.failed_check.store(awaited, Ordering::Relaxed);
        self.pending_check.store(awaited, Ordering::Relaxed);
    }
}

impl EndpointSlot {
    /// A place without endpoints.
    pub fn empty(name: impl Into<Arc<str>>) -> Self {
        EndpointSlot {
            name: name.into(),
            current: ArcSwap::default(),
            known: false.into(),
            checked: false.into(),
        }
    }

    /// A place with endpoints.
    pub fn holding(name: impl Into<Arc<str>>, set: EndpointSet) -> Self {
        let slot = EndpointSlot::empty(name);
        slot.store(set);
        slot
    }

    /// The current endpoints.
    pub fn load(&self) -> arc_swap::Guard<Arc<EndpointSet>> {
        self.current.load()
    }

    /// Whether endpoints (perhaps none) have ever been set: the cluster is warm.
    pub fn is_known(&self) -> bool {
        self.known.load(Ordering::Acquire)
    }

    /// Says whether endpoints are checked before they are used; those that are here are told.
    pub fn set_checked(&self, checked: bool) {
        if self.checked.swap(checked, Ordering::Relaxed) != checked {
            self.load().endpoints.iter().for_each(|endpoint| endpoint.await_check(checked));
        }
    }

    /// Swaps the endpoints. Those whose address stays keep their state.
    pub fn store(&self, mut set: EndpointSet) {
        let old = self.current.load();
        let states: HashMap<SocketAddr, &Arc<EndpointState>> =
            old.endpoints.iter().map(|endpoint| (endpoint.address, &endpoint.state)).collect();
        for endpoint in &mut set.endpoints {
            if let Some(state) = states.get(&endpoint.address) {
                Arc::make_mut(endpoint).state = Arc::clone(state);
            } else if self.checked.load(Ordering::Relaxed) {
                endpoint.await_check(true);
            }
        }
        drop(states);
        self.current.store(Arc::new(set));
        self.known.store(true, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_update_keeps_the_state_of_addresses_that_stay() {
        let (a, b) = ("10.0.0.1:80".parse().unwrap(), "10.0.0.2:80".parse().unwrap());
        let slot = EndpointSlot::holding("x", EndpointSet::of([a]));
        slot.load().endpoints[0].state.requests.store(7, Ordering::Relaxed);
        slot.store(EndpointSet::of([b, a]));
        let counts: Vec<_> =
            slot.load().endpoints.iter().map(|e| e.state.requests.load(Ordering::Relaxed)).collect();
        assert_eq!(counts, [0, 7]);
    }
}
