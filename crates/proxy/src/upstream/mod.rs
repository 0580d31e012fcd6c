//! Upstreams: clusters, load balancing, connection pools.

pub mod stats;
