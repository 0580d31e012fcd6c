//! The element of `x-forwarded-client-cert` that tells of a client's certificate (Envoy's XFCC).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::config::CertFields;
use crate::request_info::{CertificateInfo, TlsInfo};

/// `By=...;Hash=...;Subject="...";URI=...` with the fields that are wanted, in Envoy's order. The hash is the
/// certificate's SHA-256. Nothing without a certificate.
pub fn element(fields: CertFields, tls: &TlsInfo) -> Vec<u8> {
    let Some(peer) = &tls.peer else { return Vec::new() };
    let mut parts: Vec<String> = tls.local_uri_sans().iter().map(|uri| format!("By={uri}")).collect();
    parts.push(format!("Hash={}", peer.sha256));
    if fields.cert {
        parts.push(format!("Cert=\"{}\"", url_encoded_pem(peer, 1)));
    }
    if fields.chain {
        parts.push(format!("Chain=\"{}\"", url_encoded_pem(peer, usize::MAX)));
    }
    if fields.subject {
        parts.push(format!("Subject=\"{}\"", peer.subject.replace('\\', "\\\\").replace('"', "\\\"")));
    }
    if fields.uri {
        if peer.uri_sans.is_empty() {
            parts.push("URI=".to_owned());
        }
        parts.extend(peer.uri_sans.iter().map(|uri| format!("URI={uri}")));
    }
    if fields.dns {
        parts.extend(peer.dns_sans.iter().map(|name| format!("DNS={name}")));
    }
    parts.join(";").into_bytes()
}

/// The first certificates of the chain as PEM, percent-encoded.
pub fn url_encoded_pem(peer: &CertificateInfo, count: usize) -> String {
    let mut out = String::new();
    for certificate in peer.chain.iter().take(count) {
        out.push_str("-----BEGIN%20CERTIFICATE-----%0A");
        let text = STANDARD.encode(certificate);
        for line in text.as_bytes().chunks(64) {
            for byte in line {
                match byte {
                    b'+' => out.push_str("%2B"),
                    b'/' => out.push_str("%2F"),
                    b'=' => out.push_str("%3D"),
                    other => out.push(char::from(*other)),
                }
            }
            out.push_str("%0A");
        }
        out.push_str("-----END%20CERTIFICATE-----%0A");
    }
    out
}
