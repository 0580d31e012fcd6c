//! Istio's resources: types with every field of today's API, their JSON form, validation and CRDs.
//!
//! One declaration a message (see [`wire`]) gives the Rust type, protobuf's JSON mapping with both spellings of field
//! names, findings with field paths, and the structural schema.

pub mod authentication;
pub mod catalog;
pub mod crd;
pub mod extensions;
pub mod mesh_config;
pub mod networking;
pub mod object;
pub mod security;
pub mod status;
pub mod telemetry;
pub mod validation;
pub mod wire;

pub use catalog::{Verdict, validate_value};
pub use crd::crds;
pub use object::{AGE, Column, Decoded, Kind, Object};
pub use wire::duration::Duration;
pub use wire::report::{FieldError, Report};

pub use authentication::{MeshPolicy, Policy};
pub use extensions::WasmPlugin;
pub use mesh_config::MeshConfig;
pub use networking::destination_rule::DestinationRule;
pub use networking::envoy_filter::EnvoyFilter;
pub use networking::gateway::Gateway;
pub use networking::proxy_config::ProxyConfig;
pub use networking::service_entry::ServiceEntry;
pub use networking::sidecar::Sidecar;
pub use networking::virtual_service::VirtualService;
pub use networking::workload_entry::WorkloadEntry;
pub use networking::workload_group::WorkloadGroup;
pub use security::authorization_policy::AuthorizationPolicy;
pub use security::peer_authentication::PeerAuthentication;
pub use security::request_authentication::RequestAuthentication;
pub use telemetry::Telemetry;
