//! What a TLS session tells about its peer.

use crate::request_info::TlsInfo;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// Reads a session's facts.
pub fn of(session: &rustls::CommonState) -> TlsInfo {
    let mut info = TlsInfo {
        version: match session.protocol_version() {
            Some(rustls::ProtocolVersion::TLSv1_3) => "TLSv1.3",
            Some(rustls::ProtocolVersion::TLSv1_2) => "TLSv1.2",
            _ => "",
        },
        cipher: session
            .negotiated_cipher_suite()
            .and_then(|suite| suite.suite().as_str())
            .map(|name| name.replace("TLS13_", "TLS_"))
            .unwrap_or_default(),
        alpn: session.alpn_protocol().map(|protocol| String::from_utf8_lossy(protocol).into_owned()),
        ..TlsInfo::default()
    };
    let certificates = session.peer_certificates().unwrap_or_default();
    info.peer_certificates = certificates.iter().map(|certificate| certificate.to_vec()).collect();
    if let Some(leaf) = certificates.first() {
        read_leaf(leaf, &mut info);
    }
    info
}

fn read_leaf(der: &[u8], info: &mut TlsInfo) {
    let Ok((_, certificate)) = X509Certificate::from_der(der) else { return };
    info.peer_subject = Some(certificate.subject().to_string()).filter(|subject| !subject.is_empty());
    let Ok(Some(names)) = certificate.subject_alternative_name() else { return };
    for name in &names.value.general_names {
        match name {
            GeneralName::URI(uri) => info.peer_uri_sans.push((*uri).to_owned()),
            GeneralName::DNSName(name) => info.peer_dns_sans.push((*name).to_owned()),
            _ => {}
        }
    }
}
