//! Transport security over real sockets: proxies with whole bootstraps in this process, certificates made here, and
//! other implementations as peers.

mod attacks;
mod envoy;
mod gateways;
mod mutual;
mod sds;
mod support;
