//! Operators -> bytes.

use std::io::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use super::operator::{Address, AddressPart, GrpcForm, HeaderNames, Number, Operator, Text, Tls};
use super::time;
use crate::request_info::{LogContext, ResponseFlags, TlsInfo};

/// Appends an operator's value; false when there is none.
pub(super) fn write(operator: &Operator, context: &LogContext<'_>, out: &mut Vec<u8>) -> bool {
    match operator {
        Operator::StartTime(None) => time::write_iso(context.info.start_wall, out),
        Operator::StartTime(Some(format)) => time::write(&format.0, context.info.start_wall, out),
        Operator::Request(names) => return request(names, context, out),
        Operator::RequestWithoutQuery(names) => {
            let start = out.len();
            if !request(names, context, out) {
                return false;
            }
            if let Some(query) = out[start..].iter().position(|byte| *byte == b'?') {
                out.truncate(start + query);
            }
        }
        Operator::Response(names) => {
            let field = |name: &str| context.response.and_then(|response| response.field(name));
            return header(names, field, out);
        }
        Operator::Trailer(names) => {
            let field = |name: &str| context.trailers.and_then(|trailers| trailers.joined(name));
            return header(names, field, out);
        }
        Operator::Number(number) => match self::number(*number, context) {
            Some(value) => integer(value, out),
            None => return false,
        },
        Operator::Address(which, part) => match address(*which, context) {
            Some(address) => write_address(address, *part, out),
            None => return false,
        },
        Operator::Text(text) => return self::text(*text, context, out),
        Operator::GrpcStatus(form) => match context.info.grpc_status {
            Some(status) => grpc_status(status, *form, out),
            None => return false,
        },
        Operator::Constant(bytes) => out.extend_from_slice(bytes),
        Operator::Nothing => return false,
        Operator::Metadata(namespace, path) => return metadata(namespace, path, context, out),
        Operator::UniqueId => {
            let mut buffer = uuid::Uuid::encode_buffer();
            out.extend_from_slice(uuid::Uuid::new_v4().hyphenated().encode_lower(&mut buffer).as_bytes());
        }
        Operator::Connection(field) => {
            return context.info.connection.tls.as_deref().is_some_and(|tls| write_tls(*field, tls, out));
        }
        Operator::UpstreamTls(field) => {
            return context.info.upstream.tls.as_deref().is_some_and(|tls| write_tls(*field, tls, out));
        }
    }
    true
}

/// A value of the metadata: text as it is, everything else as JSON.
fn metadata(namespace: &str, path: &[Box<str>], context: &LogContext<'_>, out: &mut Vec<u8>) -> bool {
    let metadata = &context.info.metadata;
    if path.is_empty() {
        let fields = metadata.get(namespace);
        return fields.is_some_and(|fields| serde_json::to_writer(out, fields).is_ok());
    }
    match metadata.at(namespace, path.iter().map(|step| &**step)) {
        None => false,
        Some(serde_json::Value::String(text)) => {
            out.extend_from_slice(text.as_bytes());
            true
        }
        Some(value) => serde_json::to_writer(out, value).is_ok(),
    }
}

fn request(names: &HeaderNames, context: &LogContext<'_>, out: &mut Vec<u8>) -> bool {
    header(names, |name| context.request.and_then(|request| request.field(name)), out)
}

fn header<'a>(
    names: &HeaderNames,
    field: impl Fn(&str) -> Option<std::borrow::Cow<'a, [u8]>>,
    out: &mut Vec<u8>,
) -> bool {
    let value = field(&names.main).or_else(|| names.alternative.as_deref().and_then(&field));
    match value {
        Some(value) if !value.is_empty() => {
            out.extend_from_slice(&value);
            true
        }
        _ => false,
    }
}

/// The value of a numeric operator; none when it is not known.
pub(super) fn number(number: Number, context: &LogContext<'_>) -> Option<u64> {
    let info = context.info;
    let millis =
        |time: Option<Duration>| time.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
    match number {
        Number::ResponseCode => Some(info.code.into()),
        Number::BytesReceived => Some(info.bytes.received),
        Number::BytesSent => Some(info.bytes.sent),
        Number::RequestHeaderBytes => Some(info.bytes.request_headers),
        Number::ResponseHeaderBytes => Some(info.bytes.response_headers),
        Number::UpstreamWireSent => Some(info.bytes.upstream_wire_sent),
        Number::UpstreamWireReceived => Some(info.bytes.upstream_wire_received),
        Number::Duration => millis(info.timings.end),
        Number::RequestDuration => millis(info.timings.request_end),
        Number::RequestTxDuration => millis(info.timings.upstream_last_tx),
        Number::ResponseDuration => millis(info.timings.upstream_first_rx),
        Number::ResponseTxDuration => {
            let (first, end) = (info.timings.upstream_first_rx?, info.timings.end?);
            millis(Some(end.saturating_sub(first)))
        }
        Number::ConnectionId => Some(info.connection.id),
        Number::StreamId => Some(stream_id(context)),
        Number::Attempts => Some(info.upstream.attempts.into()),
        Number::GrpcStatus => info.grpc_status.map(u64::from),
    }
}

/// A number that no other stream of this process has: its connection and when it began.
fn stream_id(context: &LogContext<'_>) -> u64 {
    let since = context.info.start.saturating_duration_since(context.info.connection.start);
    let nanos = u64::try_from(since.as_nanos()).unwrap_or(u64::MAX);
    context.info.connection.id.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ nanos
}

fn integer(value: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

fn address(which: Address, context: &LogContext<'_>) -> Option<SocketAddr> {
    let info = context.info;
    match which {
        Address::Upstream => info.upstream.host,
        Address::UpstreamLocal => info.upstream.local,
        Address::DownstreamLocal => Some(info.connection.local),
        Address::DownstreamRemote => Some(info.remote),
        Address::DownstreamDirectRemote => Some(info.connection.direct_remote),
    }
}

fn write_address(address: SocketAddr, part: AddressPart, out: &mut Vec<u8>) {
    if part != AddressPart::Port {
        match address {
            SocketAddr::V4(v4) => {
                for (index, octet) in v4.ip().octets().into_iter().enumerate() {
                    if index > 0 {
                        out.push(b'.');
                    }
                    integer(octet.into(), out);
                }
            }
            // Writing to a vector cannot fail.
            SocketAddr::V6(v6) if part == AddressPart::Whole => drop(write!(out, "[{}]", v6.ip())),
            SocketAddr::V6(v6) => drop(write!(out, "{}", v6.ip())),
        }
    }
    match part {
        AddressPart::Whole => {
            out.push(b':');
            integer(address.port().into(), out);
        }
        AddressPart::Port => integer(address.port().into(), out),
        AddressPart::Host => {}
    }
}

fn text(text: Text, context: &LogContext<'_>, out: &mut Vec<u8>) -> bool {
    let info = context.info;
    let value: Option<&str> = match text {
        Text::Protocol => info.protocol.map(|protocol| protocol.as_str()),
        Text::UpstreamProtocol => info.upstream.protocol.map(|protocol| protocol.as_str()),
        Text::ResponseCodeDetails => info.details.as_deref(),
        Text::TerminationDetails => info.termination.as_deref(),
        Text::Flags if info.flags.is_empty() => None,
        Text::Flags => {
            info.flags.write_short(out);
            return true;
        }
        Text::FlagsLong => return flags_long(info.flags, out),
        Text::UpstreamCluster => info.upstream.cluster.as_deref().map(|cluster| &*cluster.stat_name),
        Text::UpstreamClusterRaw => info.upstream.cluster.as_deref().map(|cluster| &*cluster.name),
        Text::UpstreamFailure => info.upstream.failure.as_deref(),
        Text::DownstreamFailure => info.connection.transport_failure.as_deref(),
        Text::ServerName => info.connection.server_name.as_deref(),
        Text::RouteName => info.route.as_deref().map(|route| &*route.name),
        Text::VirtualHost => info.virtual_host.as_deref(),
        Text::FilterChain => Some(&info.connection.filter_chain),
        Text::Method => context.request.map(|request| request.method.as_str()),
        Text::Authority => {
            let authority = context.request.map(|request| &request.authority).filter(|text| !text.is_empty());
            let Some(authority) = authority else { return false };
            out.extend_from_slice(authority);
            return true;
        }
    };
    let Some(value) = value.filter(|value| !value.is_empty()) else { return false };
    out.extend_from_slice(value.as_bytes());
    true
}

fn flags_long(flags: ResponseFlags, out: &mut Vec<u8>) -> bool {
    let start = out.len();
    for (flag, _, long) in ResponseFlags::ALL {
        if flags.contains(*flag) {
            if out.len() > start {
                out.push(b',');
            }
            out.extend_from_slice(long.as_bytes());
        }
    }
    out.len() > start
}

/// gRPC's status names; the snake form is the same in capitals with underscores.
const GRPC: [(&str, &str); 17] = [
    ("OK", "OK"),
    ("Canceled", "CANCELLED"),
    ("Unknown", "UNKNOWN"),
    ("InvalidArgument", "INVALID_ARGUMENT"),
    ("DeadlineExceeded", "DEADLINE_EXCEEDED"),
    ("NotFound", "NOT_FOUND"),
    ("AlreadyExists", "ALREADY_EXISTS"),
    ("PermissionDenied", "PERMISSION_DENIED"),
    ("ResourceExhausted", "RESOURCE_EXHAUSTED"),
    ("FailedPrecondition", "FAILED_PRECONDITION"),
    ("Aborted", "ABORTED"),
    ("OutOfRange", "OUT_OF_RANGE"),
    ("Unimplemented", "UNIMPLEMENTED"),
    ("Internal", "INTERNAL"),
    ("Unavailable", "UNAVAILABLE"),
    ("DataLoss", "DATA_LOSS"),
    ("Unauthenticated", "UNAUTHENTICATED"),
];

fn grpc_status(status: u32, form: GrpcForm, out: &mut Vec<u8>) {
    match (GRPC.get(status as usize), form) {
        (Some((camel, _)), GrpcForm::Camel) => out.extend_from_slice(camel.as_bytes()),
        (Some((_, snake)), GrpcForm::Snake) => out.extend_from_slice(snake.as_bytes()),
        (None, _) => integer(status.into(), out),
    }
}

fn write_tls(field: Tls, tls: &TlsInfo, out: &mut Vec<u8>) -> bool {
    let joined = |names: &[String], out: &mut Vec<u8>| {
        out.extend_from_slice(names.join(",").as_bytes());
        !names.is_empty()
    };
    let (peer, local) = (tls.peer.as_deref(), tls.local.as_deref());
    let text = match field {
        Tls::Version => tls.version,
        Tls::Cipher => tls.cipher,
        Tls::SessionReused => {
            if tls.resumed {
                "true"
            } else {
                "false"
            }
        }
        Tls::PeerSubject => tls.peer_subject().unwrap_or(""),
        Tls::PeerIssuer => peer.map_or("", |peer| &peer.issuer),
        Tls::PeerSerial => peer.map_or("", |peer| &peer.serial),
        Tls::PeerFingerprint => peer.map_or("", |peer| &peer.sha256),
        Tls::LocalSubject => local.map_or("", |local| &local.subject),
        Tls::PeerUriSan => return joined(tls.peer_uri_sans(), out),
        Tls::PeerDnsSan => return joined(tls.peer_dns_sans(), out),
        Tls::LocalUriSan => return joined(tls.local_uri_sans(), out),
        Tls::LocalDnsSan => return joined(local.map_or(&[], |local| &local.dns_sans), out),
        Tls::PeerIpSan => {
            let addresses = peer.map_or(&[][..], |peer| &peer.ip_sans);
            return joined(&addresses.iter().map(ToString::to_string).collect::<Vec<_>>(), out);
        }
        Tls::PeerCert | Tls::PeerValidFrom | Tls::PeerValidUntil => {
            let Some(peer) = peer else { return false };
            match field {
                Tls::PeerCert => {
                    out.extend_from_slice(crate::http::url_encoded_pem(peer, 1).as_bytes());
                }
                Tls::PeerValidFrom => time::write_iso(peer.not_before, out),
                _ => time::write_iso(peer.not_after, out),
            }
            return true;
        }
    };
    out.extend_from_slice(text.as_bytes());
    !text.is_empty()
}
