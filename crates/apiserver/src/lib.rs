//! A Kubernetes-compatible API server over an embedded store.

mod kinds;
mod object;
mod registry;
mod schema;
mod selector;
mod status;
mod store;
mod table;
