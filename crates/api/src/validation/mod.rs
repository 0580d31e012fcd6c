//! What makes a resource invalid, by the rules of Istio's own validation: every error, with its field path.

pub mod authentication;
pub mod authorization_policy;
pub mod common;
pub mod destination_rule;
pub mod envoy_filter;
pub mod gateway;
pub mod handshakes;
pub mod headers;
pub mod host;
pub mod selection;
pub mod service_entry;
pub mod sidecar;
pub mod telemetry;
pub mod traffic_policy;
pub mod unreachable;
pub mod virtual_service;
pub mod virtual_service_http;
pub mod wasm_plugin;
pub mod workload_entry;
pub mod workload_group;
