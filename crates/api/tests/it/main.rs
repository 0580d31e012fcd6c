//! The API as its users meet it: manifests, JSON, validation.

mod manifests;
mod policies;
mod validation;
mod wire;
