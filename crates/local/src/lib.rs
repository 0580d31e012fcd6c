//! The one-machine mode: a whole mesh in namespaces of its own, without a cluster.
//!
//! `up` is the host side ([`host`]); it starts [`namespaces`], in which [`daemon`] runs the API server, the
//! controllers and the node. The control plane and the gateways are ordinary pods.

pub mod daemon;
mod down;
mod host;
mod manifests;
pub mod namespaces;
mod options;
mod prerequisites;
mod state;
mod status;

pub use down::down;
pub use host::up;
pub use options::{ImageCommand, MeshOptions, UpOptions};
pub use state::StateDir;
pub use status::status;
