//! The API as its users meet it: manifests, JSON, validation.

mod manifests;
mod validation;
mod wire;
