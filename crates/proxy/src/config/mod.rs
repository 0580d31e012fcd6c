//! The runtime model: configuration as the request path reads it. Matchers, formats and policies are compiled; no
//! protobuf is known here. [`Store`] holds what is in force and swaps its parts.

mod cluster;
mod drain;
mod endpoint;
mod ext_authz;
mod headers;
mod health_check;
mod http_manager;
mod jwt;
mod keys;
mod listener;
mod matcher;
mod metadata;
mod policy;
mod rbac;
mod route;
mod route_table;
mod store;
mod subset;
mod tcp_proxy;
mod tls;
mod tracing;
pub mod uri_template;

pub use cluster::*;
pub use drain::*;
pub use endpoint::*;
pub use ext_authz::*;
pub use headers::*;
pub use health_check::*;
pub use http_manager::*;
pub use jwt::*;
pub use keys::*;
pub use listener::*;
pub use matcher::*;
pub use metadata::*;
pub use policy::*;
pub use rbac::*;
pub use route::*;
pub use route_table::*;
pub use store::*;
pub use subset::*;
pub use tcp_proxy::*;
pub use tls::*;
pub use tracing::*;
