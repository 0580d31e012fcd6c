//! Issuers of tokens outside of the mesh: what they say of themselves.

mod discovery;
mod fetch;

pub(crate) use discovery::keep;
pub(crate) use fetch::{discover, get};
