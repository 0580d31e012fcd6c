//! Envoy's messages -> the runtime model, off the request path.
//!
//! Each message is taken apart exhaustively by [`take`]: every field is used, refused with its path when it is set, or
//! named in [`ignored`], the one table of fields that are known to change nothing here. A new field in Envoy's
//! messages does not compile until someone has decided which.

#![allow(deprecated, reason = "Envoy takes deprecated fields, and so must we")]

mod access_log;
mod any;
mod cluster;
pub(crate) mod config_source;
mod endpoint;
mod ext_authz;
mod http_filter;
mod http_manager;
pub(crate) mod ignored;
mod istio_alpn;
mod jwt;
mod listener;
pub(crate) mod metadata;
mod pb;
#[cfg(test)]
mod policy_tests;
mod rbac;
mod route;
pub(crate) mod take;
mod tcp_proxy;
#[cfg(test)]
pub(crate) mod tests;
mod tls;
mod tracing;
mod values;

use std::sync::Arc;

pub(crate) use cluster::bind_config;
pub use cluster::{ConvertedCluster, cluster};
pub use endpoint::{assignment, endpoints};
pub use listener::{ConvertedListener, listener};
pub use route::{ConvertedRoutes, route_configuration, virtual_host};
pub use take::ConvertError;
pub(crate) use take::{At, take};
pub(crate) use tls::longest_wait;
pub use tls::{WaitsForSecrets, secret};
pub(crate) use values::host_port;
pub use values::socket_address;

use crate::access_log::Sinks;
use crate::config::{Store, UpstreamSocket};
use crate::stats::istio::IstioMetrics;
use crate::tls::SecretStore;
use crate::trace::Tracers;

/// What conversion needs beside the message.
#[derive(Debug)]
pub struct Context {
    /// Where slots of clusters, endpoints and routes are interned.
    pub store: Arc<Store>,
    /// Where secrets are interned.
    pub secrets: Arc<SecretStore>,
    /// The files that access logs go to.
    pub sinks: Arc<Sinks>,
    /// Istio's metrics and metadata exchange.
    pub istio: Arc<IstioMetrics>,
    /// Tracers in use.
    pub tracers: Arc<Tracers>,
    /// Socket settings of every upstream connection (`cluster_manager.upstream_bind_config`).
    pub upstream_socket: UpstreamSocket,
}

/// Result of a conversion.
pub type Converted<T> = Result<T, ConvertError>;

/// A hash of a message's encoding: equal hashes mean that nothing changed. Never 0, which stands for "unknown".
pub(crate) fn hash(message: &impl prost::Message) -> u64 {
    use std::hash::{DefaultHasher, Hasher};
    let mut hasher = DefaultHasher::new();
    hasher.write(&message.encode_to_vec());
    hasher.finish().max(1)
}
