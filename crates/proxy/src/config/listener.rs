//! Listeners, filter chains and what leads a connection to one.

use super::drain::DrainFlag;
use super::ext_authz::ExtAuthzFilter;
use super::http_manager::HttpConnectionManager;
use super::rbac::RbacFilter;
use super::tcp_proxy::TcpProxy;
use super::tls::TlsServer;
use crate::request_info::{AccessLog, NetworkExtension};
use arc_swap::ArcSwap;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

/// A listener.
#[derive(Debug)]
pub struct Listener {
    /// Name.
    pub name: Arc<str>,
    /// Hash of the content: an update with the same hash does nothing. 0: unknown.
    pub hash: u64,
    /// Addresses that it is bound to; the first is the one that connections are handed over by.
    pub addresses: Vec<SocketAddr>,
    /// Whether it has sockets of its own; otherwise it takes what a `use_original_dst` listener hands over.
    pub bind_to_port: bool,
    /// Take connections to addresses that are not the machine's own, as TPROXY delivers them; this needs CAP_NET_ADMIN.
    pub transparent: bool,
    /// Hand connections to the listener of their original address (the `virtualOutbound` listener).
    pub use_original_dst: bool,
    /// Which way traffic flows.
    pub direction: TrafficDirection,
    /// Listener filters.
    pub listener_filters: ListenerFilters,
    /// Filter chains; the best match takes the connection.
    pub filter_chains: Vec<Arc<FilterChain>>,
    /// The chain for what matches none.
    pub default_chain: Option<Arc<FilterChain>>,
    /// Soft limit of buffers, in bytes; 1 MiB by default.
    pub buffer_limit: u32,
    /// TCP keep-alive of accepted connections.
    pub keepalive: Option<super::cluster::TcpKeepalive>,
    /// Length of the accept queue.
    pub backlog: u32,
    /// Logs of connections that no filter chain takes.
    pub access_logs: Vec<Arc<dyn AccessLog>>,
    /// While the health check fails, answers close their connections (`drain_type: DEFAULT`).
    pub drains_when_failing: bool,
}

impl Listener {
    /// A bound listener with one filter chain for everything.
    pub fn simple(name: &str, address: SocketAddr, chain: FilterChain) -> Self {
        Listener {
            name: name.into(),
            hash: 0,
            addresses: vec![address],
            bind_to_port: true,
            transparent: false,
            use_original_dst: false,
            direction: TrafficDirection::Unspecified,
            listener_filters: ListenerFilters::default(),
            filter_chains: vec![Arc::new(chain)],
            default_chain: None,
            buffer_limit: 1 << 20,
            keepalive: None,
            backlog: 4096,
            access_logs: Vec::new(),
            drains_when_failing: true,
        }
    }
}

/// Which way traffic flows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TrafficDirection {
    /// Not said.
    #[default]
    Unspecified,
    /// To the application.
    Inbound,
    /// From the application.
    Outbound,
}

/// Listener filters: what is learned before a filter chain is chosen.
#[derive(Clone, Debug)]
pub struct ListenerFilters {
    /// Ask the kernel for the original destination.
    pub original_dst: bool,
    /// Let upstream connections bear the client's address; this needs CAP_NET_ADMIN.
    pub original_src: Option<OriginalSource>,
    /// Read the ClientHello; off for these original destination ports.
    pub tls_inspector: Option<PortExceptions>,
    /// Look for HTTP; off for these original destination ports.
    pub http_inspector: Option<PortExceptions>,
    /// Expect a PROXY protocol header.
    pub proxy_protocol: Option<ProxyProtocol>,
    /// Limit of all of them together; 15 s by default, zero: none.
    pub timeout: Duration,
    /// After the limit go on with what is known; otherwise close.
    pub continue_on_timeout: bool,
}

impl Default for ListenerFilters {
    fn default() -> Self {
        ListenerFilters {
            original_dst: false,
            original_src: None,
            tls_inspector: None,
            http_inspector: None,
            proxy_protocol: None,
            timeout: Duration::from_secs(15),
            continue_on_timeout: false,
        }
    }
}

/// Destination ports for which a listener filter is off.
pub type PortExceptions = Vec<RangeInclusive<u16>>;

/// How upstream connections bear the client's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OriginalSource {
    /// SO_MARK of these connections; none: that of the cluster.
    pub mark: Option<u32>,
}

/// PROXY protocol settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProxyProtocol {
    /// Let connections without the header pass.
    pub optional: bool,
}

/// A range of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cidr {
    /// The network address.
    pub address: IpAddr,
    /// Length of the prefix in bits.
    pub bits: u8,
}

impl Cidr {
    /// Whether the range holds `address`.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(net), IpAddr::V4(ip)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.bits.min(32))).unwrap_or(0);
                net.to_bits() & mask == ip.to_bits() & mask
            }
            (IpAddr::V6(net), IpAddr::V6(ip)) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.bits.min(128))).unwrap_or(0);
                net.to_bits() & mask == ip.to_bits() & mask
            }
            _ => false,
        }
    }
}

/// What a connection must be for a filter chain to take it. Empty lists match everything.
#[derive(Clone, Debug, Default)]
pub struct FilterChainMatch {
    /// Original destination port.
    pub destination_port: Option<u16>,
    /// Original destination address.
    pub prefix_ranges: Vec<Cidr>,
    /// Server names in lower case: exact or `*.suffix`.
    pub server_names: Vec<Box<str>>,
    /// `raw_buffer` or `tls`.
    pub transport_protocol: Option<TransportProtocol>,
    /// ALPN protocols, or what the HTTP inspector found (`http/1.0`, `http/1.1`, `h2c`).
    pub application_protocols: Vec<Box<str>>,
    /// Address of the direct peer.
    pub direct_source_ranges: Vec<Cidr>,
    /// Where the source must be.
    pub source_type: SourceType,
    /// Source address.
    pub source_ranges: Vec<Cidr>,
    /// Source ports.
    pub source_ports: Vec<u16>,
}

/// What the first bytes look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransportProtocol {
    /// Plain text.
    RawBuffer,
    /// TLS.
    Tls,
}

/// Where a connection comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SourceType {
    /// Anywhere.
    #[default]
    Any,
    /// The same address or loopback.
    SameIpOrLoopback,
    /// Another host.
    External,
}

/// Filters for connections that match.
#[derive(Debug)]
pub struct FilterChain {
    /// Name.
    pub name: Arc<str>,
    /// Hash of the content: an update with the same hash keeps connections. 0: unknown.
    pub hash: u64,
    /// What a connection must be.
    pub matches: FilterChainMatch,
    /// Server names of the listener's other chains. A request for one of them that comes over a connection of this
    /// chain is misdirected (RFC 9110, 15.5.20).
    pub foreign_names: ArcSwap<Vec<Box<str>>>,
    /// TLS; none: plain text.
    pub tls: Option<Arc<TlsServer>>,
    /// Limit of the TLS handshake; none: no limit.
    pub handshake_timeout: Option<Duration>,
    /// Filters before the last.
    pub filters: Vec<NetworkFilter>,
    /// The last filter.
    pub terminal: Terminal,
    /// Set when the chain was replaced or removed: connections end at the next chance.
    pub drain: DrainFlag,
}

impl FilterChain {
    /// A plain chain for everything.
    pub fn plain(terminal: Terminal) -> Self {
        FilterChain {
            name: "".into(),
            hash: 0,
            matches: FilterChainMatch::default(),
            foreign_names: ArcSwap::default(),
            tls: None,
            handshake_timeout: None,
            filters: Vec::new(),
            terminal,
            drain: DrainFlag::default(),
        }
    }
}

/// A filter before the last.
#[derive(Clone, Debug)]
pub enum NetworkFilter {
    /// Role-based access control.
    Rbac(Arc<RbacFilter>),
    /// External authorization.
    ExtAuthz(Arc<ExtAuthzFilter>),
    /// A filter that needs no waiting.
    Extension(Arc<dyn NetworkExtension>),
}

/// The filter that ends a chain.
#[derive(Clone, Debug)]
pub enum Terminal {
    /// HTTP.
    Http(Arc<HttpConnectionManager>),
    /// TCP.
    Tcp(Arc<TcpProxy>),
    /// Nothing: the connection is closed.
    Close,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_holds_what_shares_its_prefix() {
        let range = Cidr { address: "10.1.0.0".parse().unwrap(), bits: 16 };
        assert!(range.contains("10.1.2.3".parse().unwrap()));
        assert!(!range.contains("10.2.0.0".parse().unwrap()));
        assert!(Cidr { address: "0.0.0.0".parse().unwrap(), bits: 0 }.contains("1.2.3.4".parse().unwrap()));
        assert!(!Cidr { address: "::".parse().unwrap(), bits: 0 }.contains("1.2.3.4".parse().unwrap()));
    }
}
