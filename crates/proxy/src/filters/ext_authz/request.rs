//! What an authorization service is told (`envoy.service.auth.v3.CheckRequest`).

use super::body::Body;
use crate::config::{ExtAuthzFilter, Metadata, StringMatcher};
use crate::convert::metadata::to_struct;
use crate::http::RequestHead;
use crate::http::client_cert::url_encoded_pem;
use crate::http::exchange::Exchange;
use crate::request_info::{ConnectionInfo, RequestInfo, TlsInfo};
use lateen_xds::pb::envoy::config::core::v3 as core;
use lateen_xds::pb::envoy::service::auth::v3::attribute_context::{HttpRequest, Peer, Request, TlsSession};
use lateen_xds::pb::envoy::service::auth::v3::{AttributeContext, CheckRequest};
use lateen_xds::pb::google::protobuf::Timestamp;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::UNIX_EPOCH;

/// What is told of a request.
pub(super) fn check(
    exchange: &Exchange<'_>,
    filter: &ExtAuthzFilter,
    extensions: &[(Box<str>, Box<str>)],
    body: Option<&Body>,
) -> CheckRequest {
    let (info, head) = (&exchange.info, &exchange.head);
    let mut context = connection(info, filter);
    if let (Some(source), Some(service)) =
        (&mut context.source, head.headers.get_str("x-envoy-downstream-service-cluster"))
    {
        source.service = service.to_owned();
    }
    let mut http = http_request(info, head, filter);
    if let Some(body) = body {
        if body.raw {
            http.raw_body = body.bytes.to_vec();
        } else {
            http.body = String::from_utf8_lossy(&body.bytes).into_owned();
        }
        http.headers.insert("x-envoy-auth-partial-body".to_owned(), body.cut.to_string());
    }
    context.request = Some(Request { time: Some(time(info)), http: Some(http) });
    let own = |(key, value): &(Box<str>, Box<str>)| (key.to_string(), value.to_string());
    context.context_extensions = extensions.iter().map(own).collect();
    CheckRequest { attributes: Some(context) }
}

/// What is told of a connection.
pub(super) fn connection(info: &RequestInfo, filter: &ExtAuthzFilter) -> AttributeContext {
    let connection = &info.connection;
    let tls_session = filter
        .tls_session
        .then(|| TlsSession { sni: connection.server_name.as_deref().unwrap_or_default().to_owned() });
    AttributeContext {
        source: Some(source(connection, filter.peer_certificate)),
        destination: Some(Peer {
            address: Some(address(connection.local)),
            principal: first(connection.tls.as_deref().map(TlsInfo::local_uri_sans)),
            ..Peer::default()
        }),
        metadata_context: Some(metadata(&info.metadata, &filter.metadata_namespaces)),
        tls_session,
        ..AttributeContext::default()
    }
}

fn first(names: Option<&[String]>) -> String {
    names.and_then(|names| names.first()).cloned().unwrap_or_default()
}

fn source(connection: &ConnectionInfo, certificate: bool) -> Peer {
    let mut peer = Peer { address: Some(address(connection.remote)), ..Peer::default() };
    if let Some(tls) = connection.tls.as_deref() {
        peer.principal = tls.principal().unwrap_or_default().to_owned();
        if let Some(shown) = tls.peer.as_deref().filter(|_| certificate) {
            peer.certificate = url_encoded_pem(shown, 1);
        }
    }
    peer
}

fn address(address: SocketAddr) -> core::Address {
    let socket = core::SocketAddress {
        address: address.ip().to_string(),
        port_specifier: Some(core::socket_address::PortSpecifier::PortValue(address.port().into())),
        ..core::SocketAddress::default()
    };
    core::Address { address: Some(core::address::Address::SocketAddress(socket)) }
}

fn metadata(metadata: &Metadata, namespaces: &[Box<str>]) -> core::Metadata {
    let told = namespaces
        .iter()
        .filter_map(|name| metadata.get(name).map(|fields| (name.to_string(), to_struct(fields))));
    core::Metadata { filter_metadata: told.collect(), ..core::Metadata::default() }
}

fn time(info: &RequestInfo) -> Timestamp {
    let since = info.start_wall.duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp {
        seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(since.subsec_nanos()).unwrap_or_default(),
    }
}

fn http_request(info: &RequestInfo, head: &RequestHead, filter: &ExtAuthzFilter) -> HttpRequest {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    HttpRequest {
        id: head.headers.get("x-request-id").map(text).unwrap_or_else(|| info.connection.id.to_string()),
        method: head.method.as_str().to_owned(),
        path: text(&head.path),
        host: text(&head.authority),
        scheme: head.scheme.as_str().to_owned(),
        size: head.headers.get_str("content-length").and_then(|size| size.parse().ok()).unwrap_or(-1),
        protocol: info.protocol.map_or("", |protocol| protocol.as_str()).to_owned(),
        headers: headers(head, filter),
        ..HttpRequest::default()
    }
}

/// Headers that may be told, by name; repeated ones are joined.
fn headers(head: &RequestHead, filter: &ExtAuthzFilter) -> HashMap<String, String> {
    let mut told: HashMap<String, String> = HashMap::new();
    for (name, value) in all(head) {
        if !is_told(filter, name) {
            continue;
        }
        let (name, value) = (String::from_utf8_lossy(name), String::from_utf8_lossy(value));
        match told.get_mut(&*name) {
            Some(known) => {
                known.push(',');
                known.push_str(&value);
            }
            None => drop(told.insert(name.into_owned(), value.into_owned())),
        }
    }
    told
}

/// All headers, pseudo-headers first.
pub(super) fn all(head: &RequestHead) -> impl Iterator<Item = (&[u8], &[u8])> {
    let pseudo: [(&[u8], &[u8]); 4] = [
        (b":authority", &head.authority),
        (b":path", &head.path),
        (b":method", head.method.as_str().as_bytes()),
        (b":scheme", head.scheme.as_str().as_bytes()),
    ];
    pseudo.into_iter().chain(head.headers.iter())
}

/// Whether a header may be told.
pub(super) fn is_told(filter: &ExtAuthzFilter, name: &[u8]) -> bool {
    let any = |list: &[StringMatcher]| list.iter().any(|matcher| matcher.matches(name));
    !any(&filter.disallowed_headers) && filter.allowed_headers.as_deref().is_none_or(any)
}
