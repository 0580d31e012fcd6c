//! The element of `x-forwarded-client-cert` that tells of a client's certificate (Envoy's XFCC).

use crate::config::CertFields;
use crate::request_info::TlsInfo;

/// `By=...;Hash=...;Subject="...";URI=...` with the fields that are wanted. The hash is the certificate's SHA-256.
pub fn element(fields: CertFields, tls: &TlsInfo) -> Vec<u8> {
    let mut parts = Vec::new();
    parts.extend(tls.local_uri_sans.iter().map(|uri| format!("By={uri}")));
    if let Some(hash) = &tls.peer_hash {
        parts.push(format!("Hash={hash}"));
    }
    if let (true, Some(subject)) = (fields.subject, &tls.peer_subject) {
        parts.push(format!("Subject=\"{}\"", subject.replace('"', "\\\"")));
    }
    if fields.uri {
        let uri = tls.peer_uri_sans.first().map_or("", String::as_str);
        parts.push(format!("URI={uri}"));
    }
    if fields.dns {
        parts.extend(tls.peer_dns_sans.iter().map(|name| format!("DNS={name}")));
    }
    parts.join(";").into_bytes()
}
