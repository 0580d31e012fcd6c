//! Services: virtual addresses in the mesh, listeners on the host.

mod host;
mod plan;
mod virtual_ips;

pub use host::HostListener;
pub(crate) use host::HostServices;
pub(crate) use virtual_ips::VirtualIps;

use rand::seq::IndexedRandom;

use crate::cluster::{Backend, Catalog};

/// A backend at random of those that take connections.
pub(crate) fn choose(catalog: &Catalog, namespace: &str, service: &str, port: &str) -> Option<Backend> {
    let ready: Vec<Backend> =
        catalog.backends(namespace, service, Some(port)).into_iter().filter(|b| b.ready).collect();
    ready.choose(&mut rand::rng()).cloned()
}
