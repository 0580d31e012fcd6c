//! The API as its users meet it: manifests, JSON, validation.

mod manifests;
mod policies;
mod robustness;
mod validation;
mod wire;
