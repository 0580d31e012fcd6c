//! Patches on clusters.

use std::sync::Arc;

use lateen_api::networking::envoy_filter::{ApplyTo, ClusterMatch, ObjectMatch, PatchOperation};
use lateen_xds::pb::envoy::config::cluster::v3::Cluster;
use lateen_xds::{Encoded, TypeUrl};
use prost::Message;

use super::{Patch, Run};

/// The name of an encoded cluster.
pub(super) fn name(body: &[u8]) -> Option<String> {
    Cluster::decode(body).ok().map(|cluster| cluster.name)
}

impl Run<'_> {
    pub(super) fn cluster(&self, cluster: &Arc<Encoded>) -> Option<Arc<Encoded>> {
        let mut body: Option<Vec<u8>> = None;
        for patch in self.of(ApplyTo::Cluster).filter(|p| is_meant(p, &cluster.name)) {
            match patch.operation {
                PatchOperation::Remove => return None,
                PatchOperation::Merge => {
                    body = self.merged(patch, body.as_deref().unwrap_or(&cluster.body)).or(body);
                }
                _ => {}
            }
        }
        match body {
            None => Some(cluster.clone()),
            // A patch may give another name.
            Some(body) => {
                let name = name(&body)?;
                Some(Arc::new(Encoded::from_body(TypeUrl::Cluster, name, body.into())))
            }
        }
    }
}

/// Whether a patch means the cluster of a name: `outbound|PORT|SUBSET|HOST`, `inbound|PORT||`, or any other.
fn is_meant(patch: &Patch, name: &str) -> bool {
    let Some(ObjectMatch::Cluster(wanted)) = &patch.matched.object_types else { return true };
    let ClusterMatch { port_number, service, subset, name: exact } = wanted;
    let mut parts = name.splitn(4, '|').skip(1);
    let (port, own_subset, host) = (parts.next(), parts.next(), parts.next());
    (exact.is_empty() || exact == name)
        && (*port_number == 0 || port.and_then(|p| p.parse().ok()) == Some(*port_number))
        && (subset.is_empty() || own_subset == Some(subset))
        && (service.is_empty() || host == Some(service))
}
