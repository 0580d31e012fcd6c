//! Where the current configuration stands, and how parts of it are swapped.
//!
//! Listeners, clusters, endpoints, route tables and virtual hosts are swapped each on its own, by one pointer. Places
//! ("slots") are interned by name, so that a route holds its cluster's place and nothing is looked up by name on the
//! request path; a place stays when what it held is replaced, and with it statistics, limits in use, endpoint state
//! and the workers' pools. Writers (bootstrap, xDS) are serialized by a mutex that the path never takes.

use super::cluster::{Cluster, ClusterSlot, Discovery};
use super::drain::{DrainScope, Draining, chains};
use super::endpoint::{EndpointSet, EndpointSlot};
use super::keys::{KeySources, KeySpec, NewKeys, RemoteKeys};
use super::listener::Listener;
use super::route::VirtualHost;
use super::route_table::{RouteSlot, RouteTable};
use crate::tls::TlsStats;
use crate::upstream::stats::ListenerStats;
use arc_swap::ArcSwap;
use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// The configuration in force.
#[derive(Debug)]
pub struct Store {
    workers: usize,
    slots: Mutex<Slots>,
    listeners: ArcSwap<ListenerTable>,
    clusters: ArcSwap<ClusterTable>,
    changed: watch::Sender<u64>,
    dns: watch::Sender<u64>,
    keys: KeySources,
    health: watch::Sender<u64>,
    pub(super) draining: Mutex<Draining>,
    /// Held by whoever changes the table of listeners.
    changing: Mutex<()>,
}

#[derive(Debug, Default)]
struct Slots {
    clusters: HashMap<Arc<str>, Arc<ClusterSlot>>,
    routes: HashMap<Arc<str>, Arc<RouteSlot>>,
    endpoints: HashMap<Arc<str>, Arc<EndpointSlot>>,
}

/// Clusters in force by name, for `cluster_header` routes and administration.
pub type ClusterTable = HashMap<Arc<str>, Arc<ClusterSlot>>;

/// A listener in force and its counters.
#[derive(Clone, Debug)]
pub struct ActiveListener {
    /// The configuration.
    pub config: Arc<Listener>,
    /// Counters; they outlive updates.
    pub stats: Arc<ListenerStats>,
    /// Counters of TLS; they outlive updates as well.
    pub tls_stats: Arc<TlsStats>,
}

/// Listeners in force.
#[derive(Clone, Debug, Default)]
pub struct ListenerTable {
    /// By name.
    pub by_name: BTreeMap<Arc<str>, ActiveListener>,
    /// By each address: where `use_original_dst` hands connections to.
    pub by_address: HashMap<SocketAddr, ActiveListener>,
    /// Listeners whose sockets are closed, also those that come later.
    pub stopped: Option<DrainScope>,
}

impl Store {
    /// An empty configuration for `workers` workers.
    pub fn new(workers: usize) -> Arc<Self> {
        Arc::new(Store {
            workers,
            slots: Mutex::default(),
            listeners: ArcSwap::default(),
            clusters: ArcSwap::default(),
            changed: watch::channel(0).0,
            dns: watch::channel(0).0,
            keys: KeySources::default(),
            health: watch::channel(0).0,
            draining: Mutex::default(),
            changing: Mutex::default(),
        })
    }

    /// How many workers there are (shards of counters).
    pub fn workers(&self) -> usize {
        self.workers
    }

    fn lock(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The place of a cluster; made where there is none.
    pub fn cluster_slot(&self, name: &str) -> Arc<ClusterSlot> {
        let mut slots = self.lock();
        if let Some(slot) = slots.clusters.get(name) {
            return slot.clone();
        }
        let slot = Arc::new(ClusterSlot::empty(name, self.workers));
        slots.clusters.insert(slot.name.clone(), slot.clone());
        slot
    }

    /// The place of a route configuration; made where there is none.
    pub fn route_slot(&self, name: &str) -> Arc<RouteSlot> {
        let mut slots = self.lock();
        if let Some(slot) = slots.routes.get(name) {
            return slot.clone();
        }
        let slot = Arc::new(RouteSlot::empty(name));
        slots.routes.insert(slot.name.clone(), slot.clone());
        slot
    }

    /// The place of an EDS service's endpoints; made where there is none.
    pub fn endpoint_slot(&self, name: &str) -> Arc<EndpointSlot> {
        let mut slots = self.lock();
        if let Some(slot) = slots.endpoints.get(name) {
            return slot.clone();
        }
        let slot = Arc::new(EndpointSlot::empty(name));
        slots.endpoints.insert(slot.name.clone(), slot.clone());
        slot
    }

    /// A source of keys, shared by all who describe it in the same way.
    pub fn remote_keys(&self, spec: KeySpec) -> Arc<RemoteKeys> {
        self.keys.find(spec, |cluster| self.cluster_slot(cluster))
    }

    /// Sources of keys as they come up, for the one who fetches.
    pub(crate) fn new_keys(&self) -> Option<NewKeys> {
        self.keys.queue()
    }

    /// Puts clusters in force. Static clusters that stay keep the state of endpoints that stay.
    pub fn put_clusters(&self, clusters: impl IntoIterator<Item = Cluster>) {
        let mut table = HashMap::clone(&self.clusters.load());
        let (mut dns, mut health) = (false, false);
        for mut cluster in clusters {
            let slot = self.cluster_slot(&cluster.name);
            if let (Discovery::Static, Some(old)) = (&cluster.discovery, slot.load().as_ref()) {
                cluster.endpoints = keep_endpoint_state(&old.endpoints, &cluster.endpoints);
            }
            dns |= matches!(cluster.discovery, Discovery::StrictDns(_) | Discovery::LogicalDns(_));
            let was_checked = slot.load().as_ref().is_some_and(|old| old.health_check.is_some());
            health |= was_checked || cluster.health_check.is_some();
            cluster.endpoints.set_checked(cluster.health_check.is_some());
            table.insert(slot.name.clone(), slot.clone());
            slot.store(Some(Arc::new(cluster)));
        }
        self.clusters.store(Arc::new(table));
        if dns {
            self.dns.send_modify(|generation| *generation += 1);
        }
        if health {
            self.health.send_modify(|generation| *generation += 1);
        }
    }

    /// Takes clusters out of force. Requests of routes that still name them get 503 (NC).
    pub fn remove_clusters<'a>(&self, names: impl IntoIterator<Item = &'a str>) {
        let mut table = HashMap::clone(&self.clusters.load());
        let mut slots = self.lock();
        for name in names {
            if let Some(slot) = table.remove(name) {
                slot.store(None);
            }
            // Only a route that still holds the place keeps it alive; a new cluster of the name finds it then.
            if slots.clusters.get(name).is_some_and(|slot| Arc::strong_count(slot) == 1) {
                slots.clusters.remove(name);
            }
        }
        self.clusters.store(Arc::new(table));
        self.dns.send_modify(|generation| *generation += 1);
        self.health.send_modify(|generation| *generation += 1);
    }

    /// Clusters in force.
    pub fn clusters(&self) -> arc_swap::Guard<Arc<ClusterTable>> {
        self.clusters.load()
    }

    /// Puts an EDS service's endpoints in force; pools and balancer state of those that stay live on.
    pub fn put_endpoints(&self, service: &str, set: EndpointSet) {
        self.endpoint_slot(service).store(set);
    }

    /// Puts a route table in force.
    pub fn put_routes(&self, table: RouteTable) {
        self.route_slot(&table.config.name.clone()).store(Some(Arc::new(table)));
    }

    /// Takes a route table out of force: requests get 404.
    pub fn remove_routes(&self, name: &str) {
        self.route_slot(name).store(None);
    }

    /// Puts virtual hosts into a route table in force, and takes others out.
    ///
    /// # Errors
    /// There is no such table, or two virtual hosts claim one domain; what was there stays.
    pub fn put_virtual_hosts(
        &self,
        routes: &str,
        put: Vec<Arc<VirtualHost>>,
        remove: &[Arc<str>],
    ) -> Result<(), String> {
        let slot = self.route_slot(routes);
        let table = slot.load().ok_or_else(|| format!("route configuration {routes:?} is not known"))?;
        slot.store(Some(Arc::new(table.with_hosts(put, remove)?)));
        Ok(())
    }

    /// Places of route configurations, for administration.
    pub fn route_slots(&self) -> Vec<Arc<RouteSlot>> {
        self.lock().routes.values().cloned().collect()
    }

    /// Puts listeners in force and takes others out. Filter chains with the same hash keep their connections; chains
    /// that go are drained.
    pub fn update_listeners(&self, put: Vec<Listener>, remove: &[Arc<str>]) {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut table = ListenerTable::clone(&self.listeners.load());
        for name in remove {
            if let Some(gone) = table.by_name.remove(name) {
                self.drain_chains(&gone.config, None);
            }
        }
        for mut listener in put {
            let old = table.by_name.get(&listener.name).cloned();
            if let Some(old) = &old {
                if listener.hash != 0 && listener.hash == old.config.hash {
                    continue;
                }
                reuse_chains(&mut listener, &old.config);
                self.drain_chains(&old.config, Some(&listener));
            }
            let (stats, tls_stats) = old.map_or_else(
                || (Arc::new(ListenerStats::new(self.workers)), Arc::new(TlsStats::new(self.workers))),
                |old| (old.stats, old.tls_stats),
            );
            self.prepare_listener(&listener);
            let active = ActiveListener { config: Arc::new(listener), stats, tls_stats };
            table.by_name.insert(active.config.name.clone(), active);
        }
        table.by_address = table
            .by_name
            .values()
            .flat_map(|active| active.config.addresses.iter().map(|address| (*address, active.clone())))
            .collect();
        self.set_listeners(table);
    }

    /// Changes the table of listeners.
    pub(super) fn change_listeners(&self, change: impl FnOnce(&mut ListenerTable)) {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut table = ListenerTable::clone(&self.listeners.load());
        change(&mut table);
        self.set_listeners(table);
    }

    fn set_listeners(&self, table: ListenerTable) {
        self.listeners.store(Arc::new(table));
        self.changed.send_modify(|generation| *generation += 1);
    }

    /// Listeners in force.
    pub fn listeners(&self) -> arc_swap::Guard<Arc<ListenerTable>> {
        self.listeners.load()
    }

    /// Tells of every change of listeners.
    pub fn listener_changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Tells of changes of clusters whose endpoints are checked.
    pub fn health_changes(&self) -> watch::Receiver<u64> {
        self.health.subscribe()
    }

    /// Tells of changes of clusters that are found by DNS.
    pub fn dns_changes(&self) -> watch::Receiver<u64> {
        self.dns.subscribe()
    }
}

fn keep_endpoint_state(old: &Arc<EndpointSlot>, new: &Arc<EndpointSlot>) -> Arc<EndpointSlot> {
    let set = new.load();
    old.store(EndpointSet { endpoints: set.endpoints.clone(), ..**set });
    old.clone()
}

/// Takes over chains whose content is the same, so that their connections live on.
fn reuse_chains(listener: &mut Listener, old: &Listener) {
    for chain in listener.filter_chains.iter_mut().chain(&mut listener.default_chain) {
        if let Some(same) = chains(old).find(|candidate| chain.hash != 0 && candidate.hash == chain.hash) {
            // What the chains beside it serve may have changed.
            same.foreign_names.store(chain.foreign_names.load_full());
            *chain = same.clone();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::listener::{FilterChain, Terminal};
    use super::*;

    fn listener(hash: u64) -> Listener {
        let chain = FilterChain { hash, ..FilterChain::plain(Terminal::Close) };
        Listener::simple("l", "127.0.0.1:0".parse().unwrap(), chain)
    }

    fn chain(store: &Store) -> Arc<FilterChain> {
        store.listeners().by_name["l"].config.filter_chains[0].clone()
    }

    #[test]
    fn a_chain_that_did_not_change_keeps_its_connections() {
        let store = Store::new(1);
        store.update_listeners(vec![listener(1)], &[]);
        let first = chain(&store);
        store.update_listeners(vec![listener(1)], &[]);
        assert!(Arc::ptr_eq(&first, &chain(&store)));
        store.update_listeners(vec![listener(2)], &[]);
        assert!(first.drain.is_set());
        assert!(!chain(&store).drain.is_set());
    }

    #[test]
    fn a_removed_listener_drains() {
        let store = Store::new(1);
        store.update_listeners(vec![listener(1)], &[]);
        let first = chain(&store);
        store.update_listeners(Vec::new(), &["l".into()]);
        assert!(first.drain.is_set());
        assert!(store.listeners().by_name.is_empty());
    }

    #[test]
    fn a_cluster_update_keeps_its_place_and_endpoint_state() {
        let store = Store::new(1);
        let address = "127.0.0.1:1".parse().unwrap();
        store.put_clusters([Cluster::fixed("c", [address])]);
        let slot = store.cluster_slot("c");
        let state = slot.load().as_ref().unwrap().endpoints.load().endpoints[0].state.clone();
        store.put_clusters([Cluster::fixed("c", [address])]);
        let now = slot.load().as_ref().unwrap().endpoints.load().endpoints[0].state.clone();
        assert!(Arc::ptr_eq(&state, &now));
        store.remove_clusters(["c"]);
        assert!(slot.load().is_none());
    }
}
