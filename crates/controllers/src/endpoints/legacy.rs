//! The older Endpoints object, for tools that still read it.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{EndpointAddress, EndpointPort, EndpointSubset, Endpoints, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;

use super::backend::{Backend, BackendPort};
use super::slices;

/// Says that slices exist already, so that nobody makes them from this object.
const SKIP_MIRROR: &str = "endpointslice.kubernetes.io/skip-mirror";
/// Says who keeps the object.
const MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";
const MANAGER: &str = "endpoint-controller";

/// Whether the user, not this controller, keeps the object.
pub(super) fn is_foreign(endpoints: &Endpoints) -> bool {
    let labelled = |name: &str, value: &str| endpoints.labels().get(name).map(String::as_str) == Some(value);
    !labelled(SKIP_MIRROR, "true") && !labelled(MANAGED_BY, MANAGER)
}

/// The Endpoints of a Service; pods that end are no longer among them.
pub(super) fn endpoints(service: &Service, backends: &[Backend]) -> Endpoints {
    let ipv6 =
        service.spec.as_ref().and_then(|spec| spec.cluster_ip.as_ref()).is_some_and(|ip| ip.contains(':'));
    let mut groups: BTreeMap<&[BackendPort], EndpointSubset> = BTreeMap::new();
    for backend in backends.iter().filter(|backend| backend.ready || !backend.terminating) {
        let Some(address) = backend.address(ipv6) else { continue };
        let subset = groups.entry(&backend.ports).or_default();
        let list = if backend.ready { &mut subset.addresses } else { &mut subset.not_ready_addresses };
        list.get_or_insert_default().push(EndpointAddress {
            ip: address.to_string(),
            hostname: backend.hostname.clone(),
            node_name: backend.node.clone(),
            target_ref: Some(slices::target(backend)),
        });
    }
    let subsets: Vec<_> = groups
        .into_iter()
        .map(|(ports, subset)| EndpointSubset {
            ports: (!ports.is_empty()).then(|| ports.iter().map(port).collect()),
            ..subset
        })
        .collect();
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.insert(MANAGED_BY.to_owned(), MANAGER.to_owned());
    Endpoints {
        metadata: ObjectMeta {
            name: Some(service.name_any()),
            namespace: service.namespace(),
            labels: Some(labels),
            ..ObjectMeta::default()
        },
        subsets: (!subsets.is_empty()).then_some(subsets),
    }
}

fn port(port: &BackendPort) -> EndpointPort {
    EndpointPort {
        name: Some(port.name.clone()).filter(|name| !name.is_empty()),
        port: port.port,
        protocol: Some(port.protocol.clone()),
        app_protocol: port.app_protocol.clone(),
    }
}
