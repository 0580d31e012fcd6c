//! TLS: secrets that come and change while connections live, and the contexts that are put together from them.
//!
//! A [`Secret`] stands in a [`SecretSlot`], which is interned by source and name; [`TlsServer`] and [`TlsClient`] are
//! put together anew whenever one of their secrets changes, and swapped by one pointer. What cannot be put together
//! keeps what was; a context that was never complete refuses every connection. Nothing is ever verified less than
//! asked for: a context whose authorities are not known yet is not complete.

mod client;
mod context;
mod hello;
mod names;
mod params;
mod records;
mod resolver;
mod secret;
mod server;
mod slot;
mod stats;
mod stream;
#[cfg(test)]
mod tests;
mod verify;

pub use client::{Handshaken, TlsClient};
pub use context::{CommonContext, Identities, Trust};
pub use names::{SanKind, SanMatcher};
pub use params::{KeyExchange, Parameters, Suite};
pub use secret::{Certificate, Part, Secret, Validation};
pub use server::{AcceptError, ServerOptions, TlsServer};
pub(crate) use slot::Held;
pub use slot::{History, SecretSlot, SecretStore, Source};
pub use stats::{TlsShard, TlsStats};
pub use stream::TlsStream;
pub use verify::Mismatch;
