//! Small pieces of Envoy's messages that every generator needs.

use lateen_api::Duration;
use lateen_xds::pb::envoy::config::core::v3::{
    Address, AggregatedConfigSource, ApiVersion, CidrRange, ConfigSource, Metadata, SocketAddress, address,
    config_source, socket_address,
};
use lateen_xds::pb::envoy::r#type::v3::{FractionalPercent, fractional_percent::DenominatorType};
use lateen_xds::pb::google::protobuf::value::Kind;
use lateen_xds::pb::google::protobuf::{self, Any, BoolValue, Struct, UInt32Value, UInt64Value, Value};
use prost::{Message, Name};

/// The key of Istio's entries in metadata.
pub(crate) const ISTIO: &str = "istio";

pub(crate) fn boolean(value: bool) -> Option<BoolValue> {
    Some(BoolValue { value })
}

pub(crate) fn u32_value(value: u32) -> Option<UInt32Value> {
    Some(UInt32Value { value })
}

pub(crate) fn u64_value(value: u64) -> Option<UInt64Value> {
    Some(UInt64Value { value })
}

pub(crate) fn duration(duration: Duration) -> protobuf::Duration {
    let nanos = duration.nanos().max(0);
    protobuf::Duration {
        seconds: nanos / 1_000_000_000,
        nanos: i32::try_from(nanos % 1_000_000_000).unwrap_or_default(),
    }
}

pub(crate) fn seconds(seconds: i64) -> Option<protobuf::Duration> {
    Some(protobuf::Duration { seconds, nanos: 0 })
}

/// A message that has no type here, such as the configuration of a filter that is Istio's own, without content.
pub(crate) fn empty_any(type_name: &str) -> Any {
    Any { type_url: format!("type.googleapis.com/{type_name}"), value: Vec::new() }
}

pub(crate) fn any<M: Message + Name>(message: &M) -> Option<Any> {
    Some(lateen_xds::any(message))
}

/// From the stream that carries everything, without waiting for the first answer before a listener opens.
pub(crate) fn ads() -> ConfigSource {
    ConfigSource {
        config_source_specifier: Some(config_source::ConfigSourceSpecifier::Ads(AggregatedConfigSource {})),
        initial_fetch_timeout: seconds(0),
        resource_api_version: ApiVersion::V3 as i32,
        ..ConfigSource::default()
    }
}

pub(crate) fn address(host: &str, port: u32) -> Option<Address> {
    let socket = SocketAddress {
        address: host.to_owned(),
        port_specifier: Some(socket_address::PortSpecifier::PortValue(port)),
        ..SocketAddress::default()
    };
    Some(Address { address: Some(address::Address::SocketAddress(socket)) })
}

pub(crate) fn cidr(ip: &str, prefix: u8) -> CidrRange {
    CidrRange { address_prefix: ip.to_owned(), prefix_len: u32_value(u32::from(prefix)) }
}

/// Metadata with one entry under Istio's key.
pub(crate) fn istio_metadata(field: &str, text: String) -> Metadata {
    let value = Value { kind: Some(Kind::StringValue(text)) };
    let entry = Struct { fields: [(field.to_owned(), value)].into() };
    Metadata { filter_metadata: [(ISTIO.to_owned(), entry)].into(), ..Metadata::default() }
}

/// A percentage with four decimals, as Istio passes them on.
pub(crate) fn percent(value: f64) -> FractionalPercent {
    let millionths = (value.clamp(0.0, 100.0) * 10_000.0).round();
    FractionalPercent { numerator: millionths as u32, denominator: DenominatorType::Million as i32 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_keep_four_decimals_and_stay_within_bounds() {
        assert_eq!(percent(0.1).numerator, 1_000);
        assert_eq!(percent(100.0).numerator, 1_000_000);
        assert_eq!(percent(250.0).numerator, 1_000_000);
        assert_eq!(percent(f64::NAN).numerator, 0);
    }

    #[test]
    fn durations_are_split_into_seconds_and_nanoseconds() {
        let split = duration(Duration::from_millis(1_500));
        assert_eq!((split.seconds, split.nanos), (1, 500_000_000));
    }
}
