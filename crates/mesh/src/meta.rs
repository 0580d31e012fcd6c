use std::cmp::Ordering;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// Who an object is and how old: the part of the metadata that the mesh reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meta {
    /// The object's name.
    pub name: Arc<str>,
    /// The object's namespace; empty for cluster-wide kinds.
    pub namespace: Arc<str>,
    /// When it was created, in seconds since 1970; 0 when the API did not say.
    pub created: i64,
}

impl Meta {
    /// The part of a Kubernetes object's metadata that the mesh reads.
    pub fn of(metadata: &ObjectMeta) -> Self {
        Meta {
            name: metadata.name.as_deref().unwrap_or_default().into(),
            namespace: metadata.namespace.as_deref().unwrap_or_default().into(),
            created: metadata.creation_timestamp.as_ref().map_or(0, |t| t.0.as_second()),
        }
    }

    /// The order in which conflicting objects win: oldest first, then by name, then by namespace.
    ///
    /// Source: Istio, "the oldest rule wins"; equal ages are ordered by `name.namespace`.
    pub fn by_age(&self, other: &Meta) -> Ordering {
        let key = |m: &Meta| (m.created, m.name.clone(), m.namespace.clone());
        if self.created != other.created {
            return self.created.cmp(&other.created);
        }
        key(self).cmp(&key(other))
    }
}
