//! API objects -> an immutable, indexed snapshot of the mesh. Pure: no I/O, no async.
//!
//! [`World`] holds the objects, takes upserts and removals and builds the next [`Mesh`], sharing with the last one
//! everything that did not change.

mod changes;
mod mesh;
mod world;

pub use changes::{Change, Changes, ConfigKey, Kind, ServiceId};
pub use mesh::Mesh;
pub use world::{Resource, World};
