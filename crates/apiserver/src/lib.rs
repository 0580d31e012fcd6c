//! A Kubernetes-compatible API server over an embedded store: discovery, OpenAPI, all verbs with watch and
//! server-side apply, CRDs, admission webhooks, garbage collection. Stock kubectl and `kube` clients use it as they
//! use a cluster's.
//!
//! The way of a request: `server` accepts and authenticates, `server::route` names the resource, `verbs` reads or
//! writes it through `admission` and the `schema`, `store` keeps it and tells the watches.

mod admission;
mod authorize;
mod background;
mod builder;
mod context;
mod crd;
mod discovery;
mod kinds;
mod object;
mod patch;
mod pki;
mod protobuf;
mod registry;
mod schema;
mod selector;
mod server;
mod status;
mod store;
mod subresource;
mod table;
mod tokens;
mod verbs;

pub use builder::{ApiServer, Builder, Handle, StartError};
pub use context::ServiceResolver;
