//! Clusters that lead from a sidecar to its own application.

use lateen_mesh::{Inbound, Service, Settings};
use lateen_xds::Encoded;
use lateen_xds::pb::envoy::config::core::v3::{BindConfig, SocketAddress, socket_address};

use super::{Upstream, finish, original_destination, services};
use crate::{names, ordered};

/// The address that a sidecar's connections to its own application come from: the redirection leaves them alone.
/// Source: istio-iptables (`-s 127.0.0.6/32 -o lo -j RETURN`).
const INBOUND_SOURCE: &str = "127.0.0.6";

/// One cluster for each port on which the application listens, and one for all other ports.
pub(crate) fn clusters(inbound: &[(u16, Vec<&Inbound>)], settings: &Settings) -> Vec<Encoded> {
    let mut out: Vec<Encoded> =
        inbound.iter().map(|(port, served)| cluster(*port, served, settings)).collect();
    for name in [names::INBOUND_PASSTHROUGH, names::INBOUND_PASSTHROUGH_V4] {
        out.push(finish(&to_application(name, settings, Upstream::AsClient), None));
    }
    out
}

fn cluster(target: u16, served: &[&Inbound], settings: &Settings) -> Encoded {
    let protocol = served.first().map(|i| i.port.protocol);
    let upstream = match protocol {
        Some(p) if p.is_http2() => Upstream::Http2,
        Some(lateen_mesh::Protocol::Auto) | None => Upstream::AsClient,
        Some(_) => Upstream::Http1,
    };
    let cluster = to_application(&names::inbound(target), settings, upstream);
    let mut known: Vec<&Service> = Vec::new();
    for inbound in served {
        if !known.iter().any(|s| s.id == inbound.service.id) {
            known.push(&inbound.service);
        }
    }
    finish(&cluster, Some(ordered::istio([("services", services(known))])))
}

fn to_application(
    name: &str,
    settings: &Settings,
    upstream: Upstream,
) -> lateen_xds::pb::envoy::config::cluster::v3::Cluster {
    let mut cluster = original_destination(name, settings, upstream);
    cluster.upstream_bind_config = Some(BindConfig {
        source_address: Some(SocketAddress {
            address: INBOUND_SOURCE.to_owned(),
            port_specifier: Some(socket_address::PortSpecifier::PortValue(0)),
            ..SocketAddress::default()
        }),
        ..BindConfig::default()
    });
    cluster
}
