//! What the node knows of services, their endpoints, ConfigMaps and Secrets.

use std::collections::{BTreeMap, HashMap};
use std::net::Ipv4Addr;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::ResourceExt;
use tokio::sync::watch;

use super::Sink;

const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// Namespace and name.
pub(crate) type Key = (String, String);

/// One address of a service's port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Backend {
    /// Address.
    pub ip: Ipv4Addr,
    /// Port.
    pub port: u16,
    /// Name of the pod in DNS, for headless services.
    pub hostname: Option<String>,
    /// Whether it takes connections.
    pub ready: bool,
}

#[derive(Default)]
struct Inner {
    services: HashMap<Key, Arc<Service>>,
    slices: HashMap<Key, BTreeMap<String, Arc<EndpointSlice>>>,
    config_maps: HashMap<Key, Arc<ConfigMap>>,
    secrets: HashMap<Key, Arc<Secret>>,
}

/// A view of the cluster, kept by watches and read by DNS, virtual addresses and pods.
pub(crate) struct Catalog {
    inner: RwLock<Inner>,
    network: watch::Sender<u64>,
    config: watch::Sender<u64>,
}

impl Catalog {
    /// Empty.
    pub fn new() -> Arc<Self> {
        let (network, config) = (watch::Sender::new(0), watch::Sender::new(0));
        Arc::new(Self { inner: RwLock::default(), network, config })
    }

    /// Tells of changes of services and endpoints.
    pub fn network_changes(&self) -> watch::Receiver<u64> {
        self.network.subscribe()
    }

    /// Tells of changes of ConfigMaps and Secrets.
    pub fn config_changes(&self) -> watch::Receiver<u64> {
        self.config.subscribe()
    }

    /// Waits until services, endpoints, ConfigMaps and Secrets have been listed once.
    pub async fn synced(&self) {
        // Each kind's first list counts one; the senders live as long as this.
        let both =
            |mut changes: watch::Receiver<u64>| async move { drop(changes.wait_for(|n| *n >= 2).await) };
        both(self.network_changes()).await;
        both(self.config_changes()).await;
    }

    fn read(&self) -> RwLockReadGuard<'_, Inner> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Inner> {
        self.inner.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// A service.
    pub fn service(&self, namespace: &str, name: &str) -> Option<Arc<Service>> {
        self.read().services.get(&(namespace.to_owned(), name.to_owned())).cloned()
    }

    /// All services, in a stable order.
    pub fn services(&self) -> Vec<Arc<Service>> {
        let mut all: Vec<_> = self.read().services.values().cloned().collect();
        all.sort_by_cached_key(|s| (s.namespace(), s.name_any()));
        all
    }

    /// A ConfigMap.
    pub fn config_map(&self, namespace: &str, name: &str) -> Option<Arc<ConfigMap>> {
        self.read().config_maps.get(&(namespace.to_owned(), name.to_owned())).cloned()
    }

    /// A Secret.
    pub fn secret(&self, namespace: &str, name: &str) -> Option<Arc<Secret>> {
        self.read().secrets.get(&(namespace.to_owned(), name.to_owned())).cloned()
    }

    /// The addresses of a service's port; with `None`, of every pod behind the service (port 0).
    pub fn backends(&self, namespace: &str, service: &str, port: Option<&str>) -> Vec<Backend> {
        let inner = self.read();
        let mut found = Vec::new();
        for slice in
            inner.slices.get(&(namespace.to_owned(), service.to_owned())).into_iter().flat_map(|s| s.values())
        {
            let number = match port {
                None => Some(0),
                Some(name) => slice
                    .ports
                    .iter()
                    .flatten()
                    .find(|p| p.name.as_deref().unwrap_or_default() == name)
                    .and_then(|p| u16::try_from(p.port?).ok()),
            };
            let Some(port) = number else { continue };
            for endpoint in &slice.endpoints {
                let ready = endpoint.conditions.as_ref().and_then(|c| c.ready).unwrap_or(true);
                let addresses = endpoint.addresses.iter().filter_map(|a| a.parse().ok());
                found.extend(addresses.map(|ip| Backend {
                    ip,
                    port,
                    hostname: endpoint.hostname.clone(),
                    ready,
                }));
            }
        }
        found.sort();
        found.dedup_by(|a, b| (a.ip, a.port) == (b.ip, b.port));
        found
    }

    /// Takes services.
    pub fn service_sink(self: &Arc<Self>) -> impl Sink<Service> + use<> {
        let changed = |c: &Catalog| c.network.send_modify(|n| *n += 1);
        Maps { catalog: self.clone(), map: |inner| &mut inner.services, changed }
    }

    /// Takes ConfigMaps.
    pub fn config_map_sink(self: &Arc<Self>) -> impl Sink<ConfigMap> + use<> {
        let changed = |c: &Catalog| c.config.send_modify(|n| *n += 1);
        Maps { catalog: self.clone(), map: |inner| &mut inner.config_maps, changed }
    }

    /// Takes Secrets.
    pub fn secret_sink(self: &Arc<Self>) -> impl Sink<Secret> + use<> {
        let changed = |c: &Catalog| c.config.send_modify(|n| *n += 1);
        Maps { catalog: self.clone(), map: |inner| &mut inner.secrets, changed }
    }

    /// Takes EndpointSlices.
    pub fn slice_sink(self: &Arc<Self>) -> impl Sink<EndpointSlice> + use<> {
        Slices(self.clone())
    }
}

struct Maps<K> {
    catalog: Arc<Catalog>,
    map: fn(&mut Inner) -> &mut HashMap<Key, Arc<K>>,
    changed: fn(&Catalog),
}

fn key<K: ResourceExt>(object: &K) -> Key {
    (object.namespace().unwrap_or_default(), object.name_any())
}

impl<K: ResourceExt + Send + Sync + 'static> Sink<K> for Maps<K> {
    fn replace(&mut self, all: Vec<K>) {
        *(self.map)(&mut self.catalog.write()) = all.into_iter().map(|o| (key(&o), Arc::new(o))).collect();
        (self.changed)(&self.catalog);
    }

    fn upsert(&mut self, object: K) {
        (self.map)(&mut self.catalog.write()).insert(key(&object), Arc::new(object));
        (self.changed)(&self.catalog);
    }

    fn remove(&mut self, object: K) {
        (self.map)(&mut self.catalog.write()).remove(&key(&object));
        (self.changed)(&self.catalog);
    }
}

struct Slices(Arc<Catalog>);

impl Slices {
    fn owner(slice: &EndpointSlice) -> Option<Key> {
        let service = slice.labels().get(SERVICE_NAME)?.clone();
        Some((slice.namespace().unwrap_or_default(), service))
    }

    fn insert(inner: &mut Inner, slice: EndpointSlice) {
        if let Some(owner) = Self::owner(&slice) {
            inner.slices.entry(owner).or_default().insert(slice.name_any(), Arc::new(slice));
        }
    }

    fn changed(&self) {
        self.0.network.send_modify(|n| *n += 1);
    }
}

impl Sink<EndpointSlice> for Slices {
    fn replace(&mut self, all: Vec<EndpointSlice>) {
        let mut inner = self.0.write();
        inner.slices.clear();
        all.into_iter().for_each(|slice| Self::insert(&mut inner, slice));
        drop(inner);
        self.changed();
    }

    fn upsert(&mut self, slice: EndpointSlice) {
        Self::insert(&mut self.0.write(), slice);
        self.changed();
    }

    fn remove(&mut self, slice: EndpointSlice) {
        if let Some(owner) = Self::owner(&slice)
            && let Some(slices) = self.0.write().slices.get_mut(&owner)
        {
            slices.remove(&slice.name_any());
        }
        self.changed();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slice(name: &str, address: &str, ready: bool) -> EndpointSlice {
        serde_json::from_value(serde_json::json!({
            "metadata": {"name": name, "namespace": "n", "labels": {SERVICE_NAME: "s"}},
            "addressType": "IPv4",
            "ports": [{"name": "http", "port": 9080}],
            "endpoints": [{"addresses": [address], "conditions": {"ready": ready}}]
        }))
        .unwrap()
    }

    #[test]
    fn backends_come_from_all_slices_of_a_service() {
        let catalog = Catalog::new();
        let mut sink = catalog.slice_sink();
        sink.replace(vec![slice("a", "10.244.0.2", true), slice("b", "10.244.0.3", false)]);
        let found = catalog.backends("n", "s", Some("http"));
        assert_eq!(
            found.iter().map(|b| (b.port, b.ready)).collect::<Vec<_>>(),
            [(9080, true), (9080, false)]
        );
        assert!(catalog.backends("n", "s", Some("other")).is_empty());
        sink.remove(slice("a", "10.244.0.2", true));
        assert_eq!(catalog.backends("n", "s", None).len(), 1);
    }
}
