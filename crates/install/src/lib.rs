//! Installs the mesh on a Kubernetes cluster: one description of every object, from which the Helm charts are printed and
//! which `lateen install` evaluates itself.

#[macro_use]
mod template;

mod charts;
mod cluster;
mod presets;
mod release;
mod schema;
mod values;

pub use charts::Chart;
pub use cluster::{Applied, Cluster, Finding, Level, Progress, Removed, Tag};
pub use presets::{GATEWAY_NAMESPACE, GatewayKind, Profile, Traffic};
pub use release::{Manifest, Release, local_rights};
pub use values::{Values, ValuesError};
