//! Who may speak: access control, tokens, external authorization.

mod authorization;
mod smuggling;
mod table;
mod tokens;
pub mod world;
