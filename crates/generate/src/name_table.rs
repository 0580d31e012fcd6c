//! NDS: the names that a proxy's application may call, for the resolver of its agent.
//!
//! Source: Istio, "DNS Proxying". What has no address of its own (ExternalName, entries without addresses) is not in the
//! table: the pod's name servers know it, or nobody does.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use lateen_mesh::{Mesh, Origin, Scope, Service};
use lateen_xds::istio::{NameInfo, NameTable};
use lateen_xds::{Encoded, TypeUrl};

use crate::proxy::Naming;
use crate::resources::ResourceList;
use crate::view::View;

/// The one resource's name: agents ask for it without a name.
const NAME: &str = "names";

/// The table of the proxies of a scope.
pub(crate) fn list(view: &View<'_>) -> ResourceList {
    let mut table = BTreeMap::new();
    for service in view.scope.services.values().filter(|s| s.external_name.is_none()) {
        if service.headless {
            headless(view, service, &mut table);
        } else {
            let single = service.addresses.iter().filter(|address| address.is_single());
            put(&mut table, &service.id.host, single.map(|address| address.ip).collect(), service, None);
        }
    }
    Arc::new([Arc::new(Encoded::new(TypeUrl::NameTable, NAME, &NameTable { table }))])
}

/// The snapshot as proxies see it for whose applications names are resolved in this way.
pub(crate) fn snapshot(naming: Naming, mesh: &Arc<Mesh>) -> Arc<Mesh> {
    match naming {
        Naming::Addressed if !Arc::ptr_eq(&mesh.services, &mesh.addressed_services) => {
            Arc::new(mesh.with_chosen_addresses())
        }
        Naming::Addressed | Naming::Captured | Naming::Elsewhere => mesh.clone(),
    }
}

/// Whether nothing has changed that the table is made from.
pub(crate) fn is_same(old: &Mesh, new: &Mesh, old_scope: &Scope, new_scope: &Scope) -> bool {
    Arc::ptr_eq(&old_scope.services, &new_scope.services) && old.same_endpoints(new)
}

/// A headless service stands for its ready pods, and those with a name of their own (StatefulSets) have it before the
/// service's.
fn headless(view: &View<'_>, service: &Service, table: &mut BTreeMap<String, NameInfo>) {
    let endpoints = view.mesh.endpoints(&service.id);
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
    put(table, &service.id.host, all, service, None);
    for (pod, ips) in pods {
        put(table, &format!("{pod}.{}", service.id.host), ips, service, Some(pod));
    }
}

fn put(
    table: &mut BTreeMap<String, NameInfo>,
    host: &str,
    ips: BTreeSet<IpAddr>,
    service: &Service,
    pod: Option<&str>,
) {
    if ips.is_empty() {
        return;
    }
    let ips = ips.iter().map(IpAddr::to_string).collect();
    let info = match service.origin {
        Origin::Kubernetes => NameInfo {
            ips,
            registry: NameTable::KUBERNETES.to_owned(),
            shortname: match pod {
                Some(pod) => format!("{pod}.{}", service.meta.name),
                None => service.meta.name.to_string(),
            },
            namespace: service.id.namespace.to_string(),
        },
        Origin::ServiceEntry => {
            NameInfo { ips, registry: NameTable::EXTERNAL.to_owned(), ..NameInfo::default() }
        }
    };
    table.insert(host.to_owned(), info);
}
