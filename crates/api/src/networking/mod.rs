//! The group `networking.istio.io`.

pub mod destination_rule;
pub mod envoy_filter;
pub mod gateway;
pub mod proxy_config;
pub mod service_entry;
pub mod sidecar;
pub mod traffic_policy;
pub mod virtual_service;
pub mod virtual_service_http;
pub mod workload_entry;
pub mod workload_group;

/// The group's name.
pub const GROUP: &str = "networking.istio.io";

/// The versions of the group's settled kinds, the stored one first.
pub const VERSIONS: &[&str] = &["v1", "v1beta1", "v1alpha3"];

/// The categories of the group's kinds.
pub const CATEGORIES: &[&str] = &["istio-io", "networking-istio-io"];
