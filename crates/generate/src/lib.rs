//! Mesh snapshot -> encoded xDS resources, as istiod makes them; one file a resource type. Pure: no I/O, no async.
//!
//! [`Generator`] holds the latest snapshot and hands out [`ProxyResources`]: proxies of the same scope (namespace,
//! Sidecar, flavour, gateway labels) share one [`ResourceSet`], and a resource is encoded again only when something
//! it depends on changed.

mod build;
mod cache;
mod cluster;
mod credentials;
mod delta;
mod endpoints;
mod families;
mod gateway;
mod generator;
mod listener;
mod locality;
mod name_table;
mod names;
mod observe;
mod ordered;
mod patch;
mod proto;
mod proxy;
mod resources;
mod route;
mod security;
mod tls;
mod view;

pub use delta::{Delta, Deltas};
pub use families::Families;
pub use generator::Generator;
pub use proxy::{Flavour, Interception, Naming, Proxy, ProxyError, ProxyKind};
pub use resources::{ProxyDelta, ProxyResources, ResourceList, ResourceSet};
