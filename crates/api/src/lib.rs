//! Istio's resources: types with every field of today's API, their JSON form, validation and CRDs.
//!
//! One declaration a message (see [`wire`]) gives the Rust type, protobuf's JSON mapping with both spellings of field
//! names, findings with field paths, and the structural schema.

pub mod catalog;
pub mod crd;
pub mod networking;
pub mod object;
pub mod status;
pub mod validation;
pub mod wire;

pub use catalog::{Verdict, validate_value};
pub use crd::crds;
pub use object::{AGE, Column, Decoded, Kind, Object};
pub use wire::duration::Duration;
pub use wire::report::{FieldError, Report};

pub use networking::destination_rule::DestinationRule;
pub use networking::gateway::Gateway;
pub use networking::service_entry::ServiceEntry;
pub use networking::sidecar::Sidecar;
pub use networking::virtual_service::VirtualService;
pub use networking::workload_entry::WorkloadEntry;
