//! TLS contexts as the path sees them.

pub use crate::tls::{TlsClient, TlsServer};
