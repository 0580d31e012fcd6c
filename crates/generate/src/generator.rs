use std::sync::Arc;

use lateen_mesh::{Changes, Mesh};
use lateen_xds::TypeUrl;

use crate::{Proxy, ProxyResources, ResourceSet};

/// Turns snapshots into resources, and remembers what it encoded.
///
/// One per control plane. `step` moves it to the next snapshot; `resources` answers for a proxy and costs next to
/// nothing when the proxy's scope has been worked out already.
#[derive(Debug)]
pub struct Generator {
    mesh: Arc<Mesh>,
}

impl Generator {
    /// A generator at its first snapshot.
    pub fn new(mesh: Arc<Mesh>) -> Self {
        Generator { mesh }
    }

    /// The snapshot that resources are made from.
    pub fn mesh(&self) -> &Arc<Mesh> {
        &self.mesh
    }

    /// Moves to the next snapshot. `changes` must describe the whole way from the present one.
    pub fn step(&mut self, mesh: Arc<Mesh>, changes: &Changes) {
        let _ = changes;
        self.mesh = mesh;
    }

    /// Everything that a proxy may see at the present snapshot. Keep the answer: the next one is compared with it
    /// by [`ProxyResources::diff`].
    pub fn resources(&mut self, proxy: &Proxy) -> ProxyResources {
        let _ = proxy;
        let empty = ResourceSet::new(TypeUrl::ALL.map(|_| Arc::from(Vec::new())));
        ProxyResources { shared: empty.clone(), own: empty }
    }
}
