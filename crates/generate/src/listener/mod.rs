//! LDS: the listeners of sidecars and gateways.

mod access_log;
mod alpn;
pub(crate) mod auto_passthrough;
pub(crate) mod gateway;
pub(crate) mod http;
pub(crate) mod inbound;
mod inspect;
mod log_filter;
pub(crate) mod outbound;
mod stats;
mod tcp;
mod tcp_rules;
pub(crate) mod tracing;
mod variant;
pub(crate) mod virtual_outbound;

use lateen_xds::pb::envoy::config::core::v3::TrafficDirection;
use lateen_xds::pb::envoy::config::listener::v3::{FilterChain, Listener};

use crate::proto::{address, boolean, seconds};
pub(crate) use stats::NAME as STATS_FILTER;

/// A listener that no socket is opened for: redirected connections are handed to it by their destination.
fn unbound(name: &str, ip: &str, port: u16, chains: Vec<FilterChain>) -> Listener {
    Listener {
        name: name.to_owned(),
        address: address(ip, u32::from(port)),
        filter_chains: chains,
        traffic_direction: TrafficDirection::Outbound as i32,
        bind_to_port: boolean(false),
        ..Listener::default()
    }
}

/// How long inbound connections may take to show their first bytes, unless MeshConfig says otherwise: servers of some
/// protocols speak first. Source: Istio, `PILOT_INBOUND_PROTOCOL_DETECTION_TIMEOUT`.
const INBOUND_DETECTION_SECONDS: i64 = 1;

/// Waits for the first bytes of inbound connections for a while, and goes on without them.
fn patient_inbound(listener: &mut Listener, settings: &lateen_mesh::Settings) {
    patient(listener, settings);
    if settings.detection_timeout == lateen_api::Duration::ZERO {
        listener.listener_filters_timeout = seconds(INBOUND_DETECTION_SECONDS);
    }
}

/// Waits for the first bytes as long as they take, or as long as MeshConfig says, and goes on without them.
fn patient(listener: &mut Listener, settings: &lateen_mesh::Settings) {
    listener.listener_filters_timeout = match settings.detection_timeout {
        lateen_api::Duration::ZERO => seconds(0),
        limit => Some(crate::proto::duration(limit)),
    };
    listener.continue_on_listener_filters_timeout = true;
}
