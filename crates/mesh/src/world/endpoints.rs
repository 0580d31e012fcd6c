//! Endpoints of services, worked out from slices, pods and ServiceEntries; only where something changed.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::World;
use crate::endpoint::{Endpoint, Endpoints};
use crate::service::{Origin, TargetPort};
use crate::source::slice::Ready;
use crate::{
    Change, ConfigKey, Kind, Locality, Mesh, Mtls, Policies, Port, Service, ServiceId, Workload, labels,
};

impl World {
    pub(super) fn put_pod(&mut self, pod: Workload) -> Change {
        let key = (pod.meta.namespace.clone(), pod.meta.name.clone());
        let old = self.pods.get(&key);
        if old.is_some_and(|old| **old == pod) {
            return Change::None;
        }
        let old = old.cloned();
        let pod = Arc::new(pod);
        self.pods.insert(key.clone(), pod.clone());
        self.touch_workload(Some(&pod), old.as_deref());
        self.pending.keys.insert(ConfigKey::new(Kind::Pod, key.0.clone(), key.1.clone()));
        self.pending.workloads.insert(key);
        Change::Endpoints
    }

    pub(super) fn remove_pod(&mut self, key: &ConfigKey) -> Change {
        let name = (key.namespace.clone(), key.name.clone());
        let Some(old) = self.pods.remove(&name) else { return Change::None };
        self.touch_workload(None, Some(&old));
        self.pending.keys.insert(key.clone());
        self.pending.workloads.insert(name);
        Change::Endpoints
    }

    pub(super) fn put_entry(&mut self, entry: Workload) -> Change {
        let key = ConfigKey::new(Kind::WorkloadEntry, &*entry.meta.namespace, &*entry.meta.name);
        let old = self.entries.get(&key).cloned();
        if old.as_deref() == Some(&entry) {
            return Change::None;
        }
        let entry = Arc::new(entry);
        self.entries.insert(key.clone(), entry.clone());
        self.touch_workload(Some(&entry), old.as_deref());
        self.pending.keys.insert(key);
        Change::Endpoints
    }

    pub(super) fn remove_entry(&mut self, key: &ConfigKey) -> Change {
        let Some(old) = self.entries.remove(key) else { return Change::None };
        self.touch_workload(None, Some(&old));
        self.pending.keys.insert(key.clone());
        Change::Endpoints
    }

    pub(super) fn put_node(&mut self, name: Arc<str>, locality: Option<Locality>) -> Change {
        let locality = locality.filter(|l| !l.is_empty());
        if self.nodes.get(&name).map(|l| &**l) == locality.as_ref() {
            return Change::None;
        }
        match locality {
            Some(locality) => drop(self.nodes.insert(name.clone(), Arc::new(locality))),
            None => drop(self.nodes.remove(&name)),
        }
        self.all_endpoints_stale = true;
        self.pending.keys.insert(ConfigKey::new(Kind::Node, "", name));
        Change::Endpoints
    }

    /// Marks the endpoints of the Kubernetes service of a name as stale.
    pub(super) fn mark_endpoints(&mut self, namespace: &Arc<str>, name: &Arc<str>) {
        let key = ConfigKey::new(Kind::Service, namespace.clone(), name.clone());
        if let Some(services) = self.services.get(&key) {
            self.stale_endpoints.extend(services.iter().map(|s| s.id.clone()));
        }
    }

    /// Marks the services that a workload, as it is and as it was, may be an endpoint of.
    fn touch_workload(&mut self, new: Option<&Workload>, old: Option<&Workload>) {
        let Some(any) = new.or(old) else { return };
        let namespace = any.meta.namespace.clone();
        let of_namespace = self.services.iter().filter(|(key, _)| key.namespace == namespace);
        let touched = of_namespace.flat_map(|(_, services)| services).filter(|service| {
            let selected = |w: &Workload| labels::selects(&service.selector, &w.labels);
            !service.selector.is_empty() && (new.is_some_and(selected) || old.is_some_and(selected))
        });
        let touched: Vec<ServiceId> = touched.map(|s| s.id.clone()).collect();
        self.stale_endpoints.extend(touched);
        // Services without selector name their pods in slices that someone else writes.
        let slices = self.slices.values().filter(|s| s.meta.namespace == namespace);
        let named = slices.filter(|s| s.ready.iter().any(|r| r.pod.as_deref() == Some(&*any.meta.name)));
        let named: BTreeSet<_> = named.map(|s| (s.meta.namespace.clone(), s.service.clone())).collect();
        for (namespace, name) in named {
            self.mark_endpoints(&namespace, &name);
        }
    }

    /// Works out the endpoints that are stale; those that come out the same are left as they were.
    pub(super) fn rebuild_endpoints(&mut self, mesh: &mut Mesh) {
        let mut stale = std::mem::take(&mut self.stale_endpoints);
        if std::mem::take(&mut self.all_endpoints_stale) {
            stale.extend(self.services.values().flatten().map(|s| s.id.clone()));
        }
        if stale.is_empty() {
            return;
        }
        let mut by_id: HashMap<&ServiceId, &Arc<Service>> = HashMap::with_capacity(stale.len());
        for id in &stale {
            let found = self.declared(id);
            by_id.extend(found.map(|service| (id, service)));
        }
        let mut changed: Vec<(ServiceId, Option<Arc<Endpoints>>)> = Vec::new();
        for id in &stale {
            let mut new = by_id.get(id).map(|service| self.endpoints_of(service, &mesh.policies));
            if let (Some(new), Some(old)) = (&mut new, mesh.endpoints.get(id))
                && (new.accounts.is_empty() || new.accounts == old.accounts)
            {
                new.accounts = old.accounts.clone();
            }
            if mesh.endpoints.get(id).map(|old| &**old) != new.as_ref() {
                changed.push((id.clone(), new.map(Arc::new)));
            }
        }
        if changed.is_empty() {
            return;
        }
        let all = Arc::make_mut(&mut mesh.endpoints);
        for (id, new) in changed {
            match new {
                Some(new) => drop(all.insert(id.clone(), new)),
                None => drop(all.remove(&id)),
            }
            self.pending.endpoints.insert(id);
        }
    }

    /// The service of an id: Kubernetes' own by its key, others by looking through the ServiceEntries.
    fn declared(&self, id: &ServiceId) -> Option<&Arc<Service>> {
        let name = id.host.split('.').next().unwrap_or_default();
        let key = ConfigKey::new(Kind::Service, id.namespace.clone(), name);
        let direct = self.services.get(&key).and_then(|list| list.iter().find(|s| s.id == *id));
        direct.or_else(|| {
            let entries = self
                .services
                .iter()
                .filter(|(key, _)| key.kind == Kind::ServiceEntry && key.namespace == id.namespace);
            let same = entries.flat_map(|(_, list)| list).filter(|s| s.id == *id);
            same.min_by(|a, b| a.meta.by_age(&b.meta))
        })
    }

    fn endpoints_of(&self, service: &Service, policies: &Policies) -> Endpoints {
        let of_port = |port: &Port| {
            let mut endpoints = match service.origin {
                Origin::Kubernetes => self.in_slices(service, port),
                Origin::ServiceEntry if !service.selector.is_empty() => self.selected(service, port),
                Origin::ServiceEntry => service.listed.iter().map(|listed| listed.at(port)).collect(),
            };
            for endpoint in &mut endpoints {
                endpoint.mtls &= takes_mtls(endpoint, policies, (service, port));
            }
            endpoints
        };
        let by_port: Vec<_> = service.ports.iter().map(|p| (p.number, of_port(p))).collect();
        let workloads =
            by_port.iter().flat_map(|(_, endpoints)| endpoints).filter_map(|e| e.workload.as_ref());
        let accounts: BTreeSet<(&Arc<str>, &Arc<str>)> =
            workloads.map(|w| (&w.meta.namespace, &w.service_account)).collect();
        let accounts =
            accounts.into_iter().map(|(namespace, name)| format!("ns/{namespace}/sa/{name}").into());
        let accounts = accounts.collect();
        Endpoints { by_port, accounts }
    }

    fn in_slices(&self, service: &Service, port: &Port) -> Vec<Endpoint> {
        let key = (service.meta.namespace.clone(), service.meta.name.clone());
        let slices = self.slices_of.get(&key).into_iter().flatten().filter_map(|key| self.slices.get(key));
        let mut found: Vec<Endpoint> = Vec::new();
        for slice in slices {
            let Some((_, number)) = slice.ports.iter().find(|(name, _)| *name == port.name) else { continue };
            for Ready { address, pod, hostname } in &slice.ready {
                let pod =
                    pod.as_ref().and_then(|p| self.pods.get(&(slice.meta.namespace.clone(), p.clone())));
                let endpoint = self.endpoint(address.clone(), *number, pod);
                found.push(Endpoint { hostname: hostname.clone(), ..endpoint });
            }
        }
        sorted(found)
    }

    fn selected(&self, service: &Service, port: &Port) -> Vec<Endpoint> {
        let workloads = self.pods.values().chain(self.entries.values());
        let selected = workloads.filter(|w| {
            w.meta.namespace == service.id.namespace
                && w.alive
                && w.ready
                && labels::selects(&service.selector, &w.labels)
        });
        let one = |w: &Arc<Workload>| {
            let number = w.named_port(&port.name).unwrap_or(match &port.target {
                TargetPort::Number(number) => *number,
                TargetPort::Name(_) => port.number,
            });
            Some(self.endpoint(w.addresses.first()?.clone(), number, Some(w)))
        };
        sorted(selected.filter_map(one).collect())
    }

    fn endpoint(&self, address: Arc<str>, port: u16, workload: Option<&Arc<Workload>>) -> Endpoint {
        let own = workload.and_then(|w| w.locality.as_deref()).map(|text| Arc::new(Locality::parse(text)));
        let locality = own.or_else(|| self.nodes.get(&workload?.node).cloned()).unwrap_or_default();
        Endpoint {
            address,
            hostname: None,
            port,
            labels: workload.map(|w| w.labels.clone()).unwrap_or_default(),
            locality,
            weight: workload.map_or(1, |w| w.weight),
            mtls: workload.is_some_and(|w| w.takes_mtls()),
            workload: workload.cloned(),
        }
    }
}

/// Whether policies let an endpoint take the mesh's mutual TLS.
fn takes_mtls(endpoint: &Endpoint, policies: &Policies, (service, port): (&Service, &Port)) -> bool {
    let namespace = endpoint.workload.as_ref().map_or(&service.id.namespace, |w| &w.meta.namespace);
    policies.peer(namespace, &endpoint.labels, endpoint.port, &[(service, port)]).mode != Mtls::Disable
}

/// A fixed order, so that the same endpoints are the same resource whatever order they came in.
fn sorted(mut endpoints: Vec<Endpoint>) -> Vec<Endpoint> {
    endpoints.sort_by(|a, b| a.address.cmp(&b.address).then(a.port.cmp(&b.port)));
    endpoints.dedup_by(|a, b| a.address == b.address && a.port == b.port);
    endpoints
}
