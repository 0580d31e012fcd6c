//! Which IP versions a workload has, and what its proxy listens on and connects from therefore.
//!
//! Source: Istio, dual-stack support (`ISTIO_DUAL_STACK`): the version of the pod's first address is that of a listener's
//! `address`, the other's wildcard stands in `additional_addresses`.

use std::net::IpAddr;

use lateen_xds::pb::envoy::config::cluster::v3::cluster::DnsLookupFamily;
use lateen_xds::pb::envoy::config::core::v3::{
    BindConfig, ExtraSourceAddress, SocketAddress, socket_address::PortSpecifier,
};
use lateen_xds::pb::envoy::config::listener::v3::AdditionalAddress;

use crate::proto::address;

/// The IP versions of a workload's addresses, that of the first one first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Families {
    /// IPv4 alone.
    #[default]
    V4,
    /// IPv6 alone.
    V6,
    /// Both, IPv4 first.
    V4V6,
    /// Both, IPv6 first.
    V6V4,
}

impl Families {
    /// The versions among addresses; without any, IPv4. Addresses of one link alone do not count.
    pub fn of(addresses: &[IpAddr]) -> Families {
        let mut routed = addresses.iter().filter(|ip| match ip {
            IpAddr::V4(_) => true,
            IpAddr::V6(v6) => !v6.is_unicast_link_local(),
        });
        let Some(first) = routed.next() else { return Families::V4 };
        match (first.is_ipv4(), routed.all(|ip| ip.is_ipv4() == first.is_ipv4())) {
            (true, true) => Families::V4,
            (false, true) => Families::V6,
            (true, false) => Families::V4V6,
            (false, false) => Families::V6V4,
        }
    }

    fn in_order<T: Copy>(self, v4: T, v6: T) -> (T, Option<T>) {
        match self {
            Families::V4 => (v4, None),
            Families::V6 => (v6, None),
            Families::V4V6 => (v4, Some(v6)),
            Families::V6V4 => (v6, Some(v4)),
        }
    }

    /// Whether the workload has addresses of IPv4.
    pub fn has_v4(self) -> bool {
        self != Families::V6
    }

    /// Whether the workload has addresses of IPv6.
    pub fn has_v6(self) -> bool {
        self != Families::V4
    }

    /// Whether it has both.
    pub fn are_both(self) -> bool {
        self.has_v4() && self.has_v6()
    }

    /// Whether an address is of the version that comes first.
    pub fn prefers(self, ip: IpAddr) -> bool {
        ip.is_ipv4() == matches!(self, Families::V4 | Families::V4V6)
    }

    /// Whether the workload has addresses of an address' version.
    pub fn reaches(self, ip: IpAddr) -> bool {
        if ip.is_ipv4() { self.has_v4() } else { self.has_v6() }
    }

    /// The address that stands for every one, and the same of the other version.
    pub(crate) fn wildcards(self) -> (&'static str, Option<&'static str>) {
        self.in_order("0.0.0.0", "::")
    }

    /// The loopback addresses.
    pub(crate) fn loopbacks(self) -> (&'static str, Option<&'static str>) {
        self.in_order("127.0.0.1", "::1")
    }

    /// Which addresses of a name are asked for.
    pub(crate) fn lookup(self) -> DnsLookupFamily {
        match self {
            Families::V4 => DnsLookupFamily::V4Only,
            Families::V6 => DnsLookupFamily::V6Only,
            Families::V4V6 | Families::V6V4 => DnsLookupFamily::All,
        }
    }

    /// The addresses that a sidecar's connections to its own application come from: the redirection leaves them alone.
    /// A proxy takes the one of the destination's version.
    ///
    /// Source: istio-iptables (`-s 127.0.0.6/32 -o lo -j RETURN`, `-s ::6/128`).
    pub(crate) fn inbound_source(self) -> BindConfig {
        let socket = |ip: &str| SocketAddress {
            address: ip.to_owned(),
            port_specifier: Some(PortSpecifier::PortValue(0)),
            ..SocketAddress::default()
        };
        let (first, other) = self.in_order("127.0.0.6", "::6");
        let extra = |ip| ExtraSourceAddress { address: Some(socket(ip)), ..ExtraSourceAddress::default() };
        BindConfig {
            source_address: Some(socket(first)),
            extra_source_addresses: other.map(extra).into_iter().collect(),
            ..BindConfig::default()
        }
    }
}

/// What a listener has besides its first address.
pub(crate) fn additional(other: Option<&str>, port: u16) -> Vec<AdditionalAddress> {
    let one =
        |ip| AdditionalAddress { address: address(ip, u32::from(port)), ..AdditionalAddress::default() };
    other.map(one).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_the_first_address_comes_first() {
        let of = |list: &[&str]| Families::of(&list.iter().map(|ip| ip.parse().unwrap()).collect::<Vec<_>>());
        assert_eq!(of(&[]), Families::V4);
        assert_eq!(of(&["10.0.0.1", "10.0.0.2", "fe80::1"]), Families::V4);
        assert_eq!(of(&["fd00::1"]), Families::V6);
        assert_eq!(of(&["10.0.0.1", "fd00::1"]), Families::V4V6);
        assert_eq!(of(&["fd00::1", "fd00::2", "10.0.0.1"]), Families::V6V4);
    }

    #[test]
    fn connections_to_the_application_come_from_an_address_of_each_version() {
        let bind = Families::V6V4.inbound_source();
        assert_eq!(bind.source_address.unwrap().address, "::6");
        assert_eq!(bind.extra_source_addresses[0].address.as_ref().unwrap().address, "127.0.0.6");
        assert!(Families::V4.inbound_source().extra_source_addresses.is_empty());
    }
}
