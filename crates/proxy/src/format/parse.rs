//! Text -> parts.

use super::operator::{Address, AddressPart, GrpcForm, HeaderNames, Number, Operator, Text, TimeFormat, Tls};
use super::{Command, Part};

/// Compiles a format into its parts.
pub(super) fn parts(text: &str) -> Result<Vec<Part>, String> {
    let mut parts = Vec::new();
    let mut literal = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        literal.extend_from_slice(&rest.as_bytes()[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('%') {
            literal.push(b'%');
            rest = after;
            continue;
        }
        let (command, after) = command(rest)?;
        if !literal.is_empty() {
            parts.push(Part::Literal(std::mem::take(&mut literal).into()));
        }
        parts.push(Part::Operator(command));
        rest = after;
    }
    literal.extend_from_slice(rest.as_bytes());
    if !literal.is_empty() {
        parts.push(Part::Literal(literal.into()));
    }
    Ok(parts)
}

/// One command after its first `%`, and what stands after its last.
fn command(text: &str) -> Result<(Command, &str), String> {
    let end = text.find(|c: char| !(c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_'));
    let end = end.ok_or_else(|| format!("`%{text}` is not closed by `%`"))?;
    let (name, mut rest) = text.split_at(end);
    let mut argument = None;
    if let Some(inner) = rest.strip_prefix('(') {
        let close =
            inner.find(')').ok_or_else(|| format!("the argument of `%{name}` is not closed by `)`"))?;
        argument = Some(&inner[..close]);
        rest = &inner[close + 1..];
    }
    let mut max = None;
    if let Some(inner) = rest.strip_prefix(':') {
        let close = inner.find('%').unwrap_or(inner.len());
        let digits = &inner[..close];
        max = Some(digits.parse().map_err(|_| format!("`:{digits}` of `%{name}` is not a length"))?);
        rest = &inner[close..];
    }
    let rest = rest.strip_prefix('%').ok_or_else(|| format!("`%{name}` is not closed by `%`"))?;
    Ok((Command { operator: operator(name, argument)?, max }, rest))
}

fn operator(name: &str, argument: Option<&str>) -> Result<Operator, String> {
    if let Some(operator) = with_argument(name, argument)? {
        return Ok(operator);
    }
    let operator = number(name)
        .or_else(|| tls(name))
        .or_else(|| address(name))
        .or_else(|| text(name))
        .ok_or_else(|| format!("the operator `%{name}%` is not known"))?;
    match argument {
        Some(_) => Err(format!("the operator `%{name}%` takes no argument")),
        None => Ok(operator),
    }
}

fn with_argument(name: &str, argument: Option<&str>) -> Result<Option<Operator>, String> {
    let headers = || header_names(name, argument);
    Ok(Some(match name {
        "START_TIME" => Operator::StartTime(
            argument.filter(|format| !format.is_empty()).map(|format| TimeFormat(format.into())),
        ),
        "REQ" => Operator::Request(headers()?),
        "REQ_WITHOUT_QUERY" => Operator::RequestWithoutQuery(headers()?),
        "RESP" => Operator::Response(headers()?),
        "TRAILER" => Operator::Trailer(headers()?),
        "DYNAMIC_METADATA" => {
            let argument = argument.filter(|argument| !argument.is_empty());
            let argument = argument.ok_or("the operator `%DYNAMIC_METADATA%` needs a namespace")?;
            let mut steps = argument.split(':').map(Box::from);
            let namespace = steps.next().unwrap_or_default();
            Operator::Metadata(namespace, steps.collect())
        }
        "CLUSTER_METADATA" | "UPSTREAM_METADATA" | "METADATA" | "FILTER_STATE" | "UPSTREAM_FILTER_STATE" => {
            argument.ok_or_else(|| format!("the operator `%{name}%` needs an argument"))?;
            Operator::Nothing
        }
        "ENVIRONMENT" => {
            let key = argument.ok_or_else(|| format!("the operator `%{name}%` needs an argument"))?;
            match std::env::var(key) {
                Ok(value) => Operator::Constant(value.into_bytes().into()),
                Err(_) => Operator::Nothing,
            }
        }
        "GRPC_STATUS" => match argument {
            None | Some("CAMEL_STRING") => Operator::GrpcStatus(GrpcForm::Camel),
            Some("SNAKE_STRING") => Operator::GrpcStatus(GrpcForm::Snake),
            Some("NUMBER") => Operator::Number(Number::GrpcStatus),
            Some(other) => return Err(format!("`{other}` is not a form of `%GRPC_STATUS%`")),
        },
        _ => return Ok(None),
    }))
}

fn header_names(operator: &str, argument: Option<&str>) -> Result<HeaderNames, String> {
    let argument = argument.ok_or_else(|| format!("the operator `%{operator}%` needs a header's name"))?;
    let (main, alternative) = match argument.split_once('?') {
        Some((main, alternative)) => (main, Some(alternative)),
        None => (argument, None),
    };
    if main.is_empty() {
        return Err(format!("the operator `%{operator}%` needs a header's name"));
    }
    let lower = |name: &str| -> Box<str> { name.to_ascii_lowercase().into() };
    Ok(HeaderNames { main: lower(main), alternative: alternative.map(lower) })
}

fn number(name: &str) -> Option<Operator> {
    Some(Operator::Number(match name {
        "RESPONSE_CODE" => Number::ResponseCode,
        "BYTES_RECEIVED" => Number::BytesReceived,
        "BYTES_SENT" => Number::BytesSent,
        "REQUEST_HEADERS_BYTES" | "DOWNSTREAM_HEADER_BYTES_RECEIVED" => Number::RequestHeaderBytes,
        "RESPONSE_HEADERS_BYTES" | "DOWNSTREAM_HEADER_BYTES_SENT" => Number::ResponseHeaderBytes,
        "UPSTREAM_WIRE_BYTES_SENT" => Number::UpstreamWireSent,
        "UPSTREAM_WIRE_BYTES_RECEIVED" => Number::UpstreamWireReceived,
        "DURATION" => Number::Duration,
        "REQUEST_DURATION" => Number::RequestDuration,
        "REQUEST_TX_DURATION" => Number::RequestTxDuration,
        "RESPONSE_DURATION" => Number::ResponseDuration,
        "RESPONSE_TX_DURATION" => Number::ResponseTxDuration,
        "CONNECTION_ID" => Number::ConnectionId,
        "STREAM_ID" => Number::StreamId,
        "UPSTREAM_REQUEST_ATTEMPT_COUNT" => Number::Attempts,
        "GRPC_STATUS_NUMBER" => Number::GrpcStatus,
        _ => return None,
    }))
}

fn address(name: &str) -> Option<Operator> {
    let (name, part) = match name {
        "DOWNSTREAM_LOCAL_PORT" => {
            return Some(Operator::Address(Address::DownstreamLocal, AddressPart::Port));
        }
        "DOWNSTREAM_REMOTE_PORT" => {
            return Some(Operator::Address(Address::DownstreamRemote, AddressPart::Port));
        }
        "DOWNSTREAM_DIRECT_REMOTE_PORT" => {
            return Some(Operator::Address(Address::DownstreamDirectRemote, AddressPart::Port));
        }
        "UPSTREAM_LOCAL_PORT" => return Some(Operator::Address(Address::UpstreamLocal, AddressPart::Port)),
        "UPSTREAM_REMOTE_PORT" => return Some(Operator::Address(Address::Upstream, AddressPart::Port)),
        name => match name.strip_suffix("_WITHOUT_PORT") {
            Some(name) => (name, AddressPart::Host),
            None => (name, AddressPart::Whole),
        },
    };
    let address = match name {
        "UPSTREAM_HOST" | "UPSTREAM_REMOTE_ADDRESS" => Address::Upstream,
        "UPSTREAM_LOCAL_ADDRESS" => Address::UpstreamLocal,
        "DOWNSTREAM_LOCAL_ADDRESS" => Address::DownstreamLocal,
        "DOWNSTREAM_REMOTE_ADDRESS" => Address::DownstreamRemote,
        "DOWNSTREAM_DIRECT_REMOTE_ADDRESS" => Address::DownstreamDirectRemote,
        _ => return None,
    };
    Some(Operator::Address(address, part))
}

/// `DOWNSTREAM_TLS_VERSION`, `UPSTREAM_PEER_URI_SAN` and the like.
fn tls(name: &str) -> Option<Operator> {
    let (field, wrap): (_, fn(Tls) -> Operator) = match name.strip_prefix("DOWNSTREAM_") {
        Some(field) => (field, Operator::Connection),
        None => (name.strip_prefix("UPSTREAM_")?, Operator::UpstreamTls),
    };
    Some(wrap(match field {
        "TLS_VERSION" => Tls::Version,
        "TLS_CIPHER" => Tls::Cipher,
        "TLS_SESSION_REUSED" => Tls::SessionReused,
        "PEER_URI_SAN" => Tls::PeerUriSan,
        "PEER_DNS_SAN" => Tls::PeerDnsSan,
        "PEER_IP_SAN" => Tls::PeerIpSan,
        "PEER_SUBJECT" => Tls::PeerSubject,
        "PEER_ISSUER" => Tls::PeerIssuer,
        "PEER_SERIAL" => Tls::PeerSerial,
        "PEER_FINGERPRINT_256" => Tls::PeerFingerprint,
        "PEER_CERT" => Tls::PeerCert,
        "PEER_CERT_V_START" => Tls::PeerValidFrom,
        "PEER_CERT_V_END" => Tls::PeerValidUntil,
        "LOCAL_URI_SAN" => Tls::LocalUriSan,
        "LOCAL_DNS_SAN" => Tls::LocalDnsSan,
        "LOCAL_SUBJECT" => Tls::LocalSubject,
        _ => return None,
    }))
}

fn text(name: &str) -> Option<Operator> {
    let text = match name {
        "PROTOCOL" => Text::Protocol,
        "UPSTREAM_PROTOCOL" => Text::UpstreamProtocol,
        "RESPONSE_CODE_DETAILS" => Text::ResponseCodeDetails,
        "CONNECTION_TERMINATION_DETAILS" => Text::TerminationDetails,
        "RESPONSE_FLAGS" => Text::Flags,
        "RESPONSE_FLAGS_LONG" => Text::FlagsLong,
        "UPSTREAM_CLUSTER" => Text::UpstreamCluster,
        "UPSTREAM_CLUSTER_RAW" => Text::UpstreamClusterRaw,
        "UPSTREAM_TRANSPORT_FAILURE_REASON" => Text::UpstreamFailure,
        "REQUESTED_SERVER_NAME" => Text::ServerName,
        "ROUTE_NAME" => Text::RouteName,
        "VIRTUAL_HOST_NAME" => Text::VirtualHost,
        "FILTER_CHAIN_NAME" => Text::FilterChain,
        "METHOD" => Text::Method,
        "AUTHORITY" => Text::Authority,
        "HOSTNAME" => return Some(Operator::Constant(hostname().into_bytes().into())),
        "UNIQUE_ID" => return Some(Operator::UniqueId),
        "DOWNSTREAM_TRANSPORT_FAILURE_REASON" => Text::DownstreamFailure,
        "VIRTUAL_CLUSTER_NAME"
        | "LOCAL_REPLY_BODY"
        | "DOWNSTREAM_TLS_SESSION_ID"
        | "UPSTREAM_TLS_SESSION_ID"
        | "TRACE_ID" => return Some(Operator::Nothing),
        _ => return None,
    };
    Some(Operator::Text(text))
}

fn hostname() -> String {
    match std::fs::read_to_string("/proc/sys/kernel/hostname") {
        Ok(name) => name.trim().to_owned(),
        Err(_) => "-".to_owned(),
    }
}
