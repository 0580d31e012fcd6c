//! Which of several certificates a server shows.

use std::sync::Arc;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{CipherSuite, SignatureAlgorithm};

use super::names::covers;
use super::secret::Certificate;

/// Chooses by server name, then by the kind of key that the client can check: ECDSA before RSA, as Envoy.
#[derive(Debug)]
pub(super) struct Resolver(pub(super) Vec<Arc<Certificate>>);

impl Resolver {
    /// The certificate for a client.
    pub(super) fn choose(&self, hello: &ClientHello<'_>) -> Option<&Arc<Certificate>> {
        if let [only] = &self.0[..] {
            return Some(only);
        }
        let name = hello.server_name();
        let exact = |c: &Certificate| {
            name.is_some_and(|name| c.info.dns_sans.iter().any(|san| san.eq_ignore_ascii_case(name)))
        };
        let wild =
            |c: &Certificate| name.is_some_and(|name| c.info.dns_sans.iter().any(|san| covers(san, name)));
        let of = |matches: &dyn Fn(&Certificate) -> bool| {
            best(self.0.iter().filter(|certificate| matches(certificate)), hello)
        };
        // A name that no certificate bears gets the first, for the client to judge.
        of(&exact).or_else(|| of(&wild)).or_else(|| of(&|_| true)).or_else(|| self.0.first())
    }
}

/// The best of those whose key the client can check.
fn best<'a>(
    candidates: impl Iterator<Item = &'a Arc<Certificate>>,
    hello: &ClientHello<'_>,
) -> Option<&'a Arc<Certificate>> {
    let usable = candidates.filter(|certificate| {
        certificate.key.key.choose_scheme(hello.signature_schemes()).is_some()
            && suits(certificate.key.key.algorithm(), hello.cipher_suites())
    });
    usable.min_by_key(|certificate| certificate.key.key.algorithm() == SignatureAlgorithm::RSA)
}

/// Suites of TLS 1.2 name the kind of key.
fn suits(key: SignatureAlgorithm, offered: &[CipherSuite]) -> bool {
    let name = match key {
        SignatureAlgorithm::RSA => "_RSA_",
        _ => "_ECDSA_",
    };
    offered
        .iter()
        .filter_map(CipherSuite::as_str)
        .any(|suite| suite.starts_with("TLS13_") || suite.contains(name))
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, client_hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.choose(&client_hello).map(|certificate| certificate.key.clone())
    }
}
