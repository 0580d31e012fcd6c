//! What makes a resource invalid, by the rules of Istio's own validation: every error, with its field path.

pub mod destination_rule;
pub mod gateway;
pub mod service_entry;
pub mod sidecar;
pub mod virtual_service;
pub mod workload_entry;
