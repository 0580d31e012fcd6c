use std::sync::Arc;

use k8s_openapi::api::discovery::v1::EndpointSlice;

use crate::Meta;

/// The label that joins a slice to its service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// What the mesh reads of an EndpointSlice: the addresses that are ready.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Slice {
    /// The slice's own name and namespace.
    pub meta: Meta,
    /// The name of the service.
    pub service: Arc<str>,
    /// Target ports by the names of the service's ports.
    pub ports: Vec<(Arc<str>, u16)>,
    /// Ready addresses.
    pub ready: Vec<Ready>,
}

/// An address that is ready.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Ready {
    pub address: Arc<str>,
    /// The pod behind it if it is one.
    pub pod: Option<Arc<str>>,
    /// Its label in DNS, before the service's name.
    pub hostname: Option<Arc<str>>,
}

/// Distils a slice; `None` when it belongs to no service or holds host names.
pub(crate) fn slice(slice: &EndpointSlice) -> Option<Slice> {
    let service = slice.metadata.labels.as_ref()?.get(SERVICE_NAME)?;
    if slice.address_type == "FQDN" {
        return None;
    }
    let ports = slice.ports.iter().flatten().filter_map(|p| {
        let number = u16::try_from(p.port?).ok()?;
        Some((p.name.as_deref().unwrap_or_default().into(), number))
    });
    let mut ready = Vec::new();
    for endpoint in &slice.endpoints {
        // "A nil value should be interpreted as true": Kubernetes, EndpointConditions.ready.
        if endpoint.conditions.as_ref().and_then(|c| c.ready) == Some(false) {
            continue;
        }
        let pod = endpoint.target_ref.as_ref().filter(|t| t.kind.as_deref() == Some("Pod"));
        let pod: Option<Arc<str>> = pod.and_then(|t| t.name.as_deref()).map(Arc::from);
        let hostname: Option<Arc<str>> = endpoint.hostname.as_deref().map(Arc::from);
        ready.extend(endpoint.addresses.iter().map(|ip| Ready {
            address: ip.as_str().into(),
            pod: pod.clone(),
            hostname: hostname.clone(),
        }));
    }
    Some(Slice {
        meta: Meta::of(&slice.metadata),
        service: service.as_str().into(),
        ports: ports.collect(),
        ready,
    })
}
