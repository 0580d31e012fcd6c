//! Upstreams: clusters as a worker sees them, load balancing, connection pools, outlier detection.

pub mod balancer;
pub mod call;
mod connect;
pub mod dns;
mod local;
mod outlier;
mod permit;
pub mod pool;
pub mod stats;
mod stream;

pub use connect::{Opened, Wanted, open, resolve, set_keepalive};
pub use local::LocalCluster;
pub use outlier::{Outcome, observe};
pub use permit::{ConnectionPermit, RequestPermit, RetryPermit};
pub use stream::{UpstreamHead, UpstreamStream};
