//! What a TLS session tells about its peer.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::pki_types::CertificateDer;
use rustls::{HandshakeKind, ProtocolVersion};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};
use x509_parser::x509::X509Name;

/// Certificates of peers whose facts a worker remembers: a mesh shows few, on many connections.
const REMEMBERED: usize = 256;

/// A TLS session: what was agreed, and who the peer is.
#[derive(Clone, Debug, Default)]
pub struct TlsInfo {
    /// TLS version (`TLSv1.3`).
    pub version: &'static str,
    /// Cipher suite by its IANA name (`TLS_AES_128_GCM_SHA256`).
    pub cipher: &'static str,
    /// The ALPN protocol that was agreed.
    pub alpn: Option<Box<str>>,
    /// The session was resumed: no certificate was sent, the one of the first session counts.
    pub resumed: bool,
    /// Whether the peer's certificate led to a trusted authority. False also where none was asked for, or where
    /// untrusted ones are accepted.
    pub validated: bool,
    /// The peer's certificate; none when it showed none.
    pub peer: Option<Arc<CertificateInfo>>,
    /// Our own certificate.
    pub local: Option<Arc<CertificateInfo>>,
}

impl TlsInfo {
    /// URI subject alternative names of the peer's certificate (in a mesh its one SPIFFE identity).
    pub fn peer_uri_sans(&self) -> &[String] {
        self.peer.as_deref().map_or(&[], |peer| &peer.uri_sans)
    }

    /// DNS subject alternative names of the peer's certificate.
    pub fn peer_dns_sans(&self) -> &[String] {
        self.peer.as_deref().map_or(&[], |peer| &peer.dns_sans)
    }

    /// Subject of the peer's certificate (RFC 2253); none when it is empty.
    pub fn peer_subject(&self) -> Option<&str> {
        self.peer.as_deref().map(|peer| peer.subject.as_str()).filter(|subject| !subject.is_empty())
    }

    /// URI subject alternative names of our own certificate.
    pub fn local_uri_sans(&self) -> &[String] {
        self.local.as_deref().map_or(&[], |local| &local.uri_sans)
    }

    /// The peer's authenticated name: the first URI, else the first DNS name, else the subject (Envoy's RBAC
    /// `authenticated`). None where the peer showed no certificate, or one that nobody vouches for.
    pub fn principal(&self) -> Option<&str> {
        let peer = self.peer.as_deref().filter(|_| self.validated)?;
        let name = peer.uri_sans.first().or_else(|| peer.dns_sans.first());
        name.map(String::as_str).or_else(|| self.peer_subject())
    }

    /// Whether both ends showed a certificate that was verified.
    pub fn is_mutual(&self) -> bool {
        self.validated && self.peer.is_some()
    }
}

/// What a certificate says.
#[derive(Clone, Debug)]
pub struct CertificateInfo {
    /// URI subject alternative names.
    pub uri_sans: Vec<String>,
    /// DNS subject alternative names.
    pub dns_sans: Vec<String>,
    /// IP subject alternative names.
    pub ip_sans: Vec<std::net::IpAddr>,
    /// Subject as RFC 2253 writes it (`CN=a,O=b`); may be empty.
    pub subject: String,
    /// Issuer as RFC 2253 writes it.
    pub issuer: String,
    /// Serial number in hexadecimal, without colons.
    pub serial: String,
    /// SHA-256 of the certificate, in hexadecimal.
    pub sha256: String,
    /// Valid from.
    pub not_before: SystemTime,
    /// Valid until.
    pub not_after: SystemTime,
    /// The chain as it was sent, leaf first, in DER.
    pub chain: Vec<CertificateDer<'static>>,
}

impl CertificateInfo {
    /// Reads the first certificate of a chain.
    ///
    /// # Errors
    /// It is no certificate (RFC 5280).
    pub fn read(chain: &[CertificateDer<'_>]) -> Result<Self, String> {
        let leaf = chain.first().ok_or("the chain is empty")?;
        let (_, certificate) = X509Certificate::from_der(leaf).map_err(|error| error.to_string())?;
        let mut info = CertificateInfo {
            uri_sans: Vec::new(),
            dns_sans: Vec::new(),
            ip_sans: Vec::new(),
            subject: rfc2253(certificate.subject()),
            issuer: rfc2253(certificate.issuer()),
            serial: hex(certificate.raw_serial()),
            sha256: hex(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, leaf).as_ref()),
            not_before: moment(certificate.validity().not_before.timestamp()),
            not_after: moment(certificate.validity().not_after.timestamp()),
            chain: chain.iter().map(|certificate| certificate.clone().into_owned()).collect(),
        };
        let Ok(Some(names)) = certificate.subject_alternative_name() else { return Ok(info) };
        for name in &names.value.general_names {
            match name {
                GeneralName::URI(uri) => info.uri_sans.push((*uri).to_owned()),
                GeneralName::DNSName(name) => info.dns_sans.push((*name).to_owned()),
                GeneralName::IPAddress(bytes) => info.ip_sans.extend(address(bytes)),
                _ => {}
            }
        }
        Ok(info)
    }
}

fn address(bytes: &[u8]) -> Option<std::net::IpAddr> {
    let four = <[u8; 4]>::try_from(bytes).map(Into::into);
    four.or_else(|_| <[u8; 16]>::try_from(bytes).map(Into::into)).ok()
}

fn moment(timestamp: i64) -> SystemTime {
    let offset = Duration::from_secs(timestamp.unsigned_abs());
    let moment = if timestamp < 0 { UNIX_EPOCH.checked_sub(offset) } else { UNIX_EPOCH.checked_add(offset) };
    moment.unwrap_or(UNIX_EPOCH)
}

/// Bytes in lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// A name as RFC 2253 writes it: the last component first.
fn rfc2253(name: &X509Name<'_>) -> String {
    let components: Vec<_> = name.iter_rdn().collect();
    let mut text = String::new();
    for (index, component) in components.iter().rev().enumerate() {
        if index > 0 {
            text.push(',');
        }
        for (index, attribute) in component.iter().enumerate() {
            if index > 0 {
                text.push('+');
            }
            let oid = attribute.attr_type().to_id_string();
            text.push_str(attribute_name(&oid).unwrap_or(&oid));
            text.push('=');
            match attribute.as_str() {
                Ok(value) => escape(value, &mut text),
                Err(_) => {
                    text.push('#');
                    text.push_str(&hex(attribute.as_slice()));
                }
            }
        }
    }
    text
}

/// The short names that OpenSSL prints.
fn attribute_name(oid: &str) -> Option<&'static str> {
    Some(match oid {
        "2.5.4.3" => "CN",
        "2.5.4.4" => "SN",
        "2.5.4.5" => "serialNumber",
        "2.5.4.6" => "C",
        "2.5.4.7" => "L",
        "2.5.4.8" => "ST",
        "2.5.4.9" => "street",
        "2.5.4.10" => "O",
        "2.5.4.11" => "OU",
        "2.5.4.12" => "title",
        "2.5.4.42" => "GN",
        "0.9.2342.19200300.100.1.1" => "UID",
        "0.9.2342.19200300.100.1.25" => "DC",
        "1.2.840.113549.1.9.1" => "emailAddress",
        _ => return None,
    })
}

fn escape(value: &str, text: &mut String) {
    let last = value.chars().count().saturating_sub(1);
    for (index, c) in value.chars().enumerate() {
        let edge = (index == 0 && matches!(c, '#' | ' ')) || (index == last && c == ' ');
        if edge || matches!(c, ',' | '+' | '"' | '\\' | '<' | '>' | ';') {
            text.push('\\');
        }
        text.push(c);
    }
}

thread_local! {
    static SEEN: RefCell<HashMap<CertificateDer<'static>, Arc<CertificateInfo>>> = RefCell::default();
}

/// The facts of a peer's chain, read once a worker.
fn remembered(chain: &[CertificateDer<'static>]) -> Option<Arc<CertificateInfo>> {
    let leaf = chain.first()?;
    SEEN.with_borrow_mut(|seen| {
        if let Some(info) = seen.get(leaf).filter(|info| info.chain == chain) {
            return Some(info.clone());
        }
        let info = Arc::new(CertificateInfo::read(chain).ok()?);
        if seen.len() >= REMEMBERED {
            seen.clear();
        }
        seen.insert(leaf.clone(), info.clone());
        Some(info)
    })
}

/// Reads a session's facts. `verified`: a certificate that the peer shows was verified.
pub fn of(session: &rustls::CommonState, verified: bool) -> TlsInfo {
    let peer = remembered(session.peer_certificates().unwrap_or_default());
    TlsInfo {
        version: match session.protocol_version() {
            Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
            Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
            _ => "",
        },
        cipher: session.negotiated_cipher_suite().map_or("", |suite| cipher_name(suite.suite())),
        alpn: session.alpn_protocol().map(|protocol| String::from_utf8_lossy(protocol).into()),
        resumed: session.handshake_kind() == Some(HandshakeKind::Resumed),
        validated: verified && peer.is_some(),
        peer,
        local: None,
    }
}

/// The suite as OpenSSL (and so Envoy) calls it.
fn cipher_name(suite: rustls::CipherSuite) -> &'static str {
    use rustls::CipherSuite as S;
    match suite {
        S::TLS13_AES_128_GCM_SHA256 => "TLS_AES_128_GCM_SHA256",
        S::TLS13_AES_256_GCM_SHA384 => "TLS_AES_256_GCM_SHA384",
        S::TLS13_CHACHA20_POLY1305_SHA256 => "TLS_CHACHA20_POLY1305_SHA256",
        S::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 => "ECDHE-ECDSA-AES128-GCM-SHA256",
        S::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384 => "ECDHE-ECDSA-AES256-GCM-SHA384",
        S::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256 => "ECDHE-ECDSA-CHACHA20-POLY1305",
        S::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 => "ECDHE-RSA-AES128-GCM-SHA256",
        S::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384 => "ECDHE-RSA-AES256-GCM-SHA384",
        S::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256 => "ECDHE-RSA-CHACHA20-POLY1305",
        other => other.as_str().unwrap_or(""),
    }
}
