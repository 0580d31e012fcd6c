//! Protocol versions, cipher suites and key exchange.

use std::sync::{Arc, LazyLock};

use rustls::crypto::{CryptoProvider, SupportedKxGroup, aws_lc_rs};
use rustls::{SupportedCipherSuite, SupportedProtocolVersion};

/// One provider for every context that asks for nothing special.
static DEFAULT: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| Arc::new(aws_lc_rs::default_provider()));

/// What a handshake may agree on.
#[derive(Clone, Debug)]
pub struct Parameters {
    /// Versions, best first.
    pub versions: Vec<&'static SupportedProtocolVersion>,
    /// Suites and groups.
    pub provider: Arc<CryptoProvider>,
}

impl Default for Parameters {
    fn default() -> Self {
        Parameters {
            versions: vec![&rustls::version::TLS13, &rustls::version::TLS12],
            provider: DEFAULT.clone(),
        }
    }
}

/// A cipher suite by a name of Envoy's.
#[derive(Clone, Copy, Debug)]
pub struct Suite;

impl Suite {
    /// The TLS 1.2 suite that BoringSSL or IANA calls so. `Ok(None)`: one that BoringSSL knows and that is too weak to
    /// be offered here (no forward secrecy, or CBC), or for keys that nobody shares beforehand (PSK).
    ///
    /// # Errors
    /// Nobody knows the name.
    pub fn parse(name: &str) -> Result<Option<SupportedCipherSuite>, String> {
        use aws_lc_rs::cipher_suite as s;
        Ok(Some(match name {
            "ECDHE-ECDSA-AES128-GCM-SHA256" | "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256" => {
                s::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
            }
            "ECDHE-ECDSA-AES256-GCM-SHA384" | "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384" => {
                s::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384
            }
            "ECDHE-ECDSA-CHACHA20-POLY1305" | "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256" => {
                s::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256
            }
            "ECDHE-RSA-AES128-GCM-SHA256" | "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256" => {
                s::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256
            }
            "ECDHE-RSA-AES256-GCM-SHA384" | "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384" => {
                s::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384
            }
            "ECDHE-RSA-CHACHA20-POLY1305" | "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256" => {
                s::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256
            }
            "ECDHE-ECDSA-AES128-SHA"
            | "ECDHE-ECDSA-AES256-SHA"
            | "ECDHE-RSA-AES128-SHA"
            | "ECDHE-RSA-AES256-SHA"
            | "AES128-GCM-SHA256"
            | "AES256-GCM-SHA384"
            | "AES128-SHA"
            | "AES256-SHA"
            | "DES-CBC3-SHA"
            | "ECDHE-PSK-CHACHA20-POLY1305"
            | "ECDHE-PSK-AES128-CBC-SHA"
            | "ECDHE-PSK-AES256-CBC-SHA"
            | "PSK-AES128-CBC-SHA"
            | "PSK-AES256-CBC-SHA"
            | "ECDHE-RSA-AES128-SHA256"
            | "ECDHE-ECDSA-AES128-SHA256"
            | "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256"
            | "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256"
            | "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA"
            | "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA"
            | "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA"
            | "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA"
            | "TLS_RSA_WITH_AES_128_CBC_SHA"
            | "TLS_RSA_WITH_AES_256_CBC_SHA"
            | "TLS_RSA_WITH_AES_128_GCM_SHA256"
            | "TLS_RSA_WITH_AES_256_GCM_SHA384"
            | "TLS_RSA_WITH_3DES_EDE_CBC_SHA" => return Ok(None),
            // Those of TLS 1.3 are always on, and cannot be chosen.
            "TLS_AES_128_GCM_SHA256" | "TLS_AES_256_GCM_SHA384" | "TLS_CHACHA20_POLY1305_SHA256" => {
                return Ok(None);
            }
            _ => return Err(format!("`{name}` is no cipher suite")),
        }))
    }
}

/// A group of key exchange by a name of Envoy's.
#[derive(Clone, Copy, Debug)]
pub struct KeyExchange;

impl KeyExchange {
    /// The group that BoringSSL calls so. `Ok(None)`: one that BoringSSL knows and that is not supported here.
    ///
    /// # Errors
    /// Nobody knows the name.
    pub fn parse(name: &str) -> Result<Option<&'static dyn SupportedKxGroup>, String> {
        use aws_lc_rs::kx_group as g;
        Ok(Some(match name {
            "X25519" => g::X25519,
            "P-256" | "prime256v1" | "secp256r1" => g::SECP256R1,
            "P-384" | "secp384r1" => g::SECP384R1,
            "X25519MLKEM768" => g::X25519MLKEM768,
            "P-521" | "secp521r1" => return Ok(None),
            _ => return Err(format!("`{name}` is no curve; X25519MLKEM768, X25519, P-256 and P-384 are")),
        }))
    }
}

impl Parameters {
    /// Restricts suites of TLS 1.2 (those of 1.3 are always on, as in Envoy) and groups; empty lists restrict nothing.
    ///
    /// # Errors
    /// A name is not known, or nothing is left.
    pub fn restrict(&mut self, suites: &[String], groups: &[String]) -> Result<(), String> {
        if suites.is_empty() && groups.is_empty() {
            return Ok(());
        }
        let mut provider = CryptoProvider::clone(&self.provider);
        if !suites.is_empty() {
            let mut wanted = Vec::new();
            // Envoy writes alternatives of equal rank as `[A|B]`.
            let names = suites.iter().flat_map(|name| name.trim_matches(['[', ']']).split('|'));
            for name in names {
                wanted.extend(Suite::parse(name)?);
            }
            if wanted.is_empty()
                && self.versions.iter().all(|v| v.version == rustls::ProtocolVersion::TLSv1_2)
            {
                return Err("none of the cipher suites is supported".to_owned());
            }
            provider.cipher_suites.retain(|suite| suite.tls13().is_some());
            if wanted.is_empty() {
                self.versions.retain(|v| v.version != rustls::ProtocolVersion::TLSv1_2);
            }
            provider.cipher_suites.extend(wanted);
        }
        if !groups.is_empty() {
            let known: Result<Vec<_>, _> = groups.iter().map(|name| KeyExchange::parse(name)).collect();
            provider.kx_groups = known?.into_iter().flatten().collect();
            if provider.kx_groups.is_empty() {
                return Err(format!("none of the curves {} is supported", groups.join(", ")));
            }
        }
        self.provider = Arc::new(provider);
        Ok(())
    }
}
