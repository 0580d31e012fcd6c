//! Upstreams: clusters as a worker sees them, load balancing, connection pools, outlier detection.

mod acquire;
mod alternatives;
pub mod balancer;
pub mod call;
mod connect;
pub mod dns;
mod health;
mod hosts;
mod local;
mod outlier;
mod permit;
pub mod pool;
pub mod stats;
mod stream;

pub use acquire::Speaks;
pub use connect::{Opened, Wanted, open, resolve, set_keepalive};
pub use health::HealthStats;
pub(crate) use health::run as run_health_checks;
pub use local::LocalCluster;
pub use outlier::{Outcome, observe};
pub use permit::{ConnectionPermit, RequestPermit, RetryPermit};
pub use stream::{UpstreamHead, UpstreamStream};
