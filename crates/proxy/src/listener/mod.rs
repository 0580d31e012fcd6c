//! Listeners: accepting, original destinations, sniffing, filter chains, TLS.

mod accept;
mod chain_match;
mod connection;
mod inspect;
mod proxy_protocol;
mod socket;
mod tls;

pub use accept::accept;
pub(crate) use chain_match::is_misdirected;
pub use socket::{bind, make_transparent};
