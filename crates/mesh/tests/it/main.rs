//! Objects as the API has them -> what the mesh makes of them, step by step.

mod kit;
mod rules;
mod services;
