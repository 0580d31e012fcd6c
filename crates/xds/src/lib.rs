//! What the control plane and the proxies have in common: Envoy's v3 messages, type URLs, encoded resources, the
//! two ends of the ADS protocol, the certificate service's messages, and protobuf JSON.

pub mod certificates;
pub mod client;
mod encoded;
pub mod grpc;
pub mod istio;
pub mod json;
pub mod server;
mod type_url;

pub use encoded::{Encoded, any};
/// Envoy's v3 messages and gRPC services.
pub use envoy_types::pb;
pub use type_url::TypeUrl;
