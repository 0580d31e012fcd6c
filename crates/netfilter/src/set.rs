//! Named sets and maps.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use crate::rule::{Proto, Verdict};

/// What a [`ServiceMap`] is keyed by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConcatKey {
    /// Destination address, protocol, destination port.
    AddrProtoPort,
    /// Protocol and destination port.
    ProtoPort,
}

/// A verdict map from service address to chain (kube-proxy's `service-ips` and `service-nodeports`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceMap {
    /// Name, unique among the table's sets.
    pub name: String,
    /// Key.
    pub key: ConcatKey,
}

/// Key of one element of a [`ServiceMap`]; `addr` counts only with [`ConcatKey::AddrProtoPort`].
pub(crate) type ServiceKey = (Option<Ipv4Addr>, Proto, u16);

/// Elements of a [`ServiceMap`].
pub(crate) type ServiceElements = BTreeMap<ServiceKey, Verdict>;

/// A set of IPv4 (source, destination) pairs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PairSet {
    /// Name, unique among the table's sets.
    pub name: String,
}

/// nft's numbers of data types (`enum datatypes`), with which `nft list` prints elements.
pub(crate) mod datatype {
    pub const INTEGER: u32 = 4;
    pub const IPADDR: u32 = 7;
    pub const IP6ADDR: u32 = 8;
    pub const INET_PROTO: u32 = 12;
    pub const INET_SERVICE: u32 = 13;
    /// `NFT_DATA_VERDICT`.
    pub const VERDICT: u32 = 0xffff_ff00;

    /// Several types side by side.
    pub fn concat(types: &[u32]) -> u32 {
        types.iter().fold(0, |all, t| (all << 6) | t)
    }
}

impl ConcatKey {
    pub(crate) fn key_type(self) -> u32 {
        use datatype::{INET_PROTO, INET_SERVICE, IPADDR};
        match self {
            ConcatKey::AddrProtoPort => datatype::concat(&[IPADDR, INET_PROTO, INET_SERVICE]),
            ConcatKey::ProtoPort => datatype::concat(&[INET_PROTO, INET_SERVICE]),
        }
    }

    pub(crate) fn key_len(self) -> u32 {
        match self {
            ConcatKey::AddrProtoPort => 12,
            ConcatKey::ProtoPort => 8,
        }
    }

    /// Each field fills one or more 32-bit registers.
    pub(crate) fn encode(self, (addr, proto, port): ServiceKey) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(12);
        if self == ConcatKey::AddrProtoPort {
            bytes.extend_from_slice(&addr.unwrap_or(Ipv4Addr::UNSPECIFIED).octets());
        }
        bytes.extend_from_slice(&[proto.number(), 0, 0, 0]);
        bytes.extend_from_slice(&port.to_be_bytes());
        bytes.extend_from_slice(&[0, 0]);
        bytes
    }
}
