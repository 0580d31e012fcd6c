//! The clusters that are there from the start: the proxy's own metrics, and the agent with its two unix sockets, behind
//! which are the workload's secrets and the control plane.

use std::collections::HashMap;

use lateen_xds::any;
use lateen_xds::pb::envoy::config::cluster::v3::CircuitBreakers;
use lateen_xds::pb::envoy::config::cluster::v3::Cluster;
use lateen_xds::pb::envoy::config::cluster::v3::circuit_breakers::Thresholds;
use lateen_xds::pb::envoy::config::cluster::v3::cluster::{ClusterDiscoveryType, DiscoveryType};
use lateen_xds::pb::envoy::config::core::v3::{Address, Http2ProtocolOptions};
use lateen_xds::pb::envoy::config::endpoint::v3::lb_endpoint::HostIdentifier;
use lateen_xds::pb::envoy::config::endpoint::v3::{
    ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints,
};
use lateen_xds::pb::envoy::extensions::upstreams::http::v3::HttpProtocolOptions;
use lateen_xds::pb::envoy::extensions::upstreams::http::v3::http_protocol_options::explicit_http_config::ProtocolConfig;
use lateen_xds::pb::envoy::extensions::upstreams::http::v3::http_protocol_options::{
    ExplicitHttpConfig, UpstreamProtocolOptions,
};
use lateen_xds::pb::google::protobuf::{Any, Duration, UInt32Value};

use super::{ADMIN_PORT, AGENT_PORT, SDS_CLUSTER, XDS_CLUSTER, loopback, pipe};
use crate::security::{SDS_SOCKET, XDS_SOCKET};

pub(super) const PROMETHEUS: &str = "prometheus_stats";
pub(super) const AGENT: &str = "agent";
const HTTP_OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

pub(super) fn all() -> Vec<Cluster> {
    vec![
        cluster(PROMETHEUS, DiscoveryType::Static, loopback(ADMIN_PORT)),
        cluster(AGENT, DiscoveryType::Static, loopback(AGENT_PORT)),
        local(SDS_CLUSTER, SDS_SOCKET),
        local(XDS_CLUSTER, XDS_SOCKET),
    ]
}

/// A gRPC service of the agent, on a unix socket.
fn local(name: &str, socket: &str) -> Cluster {
    let unlimited = Some(UInt32Value { value: 100_000 });
    Cluster {
        typed_extension_protocol_options: HashMap::from([(HTTP_OPTIONS.to_owned(), http2())]),
        circuit_breakers: Some(CircuitBreakers {
            thresholds: vec![Thresholds {
                max_connections: unlimited,
                max_pending_requests: unlimited,
                max_requests: unlimited,
                ..Thresholds::default()
            }],
            ..CircuitBreakers::default()
        }),
        ..cluster(name, DiscoveryType::Static, pipe(socket))
    }
}

fn http2() -> Any {
    any(&HttpProtocolOptions {
        upstream_protocol_options: Some(UpstreamProtocolOptions::ExplicitHttpConfig(ExplicitHttpConfig {
            protocol_config: Some(ProtocolConfig::Http2ProtocolOptions(Http2ProtocolOptions::default())),
        })),
        ..HttpProtocolOptions::default()
    })
}

fn cluster(name: &str, discovery: DiscoveryType, address: Address) -> Cluster {
    let endpoint = LbEndpoint {
        host_identifier: Some(HostIdentifier::Endpoint(Endpoint {
            address: Some(address),
            ..Endpoint::default()
        })),
        ..LbEndpoint::default()
    };
    Cluster {
        name: name.to_owned(),
        cluster_discovery_type: Some(ClusterDiscoveryType::Type(discovery as i32)),
        connect_timeout: Some(Duration { seconds: 1, nanos: 0 }),
        load_assignment: Some(ClusterLoadAssignment {
            cluster_name: name.to_owned(),
            endpoints: vec![LocalityLbEndpoints {
                lb_endpoints: vec![endpoint],
                ..LocalityLbEndpoints::default()
            }],
            ..ClusterLoadAssignment::default()
        }),
        ..Cluster::default()
    }
}
