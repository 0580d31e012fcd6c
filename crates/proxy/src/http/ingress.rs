//! What the connection manager does to a request before routing (Envoy's `ConnectionManagerUtility`): addresses,
//! request id, path, and headers that outsiders must not send.

use super::downstream::Connection;
use super::path;
use super::{RequestHead, Scheme};
use crate::config::{Cidr, EscapedSlashes, ForwardClientCert, HttpConnectionManager, StripPort};
use crate::error::LocalReply;
use crate::request_info::{Protocol, RequestInfo, ResponseFlags};
use bytes::Bytes;
use std::net::{IpAddr, SocketAddr};

/// Headers by which insiders steer a request; outsiders' are removed.
const INTERNAL_ONLY: [&str; 15] = [
    "x-envoy-retriable-status-codes",
    "x-envoy-retriable-header-names",
    "x-envoy-retry-on",
    "x-envoy-retry-grpc-on",
    "x-envoy-max-retries",
    "x-envoy-upstream-alt-stat-name",
    "x-envoy-upstream-rq-timeout-ms",
    "x-envoy-upstream-rq-per-try-timeout-ms",
    "x-envoy-upstream-rq-timeout-alt-response",
    "x-envoy-expected-rq-timeout-ms",
    "x-envoy-force-trace",
    "x-envoy-ip-tags",
    // Outsiders could forge what logs and traces say: CVE-2023-27487.
    "x-envoy-original-path",
    "x-envoy-original-url",
    "x-envoy-hedge-on-per-try-timeout",
];

/// Headers that the first proxy an outside request meets removes as well.
const EDGE_ONLY: [&str; 3] =
    ["x-envoy-decorator-operation", "x-envoy-downstream-service-cluster", "x-envoy-downstream-service-node"];

/// Makes a request ready for routing; tells whether it comes from outside.
///
/// # Errors
/// The answer to a request that must not go on.
pub fn prepare(
    connection: &Connection,
    head: &mut RequestHead,
    info: &mut RequestInfo,
) -> Result<bool, Box<LocalReply>> {
    let manager = &*connection.manager;
    if info.protocol == Some(Protocol::Http2) && !connection.chain.foreign_names.load().is_empty() {
        directed(connection, head)?;
    }
    normalize(manager, head, connection.info.local.port())?;
    head.scheme = if connection.info.tls.is_some() { Scheme::Https } else { Scheme::Http };
    let external = addresses(connection, head, info);
    sanitize(head, external, external && manager.use_remote_address);
    request_id(manager, head, external);
    client_cert(manager, head, connection);
    if let Some(via) = &manager.via {
        head.headers.append("via", via.clone());
    }
    info.grpc = head.is_grpc();
    Ok(external)
}

/// Refuses a request that belongs on another connection: one that was made for another server name may have shown
/// another certificate, and asked the client for none. Clients reuse HTTP/2 connections for every name of a
/// certificate (RFC 9113, 9.1.1).
fn directed(connection: &Connection, head: &RequestHead) -> Result<(), Box<LocalReply>> {
    let authority = String::from_utf8_lossy(&head.authority);
    let host = crate::config::without_port(&authority);
    if crate::listener::is_misdirected(&connection.chain, host) {
        let reply = LocalReply::new(421, "", ResponseFlags::default(), "misdirected_request");
        return Err(Box::new(reply));
    }
    Ok(())
}

fn normalize(
    manager: &HttpConnectionManager,
    head: &mut RequestHead,
    port: u16,
) -> Result<(), Box<LocalReply>> {
    let bad = |details| Box::new(LocalReply::new(400, "", ResponseFlags::default(), details));
    // What stands behind `#` would be seen by the upstream, but by no policy.
    if memchr::memchr(b'#', &head.path).is_some() {
        return Err(bad("path_normalization_failed"));
    }
    let mut redirect = false;
    if manager.escaped_slashes != EscapedSlashes::Keep && path::has_escaped_slash(&head.path) {
        if manager.escaped_slashes == EscapedSlashes::Reject {
            return Err(bad("path_normalization_failed"));
        }
        redirect = manager.escaped_slashes == EscapedSlashes::UnescapeAndRedirect;
        head.path = path::unescape_slashes(&head.path);
    }
    if manager.normalize_path && head.path.first() == Some(&b'/') {
        match path::normalize(&head.path) {
            Some(Some(clean)) => head.path = clean,
            Some(None) => {}
            None => return Err(bad("path_normalization_failed")),
        }
    }
    if manager.merge_slashes
        && let Some(merged) = path::merge_slashes(&head.path)
    {
        head.path = merged;
    }
    if redirect {
        let mut reply = LocalReply::new(307, "", ResponseFlags::default(), "path_normalization_failed");
        reply.headers.push(("location", head.path.clone()));
        return Err(Box::new(reply));
    }
    if manager.strip_port != StripPort::No {
        strip_port(manager.strip_port, head, port);
    }
    Ok(())
}

fn strip_port(strip: StripPort, head: &mut RequestHead, port: u16) {
    let Ok(text) = std::str::from_utf8(&head.authority) else { return };
    let host = crate::config::without_port(text);
    let matching = || text[host.len()..].strip_prefix(':').and_then(|text| text.parse().ok()) == Some(port);
    if host.len() < text.len() && (strip == StripPort::Any || matching()) {
        head.authority = head.authority.slice(..host.len());
    }
}

/// Finds the trusted client address, and adds to `x-forwarded-for` and `x-forwarded-proto`; tells whether the
/// request comes from outside (Envoy, "HTTP header manipulation: x-forwarded-for").
fn addresses(connection: &Connection, head: &mut RequestHead, info: &mut RequestInfo) -> bool {
    let manager = &*connection.manager;
    let direct = connection.info.remote;
    let scheme = head.scheme.as_str();
    if !manager.use_remote_address {
        if let Some(client) = from_forwarded(head, manager.xff_num_trusted_hops) {
            info.remote = client;
        }
        if !head.headers.contains("x-forwarded-proto") {
            head.headers.append_static("x-forwarded-proto", scheme);
        }
        // Envoy: internal only when x-forwarded-for holds one internal address, and nothing else.
        let single = head.headers.joined("x-forwarded-for").and_then(|all| parse_ip(&all));
        return !single.is_some_and(|ip| is_internal(manager.internal_ranges.as_deref(), ip));
    }
    let mut single = !head.headers.contains("x-forwarded-for");
    if manager.xff_num_trusted_hops > 0
        && let Some(client) = from_forwarded(head, manager.xff_num_trusted_hops - 1)
    {
        info.remote = client;
        single = false;
    }
    if !manager.skip_xff_append {
        append_forwarded_for(head, direct.ip());
    }
    if manager.xff_num_trusted_hops == 0 || !head.headers.contains("x-forwarded-proto") {
        head.headers.set_static("x-forwarded-proto", scheme);
    }
    let external = !single || !is_internal(manager.internal_ranges.as_deref(), info.remote.ip());
    if external {
        let address = info.remote.ip().to_string();
        head.headers.set("x-envoy-external-address", address);
    }
    external
}

/// The address `hops` from the right of `x-forwarded-for`.
fn from_forwarded(head: &RequestHead, hops: u32) -> Option<SocketAddr> {
    let all = head.headers.joined("x-forwarded-for")?;
    let entry = all.rsplit(|byte| *byte == b',').nth(hops as usize)?;
    parse_ip(entry).map(|ip| SocketAddr::new(ip, 0))
}

fn parse_ip(text: &[u8]) -> Option<IpAddr> {
    std::str::from_utf8(text).ok()?.trim().parse().ok()
}

fn append_forwarded_for(head: &mut RequestHead, address: IpAddr) {
    let address = address.to_string();
    let value = match head.headers.joined("x-forwarded-for") {
        Some(old) if !old.is_empty() => Bytes::from([&old[..], b",", address.as_bytes()].concat()),
        _ => Bytes::from(address),
    };
    head.headers.set("x-forwarded-for", value);
}

/// Whether an address is inside: in a configured range. Private addresses are not by themselves, as in Envoy since 1.33
/// (CVE-2024-45806): whoever reaches a gateway from a private address could set timeouts and retries of the mesh.
pub fn is_internal(ranges: Option<&[Cidr]>, address: IpAddr) -> bool {
    ranges.is_some_and(|ranges| ranges.iter().any(|range| range.contains(address)))
}

/// `edge`: the first proxy that an outside request meets.
fn sanitize(head: &mut RequestHead, external: bool, edge: bool) {
    // One look tells that there is nothing to do, which is the rule.
    if external && head.headers.iter().any(|(name, _)| name.starts_with(b"x-envoy-")) {
        for name in INTERNAL_ONLY {
            head.headers.remove(name);
        }
        if edge {
            for name in EDGE_ONLY {
                head.headers.remove(name);
            }
        }
    }
    if external {
        head.headers.remove("x-envoy-internal");
    } else {
        head.headers.set_static("x-envoy-internal", "true");
    }
}

fn request_id(manager: &HttpConnectionManager, head: &mut RequestHead, external: bool) {
    if !manager.generate_request_id {
        return;
    }
    let keep = manager.preserve_request_id || !(external && manager.use_remote_address);
    if !(keep && head.headers.contains("x-request-id")) {
        let mut text = [0u8; 36];
        uuid::Uuid::new_v4().hyphenated().encode_lower(&mut text);
        head.headers.set("x-request-id", Bytes::copy_from_slice(&text));
    }
}

fn client_cert(manager: &HttpConnectionManager, head: &mut RequestHead, connection: &Connection) {
    let mutual = connection.info.tls.as_ref().filter(|tls| tls.peer.is_some());
    match (&manager.client_cert, mutual) {
        (ForwardClientCert::AlwaysForwardOnly, _) | (ForwardClientCert::ForwardOnly, Some(_)) => {}
        (ForwardClientCert::AppendForward(fields), Some(tls)) => {
            let element = super::client_cert::element(*fields, tls);
            let value = match head.headers.joined("x-forwarded-client-cert") {
                Some(old) => [&old[..], b",", &element].concat(),
                None => element,
            };
            head.headers.set("x-forwarded-client-cert", value);
        }
        (ForwardClientCert::SanitizeSet(fields), Some(tls)) => {
            head.headers.set("x-forwarded-client-cert", super::client_cert::element(*fields, tls));
        }
        _ => {
            head.headers.remove("x-forwarded-client-cert");
        }
    }
}
