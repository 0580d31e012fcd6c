//! Objects as the API has them -> what the mesh makes of them, step by step.

mod kit;
mod policies;
mod rules;
mod services;
