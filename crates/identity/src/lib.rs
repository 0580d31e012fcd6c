//! Certificates and SPIFFE names: a self-signed authority, the leaves that it issues, and the identities in them.

mod authority;
mod error;
mod leaf;
mod spiffe;

pub use authority::Authority;
pub use error::IdentityError;
pub use leaf::{Leaf, LeafRequest, Usage};
pub use spiffe::SpiffeId;
