//! Durations, wrappers, addresses, shares, metadata.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::pb::protobuf::value::Kind;
use super::pb::{core, protobuf, types};
use super::{At, Converted};
use crate::config::{Cidr, Fraction, SubsetMatch, TcpKeepalive};

/// A duration that may not be negative.
pub(super) fn duration(value: &protobuf::Duration, at: &At<'_>) -> Converted<Duration> {
    let seconds = u64::try_from(value.seconds);
    let nanos = u32::try_from(value.nanos).ok().filter(|nanos| *nanos < 1_000_000_000);
    match (seconds, nanos) {
        (Ok(seconds), Some(nanos)) => Ok(Duration::new(seconds, nanos)),
        _ => Err(at.error("must not be negative")),
    }
}

/// An optional duration.
pub(super) fn optional_duration(
    value: &Option<protobuf::Duration>,
    at: &At<'_>,
) -> Converted<Option<Duration>> {
    value.as_ref().map(|value| duration(value, at)).transpose()
}

/// A timeout with a default, of which zero switches it off.
pub(super) fn timeout(
    value: &Option<protobuf::Duration>,
    default: Option<Duration>,
    at: &At<'_>,
) -> Converted<Option<Duration>> {
    match optional_duration(value, at)? {
        None => Ok(default),
        Some(limit) => Ok(Some(limit).filter(|limit| !limit.is_zero())),
    }
}

/// The value of a wrapper, or a default.
pub(super) fn u32_or(value: &Option<protobuf::UInt32Value>, default: u32) -> u32 {
    value.map_or(default, |value| value.value)
}

/// The value of a wrapper, or a default.
pub(super) fn bool_or(value: &Option<protobuf::BoolValue>, default: bool) -> bool {
    value.map_or(default, |value| value.value)
}

/// A port number.
pub(super) fn port(value: u32, at: &At<'_>) -> Converted<u16> {
    u16::try_from(value).map_err(|_| at.error(format!("{value} is not a port")))
}

/// Host and port of an address; the host may be a name.
pub(crate) fn host_port<'a>(address: &'a Option<core::Address>, at: &At<'_>) -> Converted<(&'a str, u16)> {
    use core::address::Address;
    use core::socket_address::PortSpecifier;
    let address =
        address.as_ref().and_then(|address| address.address.as_ref()).ok_or_else(|| at.missing())?;
    let socket = match address {
        Address::SocketAddress(socket) => socket,
        Address::Pipe(_) => return Err(at.unsupported("a pipe")),
        Address::EnvoyInternalAddress(_) => return Err(at.unsupported("an internal address")),
    };
    let at = at.field("socket_address");
    if socket.protocol == core::socket_address::Protocol::Udp as i32 {
        return Err(at.field("protocol").unsupported("UDP"));
    }
    match &socket.port_specifier {
        Some(PortSpecifier::PortValue(value)) => {
            Ok((&socket.address, port(*value, &at.field("port_value"))?))
        }
        Some(PortSpecifier::NamedPort(_)) => Err(at.unsupported("a named port")),
        None => Err(at.field("port_value").missing()),
    }
}

/// An address that is no name.
///
/// # Errors
/// It is missing, a pipe, UDP, or a host name.
pub fn socket_address(address: &Option<core::Address>) -> Converted<SocketAddr> {
    ip_port(address, &At::root("address"))
}

/// An address that is no name.
pub(super) fn ip_port(address: &Option<core::Address>, at: &At<'_>) -> Converted<SocketAddr> {
    let (host, port) = host_port(address, at)?;
    let ip: IpAddr = host.parse().map_err(|_| {
        at.field("socket_address").field("address").error(format!("`{host}` is not an IP address"))
    })?;
    Ok(SocketAddr::new(ip, port))
}

/// A range of addresses.
pub(super) fn cidr(range: &core::CidrRange, at: &At<'_>) -> Converted<Cidr> {
    let prefix = &range.address_prefix;
    let address: IpAddr = prefix.parse().map_err(|_| at.error(format!("`{prefix}` is not an IP address")))?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let bits = u32_or(&range.prefix_len, 0);
    match u8::try_from(bits) {
        Ok(bits) if u32::from(bits) <= most => Ok(Cidr { address, bits }),
        _ => Err(at.field("prefix_len").error(format!("{bits} is more than {most}"))),
    }
}

/// Ranges of addresses.
pub(super) fn cidrs(ranges: &[core::CidrRange], at: &At<'_>) -> Converted<Vec<Cidr>> {
    ranges.iter().enumerate().map(|(index, range)| cidr(range, &at.index(index))).collect()
}

/// A share of requests.
pub(super) fn fraction(value: &types::FractionalPercent, at: &At<'_>) -> Converted<Fraction> {
    use types::fractional_percent::DenominatorType;
    let denominator = match DenominatorType::try_from(value.denominator) {
        Ok(DenominatorType::Hundred) => 100,
        Ok(DenominatorType::TenThousand) => 10_000,
        Ok(DenominatorType::Million) => 1_000_000,
        Err(_) => return Err(at.field("denominator").unsupported(value.denominator)),
    };
    Ok(Fraction { numerator: value.numerator, denominator })
}

/// A share of requests with a key of the runtime, which holds nothing: its default counts.
pub(super) fn runtime_fraction(value: &core::RuntimeFractionalPercent, at: &At<'_>) -> Converted<Fraction> {
    let at = at.field("default_value");
    value.default_value.as_ref().map_or(Err(at.missing()), |value| fraction(value, &at))
}

/// TCP keep-alive.
pub(super) fn keepalive(value: &core::TcpKeepalive) -> TcpKeepalive {
    let seconds =
        |value: &Option<protobuf::UInt32Value>| value.map(|value| Duration::from_secs(value.value.into()));
    TcpKeepalive {
        time: seconds(&value.keepalive_time),
        interval: seconds(&value.keepalive_interval),
        probes: value.keepalive_probes.map(|value| value.value),
    }
}

/// String fields of a struct, sorted; other values by their text.
pub(super) fn labels(fields: &protobuf::Struct) -> Vec<(Box<str>, Box<str>)> {
    let text = |value: &protobuf::Value| match &value.kind {
        Some(Kind::StringValue(text)) => text.clone(),
        Some(Kind::BoolValue(value)) => value.to_string(),
        Some(Kind::NumberValue(value)) => value.to_string(),
        _ => String::new(),
    };
    let mut labels: Vec<_> =
        fields.fields.iter().map(|(key, value)| (key.as_str().into(), text(value).into())).collect();
    labels.sort();
    labels
}

/// The text at a key of a struct.
pub(super) fn text<'a>(fields: &'a protobuf::Struct, key: &str) -> Option<&'a str> {
    match fields.fields.get(key)?.kind.as_ref()? {
        Kind::StringValue(text) => Some(text),
        _ => None,
    }
}

/// One namespace of a resource's metadata.
pub(super) fn metadata<'a>(
    metadata: &'a Option<core::Metadata>,
    namespace: &str,
) -> Option<&'a protobuf::Struct> {
    metadata.as_ref()?.filter_metadata.get(namespace)
}

/// The labels of endpoints that levels of `metadata_match` ask for; the later replace the earlier.
pub(super) fn subset(levels: &[&Option<core::Metadata>]) -> Option<SubsetMatch> {
    let level = |metadata: &&'_ Option<core::Metadata>| {
        Some(super::metadata::object(self::metadata(metadata, "envoy.lb")?))
    };
    let mut all = serde_json::Map::new();
    levels.iter().filter_map(level).for_each(|labels| all.extend(labels));
    (!all.is_empty()).then(|| SubsetMatch::new(&all))
}

/// The bytes of a data source.
pub(super) fn data_source(source: &core::DataSource, at: &At<'_>) -> Converted<Vec<u8>> {
    use core::data_source::Specifier;
    match source.specifier.as_ref().ok_or_else(|| at.missing())? {
        Specifier::Filename(path) => {
            std::fs::read(path).map_err(|error| at.field("filename").error(format!("{path}: {error}")))
        }
        Specifier::InlineBytes(bytes) => Ok(bytes.clone()),
        Specifier::InlineString(text) => Ok(text.clone().into_bytes()),
        Specifier::EnvironmentVariable(name) => std::env::var(name)
            .map(String::into_bytes)
            .map_err(|_| at.field("environment_variable").error(format!("{name} is not set"))),
    }
}
