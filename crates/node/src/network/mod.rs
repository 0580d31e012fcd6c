//! The mesh's network: one bridge, one namespace a pod.

mod addresses;
mod bridge;
mod pod;

pub(crate) use addresses::Addresses;
pub(crate) use bridge::Bridge;
pub use bridge::loopback_up;
pub(crate) use pod::PodNetwork;

use std::net::Ipv4Addr;

/// The bridge, which is the node's and every pod's gateway.
pub(crate) const BRIDGE: &str = "lateen0";
/// The node's address.
pub const NODE_IP: Ipv4Addr = Ipv4Addr::new(10, 244, 0, 1);
/// Pods' addresses: network and prefix length.
pub(crate) const POD_NETWORK: (Ipv4Addr, u8) = (Ipv4Addr::new(10, 244, 0, 0), 16);
/// Services' addresses: network and prefix length.
pub(crate) const SERVICE_NETWORK: (Ipv4Addr, u8) = (Ipv4Addr::new(10, 96, 0, 0), 16);
/// The API server's service.
pub const API_IP: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 1);
/// Cluster DNS.
pub const DNS_IP: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 10);

/// The Ethernet address of the interface with this address, as Kubernetes' bridge plugin makes them: who remembers the
/// neighbour of an address that was given out again remembers right.
pub(crate) fn hardware_address(ip: Ipv4Addr) -> [u8; 6] {
    let [a, b, c, d] = ip.octets();
    [0x0a, 0x58, a, b, c, d]
}

/// Sets a sysctl of the calling thread's network namespace.
pub(crate) fn sysctl(name: &str, value: &str) {
    if let Err(error) = std::fs::write(format!("/proc/sys/{name}"), value) {
        tracing::debug!(name, value, %error, "sysctl not set");
    }
}
