//! Patches that know the schema: strategic merge and server-side apply.

pub mod fields;
pub mod last_applied;
pub mod managed;
mod merge;
pub mod strategic;
