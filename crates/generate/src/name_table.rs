//! NDS: the names that a proxy's application may call, for the resolver of its agent.
//!
//! Source: Istio, "DNS Proxying". What has no address of its own (ExternalName, entries without addresses) is not in the
//! table: the pod's name servers know it, or nobody does.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use lateen_mesh::{Endpoints, Mesh, Origin, Scope, Service};
use lateen_xds::istio::{NameInfo, NameTable};
use lateen_xds::{Encoded, TypeUrl};

use crate::build::sorted;
use crate::cache::{Cache, Same, UnitKey};
use crate::proxy::Naming;
use crate::resources::ResourceList;
use crate::view::View;

/// The table of the proxies of a scope, each service's names encoded once for all scopes.
///
/// Lateen's agents get a resource for each host, so that a change costs what it touches; other agents the one resource that
/// Istio has.
pub(crate) fn list(view: &View<'_>, cache: &mut Cache) -> ResourceList {
    let mut names: Vec<Arc<Encoded>> = Vec::new();
    for service in view.scope.services.values().filter(|s| s.external_name.is_none()) {
        let endpoints = service.headless.then(|| view.mesh.endpoints(&service.id));
        let key = UnitKey::Names {
            service: Same(service.clone()),
            endpoints: endpoints.map(|endpoints| Same(endpoints.clone())),
        };
        names.extend_from_slice(cache.unit(key, || of_service(service, endpoints.map(|e| &**e))));
    }
    if view.key.names_by_host {
        let last = Encoded::new(TypeUrl::NameTable, NameTable::LAST, &NameTable::default());
        names.push(Arc::new(last));
        return sorted(names);
    }
    // A map's entries stand one behind the other on the wire: the tables' joined bodies are the joined table.
    let body: Vec<u8> = sorted(names).iter().flat_map(|one| one.body.iter().copied()).collect();
    Arc::new([Arc::new(Encoded::from_body(TypeUrl::NameTable, NameTable::WHOLE, body.into()))])
}

/// The snapshot as proxies see it for whose applications names are resolved in this way.
pub(crate) fn snapshot(naming: Naming, mesh: &Arc<Mesh>) -> Arc<Mesh> {
    match naming {
        Naming::Addressed => mesh.with_chosen_addresses().map_or_else(|| mesh.clone(), Arc::new),
        Naming::Captured | Naming::Elsewhere => mesh.clone(),
    }
}

/// Whether nothing has changed that the table is made from.
pub(crate) fn is_same(old: &Mesh, new: &Mesh, old_scope: &Scope, new_scope: &Scope) -> bool {
    Arc::ptr_eq(&old_scope.services, &new_scope.services) && old.same_endpoints(new)
}

/// The names of a service, a table each.
fn of_service(service: &Service, endpoints: Option<&Endpoints>) -> Vec<Encoded> {
    let mut found = Vec::new();
    match endpoints {
        Some(endpoints) => headless(service, endpoints, &mut found),
        None => {
            let single = service.addresses.iter().filter(|address| address.is_single());
            put(&mut found, service, None, single.map(|address| address.ip).collect());
        }
    }
    found
}

/// A headless service stands for its ready pods, and those with a name of their own (StatefulSets) have it before the
/// service's.
fn headless(service: &Service, endpoints: &Endpoints, found: &mut Vec<Encoded>) {
    let Some(port) = service.ports.first() else { return };
    let mut pods: BTreeMap<&str, BTreeSet<IpAddr>> = BTreeMap::new();
    let mut all = BTreeSet::new();
    for endpoint in endpoints.of_port(port.number) {
        let Ok(ip) = endpoint.address.parse::<IpAddr>() else { continue };
        all.insert(ip);
        if let Some(hostname) = &endpoint.hostname {
            pods.entry(hostname).or_default().insert(ip);
        }
    }
    put(found, service, None, all);
    for (pod, ips) in pods {
        put(found, service, Some(pod), ips);
    }
}

/// Adds the name of a service, or of one of its pods, if it has addresses.
fn put(found: &mut Vec<Encoded>, service: &Service, pod: Option<&str>, ips: BTreeSet<IpAddr>) {
    if ips.is_empty() {
        return;
    }
    let with_pod = |name: &str| pod.map_or_else(|| name.to_owned(), |pod| format!("{pod}.{name}"));
    let ips = ips.iter().map(IpAddr::to_string).collect();
    let info = match service.origin {
        Origin::Kubernetes => NameInfo {
            ips,
            registry: NameTable::KUBERNETES.to_owned(),
            shortname: with_pod(&service.meta.name),
            namespace: service.id.namespace.to_string(),
        },
        Origin::ServiceEntry => {
            NameInfo { ips, registry: NameTable::EXTERNAL.to_owned(), ..NameInfo::default() }
        }
    };
    let host = with_pod(&service.id.host);
    let table = NameTable { table: BTreeMap::from([(host.clone(), info)]) };
    found.push(Encoded::new(TypeUrl::NameTable, host, &table));
}
