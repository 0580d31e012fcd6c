//! `virtualOutbound`: where all captured outbound connections arrive.

use lateen_xds::pb::envoy::config::core::v3::TrafficDirection;
use lateen_xds::pb::envoy::config::listener::v3::{FilterChain, FilterChainMatch, Listener};
use lateen_xds::{Encoded, TypeUrl};

use super::{access_log, tcp};
use crate::families::additional;
use crate::names;
use crate::proto::{address, boolean, u32_value};
use crate::proxy::Interception;
use crate::view::View;

/// The port to which outbound connections are redirected.
const PORT: u16 = 15001;

/// Hands each connection to the listener of its destination; what no listener is for passes through or is refused.
/// A connection that was meant for the port itself would come back for ever: it is refused.
pub(crate) fn listener(view: &View<'_>) -> Encoded {
    let settings = &view.mesh.settings;
    let flavour = view.key.flavour;
    let looped = FilterChain {
        name: "virtualOutbound-blackhole".to_owned(),
        filter_chain_match: Some(FilterChainMatch {
            destination_port: u32_value(u32::from(PORT)),
            ..FilterChainMatch::default()
        }),
        filters: tcp::to_cluster(names::BLACK_HOLE, settings, flavour),
        ..FilterChain::default()
    };
    let (wildcard, other) = view.key.families.wildcards();
    let listener = Listener {
        name: "virtualOutbound".to_owned(),
        address: address(wildcard, u32::from(PORT)),
        additional_addresses: additional(other, PORT),
        filter_chains: vec![looped, unknown(view, "virtualOutbound-catchall-tcp")],
        use_original_dst: boolean(true),
        transparent: (view.key.interception == Interception::Tproxy).then(|| boolean(true)).flatten(),
        traffic_direction: TrafficDirection::Outbound as i32,
        access_log: access_log::of_refused(settings, flavour),
        ..Listener::default()
    };
    Encoded::new(TypeUrl::Listener, "virtualOutbound", &listener)
}

/// What happens to connections that nothing else is for.
pub(crate) fn unknown(view: &View<'_>, name: &str) -> FilterChain {
    let cluster = if view.allow_any() { names::PASSTHROUGH } else { names::BLACK_HOLE };
    FilterChain {
        name: name.to_owned(),
        filters: tcp::to_cluster(cluster, &view.mesh.settings, view.key.flavour),
        ..FilterChain::default()
    }
}
