//! Envoy's `ssl.*` counters of a listener or cluster.

use super::verify::Mismatch;
use crate::tls_info::TlsInfo;
use crate::upstream::stats::Count;

macro_rules! counters {
    ($($field:ident = $name:literal,)*) => {
        /// One worker's counters of TLS.
        #[derive(Debug, Default)]
        #[repr(align(64))]
        pub struct TlsShard { $(#[doc = concat!("Envoy's `", $name, "`.")] pub $field: Count,)* }

        impl TlsStats {
            /// Names and sums over all workers; those that are 0 are left out where there was no handshake.
            pub fn read(&self) -> Vec<(&'static str, u64)> {
                let sum = |of: fn(&TlsShard) -> &Count| {
                    self.0.iter().fold(0u64, |sum, shard| sum.wrapping_add(of(shard).get()))
                };
                let all = vec![$(($name, sum(|shard| &shard.$field)),)*];
                if all.iter().all(|(_, value)| *value == 0) { Vec::new() } else { all }
            }
        }
    };
}

counters! {
    handshake = "ssl.handshake",
    connection_error = "ssl.connection_error",
    session_reused = "ssl.session_reused",
    no_certificate = "ssl.no_certificate",
    fail_verify_no_cert = "ssl.fail_verify_no_cert",
    fail_verify_error = "ssl.fail_verify_error",
    fail_verify_san = "ssl.fail_verify_san",
    fail_verify_cert_hash = "ssl.fail_verify_cert_hash",
    tls12 = "ssl.versions.TLSv1.2",
    tls13 = "ssl.versions.TLSv1.3",
    aes128 = "ssl.ciphers.TLS_AES_128_GCM_SHA256",
    aes256 = "ssl.ciphers.TLS_AES_256_GCM_SHA384",
    chacha20 = "ssl.ciphers.TLS_CHACHA20_POLY1305_SHA256",
    ecdsa_aes128 = "ssl.ciphers.ECDHE-ECDSA-AES128-GCM-SHA256",
    ecdsa_aes256 = "ssl.ciphers.ECDHE-ECDSA-AES256-GCM-SHA384",
    ecdsa_chacha20 = "ssl.ciphers.ECDHE-ECDSA-CHACHA20-POLY1305",
    rsa_aes128 = "ssl.ciphers.ECDHE-RSA-AES128-GCM-SHA256",
    rsa_aes256 = "ssl.ciphers.ECDHE-RSA-AES256-GCM-SHA384",
    rsa_chacha20 = "ssl.ciphers.ECDHE-RSA-CHACHA20-POLY1305",
}

/// Counters of TLS, a shard a worker.
#[derive(Debug)]
pub struct TlsStats(Box<[TlsShard]>);

impl TlsStats {
    /// Counters for `workers` workers.
    pub fn new(workers: usize) -> Self {
        TlsStats((0..workers.max(1)).map(|_| TlsShard::default()).collect())
    }

    /// The shard of a worker.
    pub fn of(&self, worker: usize) -> &TlsShard {
        &self.0[worker % self.0.len()]
    }
}

impl TlsShard {
    /// Counts a handshake that succeeded.
    pub fn succeeded(&self, info: &TlsInfo) {
        self.handshake.inc();
        if info.resumed {
            self.session_reused.inc();
        }
        if info.peer.is_none() {
            self.no_certificate.inc();
        }
        match info.version {
            "TLSv1.3" => self.tls13.inc(),
            _ => self.tls12.inc(),
        }
        match info.cipher {
            "TLS_AES_128_GCM_SHA256" => self.aes128.inc(),
            "TLS_AES_256_GCM_SHA384" => self.aes256.inc(),
            "TLS_CHACHA20_POLY1305_SHA256" => self.chacha20.inc(),
            "ECDHE-ECDSA-AES128-GCM-SHA256" => self.ecdsa_aes128.inc(),
            "ECDHE-ECDSA-AES256-GCM-SHA384" => self.ecdsa_aes256.inc(),
            "ECDHE-ECDSA-CHACHA20-POLY1305" => self.ecdsa_chacha20.inc(),
            "ECDHE-RSA-AES128-GCM-SHA256" => self.rsa_aes128.inc(),
            "ECDHE-RSA-AES256-GCM-SHA384" => self.rsa_aes256.inc(),
            "ECDHE-RSA-CHACHA20-POLY1305" => self.rsa_chacha20.inc(),
            _ => {}
        }
    }

    /// Counts a handshake that failed; `error` where TLS itself says why.
    pub fn failed(&self, error: Option<&rustls::Error>) {
        self.connection_error.inc();
        let Some(error) = error else { return };
        match (Mismatch::of(error), error) {
            (Some(Mismatch::San), _) => self.fail_verify_san.inc(),
            (Some(Mismatch::Hash), _) => self.fail_verify_cert_hash.inc(),
            (None, rustls::Error::NoCertificatesPresented) => self.fail_verify_no_cert.inc(),
            (None, rustls::Error::InvalidCertificate(_)) => self.fail_verify_error.inc(),
            _ => {}
        }
    }
}
