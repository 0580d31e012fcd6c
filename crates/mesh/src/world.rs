use std::sync::Arc;

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1::EndpointSlice;

use crate::{Change, Changes, ConfigKey, Mesh};

/// One object as it comes from the Kubernetes API.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub enum Resource {
    Service(Box<core::Service>),
    EndpointSlice(Box<EndpointSlice>),
    Pod(Box<core::Pod>),
    Node(Box<core::Node>),
    Namespace(Box<core::Namespace>),
}

/// The objects that the mesh is built from, in a distilled form.
#[derive(Debug, Default)]
pub struct World {
    last: Arc<Mesh>,
    pending: Changes,
}

impl World {
    /// A world without objects.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a new or changed object. Tells whether the mesh depends on what changed: an object that differs only
    /// in what the mesh does not read (a status, a resource version) changes nothing.
    pub fn upsert(&mut self, resource: Resource) -> Change {
        let _ = resource;
        Change::None
    }

    /// Forgets an object.
    pub fn remove(&mut self, key: &ConfigKey) -> Change {
        let _ = key;
        Change::None
    }

    /// Builds the next snapshot and says what the step to it touched. Without changes it is the last one again.
    pub fn snapshot(&mut self) -> (Arc<Mesh>, Changes) {
        (self.last.clone(), std::mem::take(&mut self.pending))
    }
}
