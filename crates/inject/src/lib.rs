//! Sidecar injection as a pure function from pod to pod.
//!
//! One implementation stands behind the admission webhook and `lateen kube-inject`: both hand a pod, the place
//! where it will run ([`Target`]) and the mesh's [`InjectConfig`] to [`inject`], and get back the pod and a
//! [`Decision`] that explains itself. Names, labels, annotations and arguments are those that Istio documents
//! (<https://istio.io/latest/docs/reference/config/annotations/>).

mod annotations;
mod capture;
mod config;
mod decision;
mod environment;
mod error;
mod manifest;
mod merge;
mod mesh_config;
mod metadata;
mod patch;
mod pod;
mod probes;
mod prometheus;
mod proxy;
mod proxy_config;
mod settings;
mod templates;
mod undo;
mod values;
mod volumes;
mod workload;

#[cfg(test)]
mod tests;

pub use capture::capture_arguments;
pub use config::{CaptureDefaults, InjectConfig, Policy, Ports, Readiness, Resources};
pub use decision::{Decision, Target, decide};
pub use error::InjectError;
pub use manifest::{ManifestDecision, ManifestOutcome, inject_manifest};
pub use patch::{admission_patch, patch};
pub use pod::{Injection, inject, is_injected};

/// Name of the sidecar's container.
pub const PROXY_CONTAINER: &str = "istio-proxy";
/// Name of the init container that programs the pod's redirection.
pub const INIT_CONTAINER: &str = "istio-init";
/// Name of the init container that checks the redirection that a CNI plugin has made.
pub const VALIDATION_CONTAINER: &str = "istio-validation";
