//! What Lateen's own proxies agree on with clients: TLS 1.2 and 1.3, and of 1.2 the suites with forward secrecy and without CBC.

use super::gateway::CIPHER_SUITES;
use crate::networking::gateway::{ServerTlsMode, ServerTlsSettings, TlsProtocol};

/// Whether a server of a gateway leaves them anything to agree on.
pub fn is_possible(tls: &ServerTlsSettings) -> bool {
    let ends = [ServerTlsMode::Simple, ServerTlsMode::Mutual, ServerTlsMode::OptionalMutual];
    if !ends.contains(&tls.mode.unwrap_or_default()) {
        return true;
    }
    match tls.max_protocol_version {
        TlsProtocol::TlsAuto | TlsProtocol::TlsV1_3 => true,
        TlsProtocol::TlsV1_2 => tls.min_protocol_version <= TlsProtocol::TlsV1_2 && any_suite(tls),
        TlsProtocol::TlsV1_0 | TlsProtocol::TlsV1_1 => false,
    }
}

/// Names that nobody knows count for nothing: where there are no others, those of the proxy are taken.
fn any_suite(tls: &ServerTlsSettings) -> bool {
    let mut known = tls.cipher_suites.iter().filter(|name| CIPHER_SUITES.contains(&name.as_str())).peekable();
    known.peek().is_none() || known.any(|name| is_strong(name))
}

fn is_strong(name: &str) -> bool {
    let forward = ["ECDHE-ECDSA-", "ECDHE-RSA-"].iter().any(|start| name.starts_with(start));
    forward && (name.contains("-GCM-") || name.contains("CHACHA20"))
}
