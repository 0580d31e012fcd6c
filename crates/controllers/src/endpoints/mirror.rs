//! Slices for Endpoints that users write themselves, for Services without a selector.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{EndpointAddress, EndpointSubset, Endpoints, Service};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;

use super::{MANAGED_BY, SERVICE_NAME, legacy, selects_pods, slices};
use crate::context::Context;
use crate::ownership;
use crate::store::Key;

const MANAGER: &str = "endpointslicemirroring-controller.k8s.io";

/// Brings the mirrored slices of one Endpoints object up to date.
pub(crate) async fn reconcile(context: Arc<Context>, key: Key) -> kube::Result<Option<Duration>> {
    let stores = &context.stores;
    let existing: Vec<_> = stores
        .slices
        .in_namespace(&key.namespace)
        .into_iter()
        .filter(|slice| slices::belongs_to(slice, &key.name, MANAGER))
        .collect();
    let service = stores.services.get(&key).filter(|service| !selects_pods(service));
    let endpoints = stores.endpoints.get(&key).filter(|endpoints| legacy::is_foreign(endpoints));
    let plan = match (service, endpoints) {
        (Some(service), Some(endpoints)) => plan(&service, &endpoints, &existing),
        _ => slices::Plan { delete: existing, ..slices::Plan::default() },
    };
    for slice in &plan.create {
        context.create(&stores.slices, slice).await?;
    }
    for slice in &plan.update {
        context.replace(&stores.slices, slice).await?;
    }
    for slice in &plan.delete {
        context.delete(&stores.slices, &**slice).await?;
    }
    Ok(None)
}

pub(super) fn plan(
    service: &Service,
    endpoints: &Endpoints,
    existing: &[Arc<EndpointSlice>],
) -> slices::Plan {
    let mut labels: BTreeMap<String, String> = endpoints.labels().clone();
    labels.insert(SERVICE_NAME.to_owned(), service.name_any());
    labels.insert(MANAGED_BY.to_owned(), MANAGER.to_owned());
    let subsets = endpoints.subsets.iter().flatten();
    let wanted =
        subsets.flat_map(|subset| [false, true].into_iter().filter_map(|ipv6| slice(subset, ipv6))).collect();
    let new = |mut slice: EndpointSlice| {
        slice.metadata = ObjectMeta {
            generate_name: Some(format!("{}-", endpoints.name_any())),
            namespace: endpoints.namespace(),
            labels: Some(labels.clone()),
            owner_references: Some(vec![ownership::controller_reference(endpoints)]),
            ..ObjectMeta::default()
        };
        slice
    };
    slices::match_up(wanted, existing, &labels, new)
}

fn slice(subset: &EndpointSubset, ipv6: bool) -> Option<EndpointSlice> {
    let of_family = |address: &&EndpointAddress| {
        address.ip.parse::<IpAddr>().is_ok_and(|address| address.is_ipv6() == ipv6)
    };
    let ready = subset.addresses.iter().flatten().filter(of_family).map(|address| endpoint(address, true));
    let not_ready = subset.not_ready_addresses.iter().flatten().filter(of_family).map(|a| endpoint(a, false));
    let endpoints: Vec<_> = ready.chain(not_ready).collect();
    if endpoints.is_empty() {
        return None;
    }
    let ports = subset.ports.iter().flatten().map(|port| EndpointPort {
        name: Some(port.name.clone().unwrap_or_default()),
        port: Some(port.port),
        protocol: Some(port.protocol.clone().unwrap_or_else(|| "TCP".to_owned())),
        app_protocol: port.app_protocol.clone(),
    });
    Some(EndpointSlice {
        address_type: if ipv6 { "IPv6" } else { "IPv4" }.to_owned(),
        ports: Some(ports.collect()),
        endpoints,
        metadata: ObjectMeta::default(),
    })
}

fn endpoint(address: &EndpointAddress, ready: bool) -> Endpoint {
    Endpoint {
        addresses: vec![address.ip.clone()],
        conditions: Some(EndpointConditions { ready: Some(ready), ..EndpointConditions::default() }),
        hostname: address.hostname.clone(),
        node_name: address.node_name.clone(),
        target_ref: address.target_ref.clone(),
        ..Endpoint::default()
    }
}
