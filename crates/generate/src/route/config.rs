//! RDS: route configurations out of virtual hosts that are encoded already.

use std::sync::Arc;

use lateen_xds::pb::envoy::config::route::v3::{RouteConfiguration, Vhds};
use lateen_xds::{Encoded, TypeUrl};
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint};

use crate::proto::{ads, boolean, u32_value};
use crate::proxy::Flavour;

/// The number of the field `virtual_hosts` of `envoy.config.route.v3.RouteConfiguration`.
const VIRTUAL_HOSTS: u32 = 2;

/// How large the body of a direct response may be: 1 MiB, as Istio sets it.
const MAX_DIRECT_RESPONSE: u32 = 1 << 20;

/// A route configuration: with its virtual hosts inside for Envoy, with a pointer to them for Lateen's own proxies.
pub(crate) fn route_config(name: &str, flavour: Flavour, hosts: &[Arc<Encoded>]) -> Encoded {
    let mut config = RouteConfiguration {
        name: name.to_owned(),
        validate_clusters: boolean(false),
        max_direct_response_body_size_bytes: u32_value(MAX_DIRECT_RESPONSE),
        ignore_port_in_host_matching: true,
        ..RouteConfiguration::default()
    };
    if flavour == Flavour::Lateen {
        config.vhds = Some(Vhds { config_source: Some(ads()) });
        return Encoded::new(TypeUrl::Route, name, &config);
    }
    // Protobuf: repeated fields may stand anywhere, so the hosts' bytes are put behind the rest.
    let mut body = config.encode_to_vec();
    body.reserve(hosts.iter().map(|h| h.body.len() + 8).sum());
    for host in hosts {
        encode_key(VIRTUAL_HOSTS, WireType::LengthDelimited, &mut body);
        encode_varint(host.body.len() as u64, &mut body);
        body.extend_from_slice(&host.body);
    }
    Encoded::from_body(TypeUrl::Route, name, body.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::host;

    #[test]
    fn envoys_route_configuration_holds_the_encoded_hosts() {
        let allow = Arc::new(host::encode("80", &host::unknown(true)));
        let config = route_config("80", Flavour::Envoy, std::slice::from_ref(&allow));
        let read = RouteConfiguration::decode(config.body).expect("well formed");
        assert_eq!(read.virtual_hosts, [host::unknown(true)]);
        assert_eq!(read.name, "80");
    }

    #[test]
    fn lateens_route_configuration_points_to_its_hosts() {
        let config = route_config("80", Flavour::Lateen, &[]);
        let read = RouteConfiguration::decode(config.body).expect("well formed");
        assert!(read.vhds.is_some() && read.virtual_hosts.is_empty());
    }
}
