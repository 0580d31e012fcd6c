//! Patches that know the schema: strategic merge and server-side apply.

pub mod fields;
pub mod managed;
mod merge;
pub mod strategic;
