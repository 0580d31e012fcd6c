//! The control plane, istiod's role: watches the Kubernetes API, keeps one picture of the mesh, and leads every
//! connected proxy to it over ADS; injects sidecars and validates resources as admission webhooks.

mod accept;
pub mod ads;
pub mod auth;
pub mod ca;
mod conflicts;
mod control;
mod debug;
mod findings;
mod hub;
mod issuers;
mod leader;
mod listen;
mod metrics;
mod options;
mod process;
mod refusals;
mod secure_port;
pub mod source;
pub mod status;
mod view;
pub mod webhook;

use std::sync::Arc;

pub use control::{Addresses, Control, run};
pub use hub::{Hub, Published, queue, run as run_hub};
pub use metrics::Metrics;
pub use options::{ControlOptions, EnvironmentError, KubeAccess, Ports};
pub use refusals::{Refusal, Refusals};
pub use source::{credential, map_credential, mesh_settings};
pub use view::View;

/// What the servers share.
#[derive(Debug)]
pub struct Context {
    /// The mesh.
    pub hub: Arc<Hub>,
    /// The open streams.
    pub registry: ads::Registry,
    /// The counters.
    pub metrics: Arc<Metrics>,
}

impl Context {
    /// A control plane without sources and streams.
    pub fn new() -> Arc<Self> {
        let metrics = Arc::new(Metrics::default());
        Arc::new(Context { hub: Hub::new(Arc::clone(&metrics)), registry: ads::Registry::default(), metrics })
    }
}
