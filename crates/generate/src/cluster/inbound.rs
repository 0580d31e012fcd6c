//! Clusters that lead from a sidecar to its own application.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use lateen_api::networking::sidecar::CaptureMode;
use lateen_api::networking::traffic_policy::ConnectionPoolSettings;
use lateen_mesh::{Inbound, IngressEndpoint, Service, Settings};
use lateen_xds::Encoded;
use lateen_xds::pb::envoy::config::cluster::v3 as pb;
use lateen_xds::pb::envoy::config::cluster::v3::cluster::{ClusterDiscoveryType, DiscoveryType, LbPolicy};
use lateen_xds::pb::envoy::config::core::v3::socket_option::{SocketState, Value as SocketOptionValue};
use lateen_xds::pb::envoy::config::core::v3::{Address, Pipe, SocketOption, address};
use lateen_xds::pb::envoy::config::endpoint::v3::lb_endpoint::HostIdentifier;
use lateen_xds::pb::envoy::config::endpoint::v3::{
    ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints,
};

use super::{Upstream, finish, http_options, original_destination, policy, services};
use crate::proto::address;
use crate::proxy::{Flavour, Interception, Proxy, TPROXY_MARK};
use crate::{names, ordered};

/// One cluster for each port on which the application listens, and one for all other ports.
pub(crate) fn clusters(inbound: &[(u16, Vec<&Inbound>)], proxy: &Proxy, settings: &Settings) -> Vec<Encoded> {
    let mut out: Vec<Encoded> =
        inbound.iter().map(|(port, served)| cluster(*port, served, proxy, settings)).collect();
    let families = proxy.families();
    let v4 = families.has_v4().then_some(names::INBOUND_PASSTHROUGH_V4);
    let v6 = families.has_v6().then_some(names::INBOUND_PASSTHROUGH_V6);
    for name in [names::INBOUND_PASSTHROUGH].into_iter().chain(v4).chain(v6) {
        let mut cluster = to_application(name, proxy, settings, Upstream::AsClient);
        mark(&mut cluster, proxy);
        out.push(finish(&cluster, None));
    }
    out
}

/// Where an Envoy marks all of its connections, because it has no user of its own, that mark would take the place of the
/// one by which TPROXY knows connections to the application (Envoy: a cluster's options come after a connection's).
fn mark(cluster: &mut pb::Cluster, proxy: &Proxy) {
    const SOL_SOCKET: i64 = 1;
    const SO_MARK: i64 = 36;
    if (proxy.interception, proxy.flavour) != (Interception::Tproxy, Flavour::Envoy) {
        return;
    }
    let option = SocketOption {
        description: "mark of connections to the application".to_owned(),
        level: SOL_SOCKET,
        name: SO_MARK,
        state: SocketState::StatePrebind as i32,
        value: Some(SocketOptionValue::IntValue(i64::from(TPROXY_MARK))),
        ..SocketOption::default()
    };
    cluster.upstream_bind_config.get_or_insert_default().socket_options.push(option);
}

fn cluster(target: u16, served: &[&Inbound], proxy: &Proxy, settings: &Settings) -> Encoded {
    let protocol = served.first().map(|i| i.port.protocol);
    let upstream = match protocol {
        Some(p) if p.is_http2() => Upstream::Http2,
        Some(lateen_mesh::Protocol::Auto) | None => Upstream::AsClient,
        Some(_) => Upstream::Http1,
    };
    let mut cluster = to_application(&names::inbound(target), proxy, settings, upstream);
    if let Some(ingress) = served.first().and_then(|i| i.ingress.as_deref()) {
        // What was not captured was going nowhere else.
        let loopback = match proxy.families().has_v4() {
            true => IpAddr::from(Ipv4Addr::LOCALHOST),
            false => Ipv6Addr::LOCALHOST.into(),
        };
        let home = IngressEndpoint::Loopback(loopback, target);
        let endpoint = match (&ingress.endpoint, ingress.capture) {
            (IngressEndpoint::AsCaptured, CaptureMode::None) => &home,
            (endpoint, _) => endpoint,
        };
        // The workload's own address, for what a Sidecar forwards there.
        forward(&mut cluster, endpoint, proxy.addresses.first().copied());
        limit(&mut cluster, ingress.pool.as_ref(), upstream);
    }
    mark(&mut cluster, proxy);
    let mut known: Vec<&Service> = Vec::new();
    for inbound in served {
        if !known.iter().any(|s| s.id == inbound.service.id) {
            known.push(&inbound.service);
        }
    }
    finish(&cluster, Some(ordered::istio([("services", services(known))])))
}

/// Sends a cluster's connections to where a Sidecar says, rather than to where they were going.
fn forward(cluster: &mut pb::Cluster, endpoint: &IngressEndpoint, own: Option<IpAddr>) {
    let (place, at_home) = match endpoint {
        IngressEndpoint::AsCaptured => return,
        IngressEndpoint::Loopback(ip, port) => (address(&ip.to_string(), u32::from(*port)), false),
        IngressEndpoint::Workload(port) => {
            let Some(own) = own else { return };
            (address(&own.to_string(), u32::from(*port)), true)
        }
        IngressEndpoint::Unix(path) => {
            let pipe = Pipe { path: path.to_string(), mode: 0 };
            (Some(Address { address: Some(address::Address::Pipe(pipe)) }), false)
        }
    };
    let host = LbEndpoint {
        host_identifier: Some(HostIdentifier::Endpoint(Endpoint { address: place, ..Endpoint::default() })),
        ..LbEndpoint::default()
    };
    cluster.cluster_discovery_type = Some(ClusterDiscoveryType::Type(DiscoveryType::Static as i32));
    cluster.lb_policy = LbPolicy::RoundRobin as i32;
    cluster.load_assignment = Some(ClusterLoadAssignment {
        cluster_name: cluster.name.clone(),
        endpoints: vec![LocalityLbEndpoints { lb_endpoints: vec![host], ..LocalityLbEndpoints::default() }],
        ..ClusterLoadAssignment::default()
    });
    if !at_home {
        // The redirection leaves loopback alone whatever the source.
        cluster.upstream_bind_config = None;
    }
}

/// Limits connections to the application.
fn limit(cluster: &mut pb::Cluster, pool: Option<&ConnectionPoolSettings>, upstream: Upstream) {
    if pool.is_none() {
        return;
    }
    cluster.circuit_breakers = Some(policy::circuit_breakers(pool));
    policy::connections(cluster, pool);
    let http = pool.and_then(|p| p.http.as_ref());
    let streams = http.and_then(|h| u32::try_from(h.max_concurrent_streams).ok()).filter(|n| *n > 0);
    http_options(cluster, upstream, streams, policy::http_options(pool));
}

fn to_application(name: &str, proxy: &Proxy, settings: &Settings, upstream: Upstream) -> pb::Cluster {
    let mut cluster = original_destination(name, settings, upstream);
    cluster.upstream_bind_config = Some(proxy.families().inbound_source());
    cluster
}
