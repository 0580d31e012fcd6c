//! Certificates and SPIFFE names: an authority (self-signed, or plugged in with its chain), requests that it signs,
//! trust bundles, the identities in all of them, and JSON web tokens. Pure: keys in memory, no I/O, the time is given.

mod any_server;
mod authority;
mod bundle;
mod chain;
mod csr;
mod error;
pub mod jose;
mod key;
mod leaf;
mod lifetime;
mod pem;
mod spiffe;

pub use any_server::AnyServer;
pub use authority::{Authority, matches};
pub use bundle::{TrustBundle, expiry, is_self_signed, pem_validity, validity};
pub use csr::{KeyRequest, SigningRequest};
pub use error::IdentityError;
pub use key::KeyKind;
pub use leaf::{Leaf, LeafRequest, Usage};
pub use lifetime::{Lifetimes, TooLong};
pub use spiffe::{SpiffeId, identities};
