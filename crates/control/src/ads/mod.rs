//! The ADS server: gRPC over HTTP/2, one task a stream.

mod access;
mod connection;
mod debug;
mod discovery;
mod registry;
mod server;
mod withheld;

pub(crate) use access::Access;
pub use registry::{Connection, Registry};
pub use server::serve;
pub(crate) use server::{route, serve_connection};
