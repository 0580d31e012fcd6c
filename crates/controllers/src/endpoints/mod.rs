//! Endpoints and EndpointSlices: the pods behind each Service.

mod backend;
mod legacy;
mod mirror;
mod slices;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Service;

use crate::context::Context;
use crate::ownership;
use crate::store::Key;

pub(crate) use mirror::reconcile as reconcile_mirror;

/// Label of a slice that names its Service.
pub(crate) const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// Label of a slice that names the controller that keeps it.
const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
const MANAGER: &str = "endpointslice-controller.k8s.io";

/// Annotation with the time of the change that a write is due to.
const TRIGGER: &str = "endpoints.kubernetes.io/last-change-trigger-time";

/// Whether the Service's pods are found by labels (otherwise its endpoints are the user's).
pub(crate) fn selects_pods(service: &Service) -> bool {
    let spec = service.spec.as_ref();
    let external = spec.and_then(|spec| spec.type_.as_deref()) == Some("ExternalName");
    !external && spec.and_then(|spec| spec.selector.as_ref()).is_some_and(|selector| !selector.is_empty())
}

/// Whether the Service selects pods with these labels.
pub(crate) fn selects(
    service: &Service,
    labels: Option<&std::collections::BTreeMap<String, String>>,
) -> bool {
    let selector = service.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    selects_pods(service)
        && selector
            .into_iter()
            .flatten()
            .all(|(key, value)| labels.and_then(|labels| labels.get(key)) == Some(value))
}

/// Brings the slices and the Endpoints of one Service up to date.
pub(crate) async fn reconcile(context: Arc<Context>, key: Key) -> kube::Result<Option<Duration>> {
    let stores = &context.stores;
    let service = stores.services.get(&key).filter(|service| service.metadata.deletion_timestamp.is_none());
    let existing: Vec<_> = stores
        .slices
        .in_namespace(&key.namespace)
        .into_iter()
        .filter(|slice| slices::belongs_to(slice, &key.name, MANAGER))
        .collect();
    let Some(service) = service.filter(|service| selects_pods(service)) else {
        for slice in existing {
            context.delete(&stores.slices, &*slice).await?;
        }
        // Endpoints without a selector are the user's; those of a Service that is gone go with it.
        if stores.services.get(&key).is_none()
            && let Some(endpoints) = stores.endpoints.get(&key)
            && !legacy::is_foreign(&endpoints)
        {
            context.delete(&stores.endpoints, &*endpoints).await?;
        }
        return Ok(None);
    };
    let backends = backend::all(&service, &stores.pods.in_namespace(&key.namespace), &stores.nodes);
    let mut plan = slices::plan(&service, &backends, &existing);
    let trigger = trigger(&service, &backends);
    for slice in plan.create.iter_mut().chain(&mut plan.update) {
        slice.metadata.annotations.get_or_insert_default().extend(trigger.clone());
    }
    for slice in &plan.create {
        context.create(&stores.slices, slice).await?;
    }
    for slice in &plan.update {
        context.replace(&stores.slices, slice).await?;
    }
    for slice in &plan.delete {
        context.delete(&stores.slices, &**slice).await?;
    }
    write_endpoints(&context, &key, &service, &backends).await?;
    Ok(None)
}

/// The annotation that tells when what is written came about: the time of the latest change of a pod or the Service.
fn trigger(service: &Service, backends: &[backend::Backend]) -> Option<(String, String)> {
    let made = service.metadata.creation_timestamp.as_ref().map(|time| time.0);
    let last = backends.iter().filter_map(|backend| backend.since).chain(made).max()?;
    Some((TRIGGER.to_owned(), last.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()))
}

async fn write_endpoints(
    context: &Context,
    key: &Key,
    service: &Service,
    backends: &[backend::Backend],
) -> kube::Result<()> {
    let store = &context.stores.endpoints;
    let mut wanted = legacy::endpoints(service, backends);
    match store.get(key) {
        None => {
            wanted.metadata.annotations.get_or_insert_default().extend(trigger(service, backends));
            context.create(store, &wanted).await?;
        }
        Some(existing) => {
            wanted.metadata.resource_version.clone_from(&existing.metadata.resource_version);
            if existing.subsets != wanted.subsets || existing.metadata.labels != wanted.metadata.labels {
                wanted.metadata.annotations.clone_from(&existing.metadata.annotations);
                wanted.metadata.annotations.get_or_insert_default().extend(trigger(service, backends));
                context.replace(store, &wanted).await?;
            }
        }
    }
    Ok(())
}

/// The reference by which slices go when their Service goes.
fn owned_by(service: &Service) -> Vec<k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference> {
    vec![ownership::controller_reference(service)]
}
