//! The chains that one inbound port needs: plain or encrypted, HTTP or anything else.
//!
//! Source: Istio, "Mutual TLS" and "Protocol selection"; a connection of the mesh tells itself from TLS of the
//! application's own by the protocols that it announces (ALPN).

use lateen_mesh::{Mtls, Protocol};
use lateen_xds::pb::envoy::config::listener::v3::FilterChainMatch;

use super::inspect;
use crate::tls::{HTTP_ALPNS, TCP_ALPNS};

/// One chain of a port.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Variant {
    /// Which connections it is for, but for their port.
    pub matched: FilterChainMatch,
    /// Whether they are HTTP.
    pub http: bool,
    /// Whether they are the mesh's mutual TLS, which ends here.
    pub tls: bool,
}

/// The chains of a port by its protocol and by how it is to be spoken to. Where connections must be encrypted there is
/// no chain for plain ones: they are closed.
pub(super) fn variants(protocol: Protocol, mode: Mtls) -> Vec<Variant> {
    let http = |matched, tls| Variant { matched, http: true, tls };
    let tcp = |matched, tls| Variant { matched, http: false, tls };
    let anything = FilterChainMatch::default;
    let every: Vec<&str> = TCP_ALPNS.into_iter().chain(HTTP_ALPNS).collect();
    match (protocol, mode) {
        (Protocol::Auto, Mtls::Disable) => {
            vec![http(inspect::plain_http(), false), tcp(plain(), false), tcp(encrypted(&[]), false)]
        }
        (Protocol::Auto, Mtls::Permissive) => vec![
            http(encrypted(&HTTP_ALPNS), true),
            http(inspect::plain_http(), false),
            tcp(encrypted(&TCP_ALPNS), true),
            tcp(plain(), false),
            tcp(encrypted(&[]), false),
        ],
        (Protocol::Auto, Mtls::Strict) => {
            vec![http(encrypted(&HTTP_ALPNS), true), tcp(encrypted(&[]), true)]
        }
        (p, Mtls::Disable) if p.is_http() => vec![http(anything(), false)],
        (p, Mtls::Permissive) if p.is_http() => vec![http(encrypted(&every), true), http(plain(), false)],
        (p, Mtls::Strict) if p.is_http() => vec![http(encrypted(&[]), true)],
        (_, Mtls::Disable) => vec![tcp(anything(), false)],
        (_, Mtls::Permissive) => {
            vec![tcp(encrypted(&TCP_ALPNS), true), tcp(plain(), false), tcp(encrypted(&[]), false)]
        }
        (_, Mtls::Strict) => vec![tcp(encrypted(&[]), true)],
    }
}

/// The one chain of a port whose clients' own TLS ends at the sidecar; plain connections are closed.
pub(super) fn terminated(protocol: Protocol) -> Variant {
    Variant { matched: encrypted(&[]), http: protocol.is_http(), tls: false }
}

fn plain() -> FilterChainMatch {
    FilterChainMatch { transport_protocol: "raw_buffer".to_owned(), ..FilterChainMatch::default() }
}

fn encrypted(alpns: &[&str]) -> FilterChainMatch {
    FilterChainMatch {
        transport_protocol: "tls".to_owned(),
        application_protocols: alpns.iter().map(|alpn| (*alpn).to_owned()).collect(),
        ..FilterChainMatch::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strict_ports_have_no_chain_for_plain_connections() {
        for protocol in [Protocol::Auto, Protocol::Http, Protocol::Grpc, Protocol::Tcp, Protocol::Https] {
            let strict = variants(protocol, Mtls::Strict);
            assert!(strict.iter().all(|v| v.tls && v.matched.transport_protocol == "tls"), "{protocol:?}");
            let permissive = variants(protocol, Mtls::Permissive);
            assert!(permissive.iter().any(|v| v.tls) && permissive.iter().any(|v| !v.tls), "{protocol:?}");
            assert!(variants(protocol, Mtls::Disable).iter().all(|v| !v.tls), "{protocol:?}");
        }
    }
}
