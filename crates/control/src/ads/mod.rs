//! The ADS server: gRPC over HTTP/2, one task a stream.

mod body;
mod connection;
mod registry;
mod server;

pub use registry::{Connection, Registry};
pub use server::serve;
