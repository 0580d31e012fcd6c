//! Finding the filter chain of a connection, in Envoy's order of criteria. Each narrows the candidates to the most
//! specific that match; there is no way back (Envoy, `FilterChainMatch`).

use super::inspect::Sniffed;
use crate::config::{Cidr, FilterChain, FilterChainMatch, Listener, SourceType};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// What is known of a connection.
pub struct Facts<'a> {
    /// Original destination.
    pub local: SocketAddr,
    /// The peer.
    pub remote: SocketAddr,
    /// The peer's socket.
    pub direct_remote: SocketAddr,
    /// What its first bytes told.
    pub sniffed: &'a Sniffed,
}

/// The chain that takes the connection.
pub fn find<'a>(listener: &'a Listener, facts: &Facts<'_>) -> Option<&'a Arc<FilterChain>> {
    let mut left: Vec<&Arc<FilterChain>> = listener.filter_chains.iter().collect();
    if let [only] = &left[..]
        && is_any(&only.matches)
    {
        return Some(only);
    }
    let criteria: [fn(&FilterChainMatch, &Facts<'_>) -> Option<u32>; 9] = [
        |m, f| exact_or_any(m.destination_port.as_ref(), &f.local.port()),
        |m, f| longest(&m.prefix_ranges, f.local.ip()),
        |m, f| server_name(&m.server_names, f.sniffed.server_name.as_deref()),
        |m, f| exact_or_any(m.transport_protocol.as_ref(), &f.sniffed.transport),
        |m, f| application(&m.application_protocols, &f.sniffed.protocols),
        |m, f| longest(&m.direct_source_ranges, f.direct_remote.ip()),
        |m, f| source_type(m.source_type, f),
        |m, f| longest(&m.source_ranges, f.remote.ip()),
        |m, f| one_or_any(&m.source_ports, &f.remote.port()),
    ];
    for criterion in criteria {
        let scores: Vec<_> = left.iter().map(|chain| criterion(&chain.matches, facts)).collect();
        let best = scores.iter().copied().flatten().max();
        let Some(best) = best else { return listener.default_chain.as_ref() };
        let mut scores = scores.into_iter();
        left.retain(|_| scores.next().flatten() == Some(best));
    }
    left.first().copied().or(listener.default_chain.as_ref())
}

fn is_any(matches: &FilterChainMatch) -> bool {
    matches.destination_port.is_none()
        && matches.prefix_ranges.is_empty()
        && matches.server_names.is_empty()
        && matches.transport_protocol.is_none()
        && matches.application_protocols.is_empty()
        && matches.direct_source_ranges.is_empty()
        && matches.source_type == SourceType::Any
        && matches.source_ranges.is_empty()
        && matches.source_ports.is_empty()
}

/// Each criterion's score: none: no match; 0: it asks for nothing; else the more specific, the higher.
fn exact_or_any<T: PartialEq>(wanted: Option<&T>, is: &T) -> Option<u32> {
    match wanted {
        None => Some(0),
        Some(wanted) => (wanted == is).then_some(1),
    }
}

fn one_or_any<T: PartialEq>(wanted: &[T], is: &T) -> Option<u32> {
    if wanted.is_empty() { Some(0) } else { wanted.contains(is).then_some(1) }
}

fn longest(ranges: &[Cidr], address: IpAddr) -> Option<u32> {
    if ranges.is_empty() {
        return Some(0);
    }
    ranges.iter().filter(|range| range.contains(address)).map(|range| u32::from(range.bits) + 1).max()
}

/// Whether a request for `host` that came over a connection of this chain belongs to another one.
pub fn is_misdirected(chain: &FilterChain, host: &str) -> bool {
    let host = host.to_ascii_lowercase();
    let foreign = server_name(&chain.foreign_names.load(), Some(&host));
    foreign > Some(0) && foreign > server_name(&chain.matches.server_names, Some(&host))
}

fn server_name(wanted: &[Box<str>], is: Option<&str>) -> Option<u32> {
    if wanted.is_empty() {
        return Some(0);
    }
    let is = is?;
    let score = |wanted: &str| match wanted.strip_prefix('*') {
        Some(suffix) => (is.len() > suffix.len() && is.ends_with(suffix)).then_some(1 + suffix.len() as u32),
        None => (wanted == is).then_some(u32::MAX),
    };
    wanted.iter().filter_map(|wanted| score(wanted)).max()
}

fn application(wanted: &[Box<str>], is: &[Box<str>]) -> Option<u32> {
    if wanted.is_empty() {
        return Some(0);
    }
    // The client's first choice that a chain names wins.
    let position = is.iter().position(|protocol| wanted.contains(protocol))?;
    Some(u32::MAX - position as u32)
}

fn source_type(wanted: SourceType, facts: &Facts<'_>) -> Option<u32> {
    let (remote, local) = (facts.remote.ip(), facts.local.ip());
    let here = remote.is_loopback() || remote == local;
    match wanted {
        SourceType::Any => Some(0),
        SourceType::SameIpOrLoopback => here.then_some(1),
        SourceType::External => (!here).then_some(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Terminal, TransportProtocol};

    fn chain(name: &str, matches: FilterChainMatch) -> FilterChain {
        FilterChain { name: name.into(), matches, ..FilterChain::plain(Terminal::Close) }
    }

    fn found(chains: Vec<FilterChain>, local: &str, sniffed: &Sniffed) -> Option<String> {
        let address: SocketAddr = "0.0.0.0:15006".parse().unwrap();
        let mut listener = Listener::simple("l", address, chain("", FilterChainMatch::default()));
        listener.filter_chains = chains.into_iter().map(Arc::new).collect();
        let remote = "10.9.9.9:1".parse().unwrap();
        let facts = Facts { local: local.parse().unwrap(), remote, direct_remote: remote, sniffed };
        find(&listener, &facts).map(|chain| chain.name.to_string())
    }

    fn any() -> FilterChainMatch {
        FilterChainMatch::default()
    }

    #[test]
    fn the_destination_port_comes_before_everything() {
        let chains = || {
            let port = FilterChainMatch { destination_port: Some(80), ..any() };
            let ip = FilterChainMatch {
                prefix_ranges: vec![Cidr { address: [10, 0, 0, 1].into(), bits: 32 }],
                ..any()
            };
            vec![chain("port", port), chain("ip", ip), chain("any", any())]
        };
        assert_eq!(found(chains(), "10.0.0.1:80", &Sniffed::default()).as_deref(), Some("port"));
        assert_eq!(found(chains(), "10.0.0.1:81", &Sniffed::default()).as_deref(), Some("ip"));
        assert_eq!(found(chains(), "10.0.0.2:81", &Sniffed::default()).as_deref(), Some("any"));
    }

    #[test]
    fn server_names_match_exactly_then_by_the_longest_wildcard() {
        let chains = || {
            let of = |name: &str| chain(name, FilterChainMatch { server_names: vec![name.into()], ..any() });
            vec![of("*.a.com"), of("x.a.com"), of("*.com"), chain("any", any())]
        };
        let by = |name: &str| Sniffed { server_name: Some(name.into()), ..Sniffed::default() };
        assert_eq!(found(chains(), "1.1.1.1:1", &by("x.a.com")).as_deref(), Some("x.a.com"));
        assert_eq!(found(chains(), "1.1.1.1:1", &by("y.a.com")).as_deref(), Some("*.a.com"));
        assert_eq!(found(chains(), "1.1.1.1:1", &by("b.com")).as_deref(), Some("*.com"));
        assert_eq!(found(chains(), "1.1.1.1:1", &Sniffed::default()).as_deref(), Some("any"));
    }

    #[test]
    fn transport_and_application_protocols_tell_inbound_chains_apart() {
        let chains = || {
            let tls = FilterChainMatch { transport_protocol: Some(TransportProtocol::Tls), ..any() };
            let istio = FilterChainMatch { application_protocols: vec!["istio".into()], ..tls.clone() };
            let http = FilterChainMatch {
                transport_protocol: Some(TransportProtocol::RawBuffer),
                application_protocols: vec!["http/1.1".into(), "h2c".into()],
                ..any()
            };
            let raw = FilterChainMatch { application_protocols: Vec::new(), ..http.clone() };
            vec![chain("tls", tls), chain("istio", istio), chain("http", http), chain("raw", raw)]
        };
        let sniffed = |transport, protocols: &[&str]| Sniffed {
            transport,
            server_name: None,
            protocols: protocols.iter().map(|p| Box::from(*p)).collect(),
        };
        let by = |transport, protocols: &[&str]| {
            found(chains(), "1.1.1.1:1", &sniffed(transport, protocols)).unwrap()
        };
        assert_eq!(by(TransportProtocol::Tls, &["istio", "h2"]), "istio");
        assert_eq!(by(TransportProtocol::Tls, &["h2"]), "tls");
        assert_eq!(by(TransportProtocol::RawBuffer, &["http/1.1"]), "http");
        assert_eq!(by(TransportProtocol::RawBuffer, &[]), "raw");
    }

    #[test]
    fn nothing_takes_what_matches_nothing() {
        let chains = vec![chain("port", FilterChainMatch { destination_port: Some(80), ..any() })];
        assert_eq!(found(chains, "1.1.1.1:81", &Sniffed::default()), None);
    }
}
