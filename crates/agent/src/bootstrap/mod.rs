//! The proxy's bootstrap, as Istio's agent makes it: the node, ADS to the control plane, and the listeners that are
//! there before any configuration has come.

mod clusters;
mod listeners;
#[cfg(test)]
mod tests;

use lateen_xds::pb::envoy::config::bootstrap::v3::bootstrap::{DynamicResources, StaticResources};
use lateen_xds::pb::envoy::config::bootstrap::v3::{Admin, Bootstrap, ClusterManager};
use lateen_xds::pb::envoy::config::core::v3::address::Address as AddressKind;
use lateen_xds::pb::envoy::config::core::v3::api_config_source::ApiType;
use lateen_xds::pb::envoy::config::core::v3::config_source::ConfigSourceSpecifier;
use lateen_xds::pb::envoy::config::core::v3::grpc_service::{EnvoyGrpc, TargetSpecifier};
use lateen_xds::pb::envoy::config::core::v3::node::UserAgentVersionType;
use lateen_xds::pb::envoy::config::core::v3::socket_address::PortSpecifier;
use lateen_xds::pb::envoy::config::core::v3::socket_option::{SocketState, Value as SocketOptionValue};
use lateen_xds::pb::envoy::config::core::v3::{
    Address, AggregatedConfigSource, ApiConfigSource, ApiVersion, BindConfig, ConfigSource, GrpcService,
    Locality, Node, Pipe, SocketAddress, SocketOption,
};
use lateen_xds::pb::google::protobuf::{self, value};
use serde_json::Value;

use crate::arguments::Arguments;
use crate::environment::Environment;

/// The proxy's administration, on the pod's loopback interface.
pub const ADMIN_PORT: u16 = 15000;
/// The agent's own server: health and merged metrics.
pub const AGENT_PORT: u16 = 15020;
/// Readiness, served by the proxy from the agent's answer.
pub const READINESS_PORT: u16 = 15021;
/// Prometheus' view of the proxy.
pub const PROMETHEUS_PORT: u16 = 15090;

/// Name of the cluster that leads to the control plane, by way of the agent.
pub(crate) const XDS_CLUSTER: &str = "xds-grpc";
/// Name of the cluster that serves the workload's secrets.
pub(crate) const SDS_CLUSTER: &str = "sds-grpc";
const DEFAULT_DISCOVERY: &str = "istiod.istio-system.svc:15012";

/// `host:port` of the control plane.
pub fn discovery_address<'a>(arguments: &'a Arguments, environment: &'a Environment) -> &'a str {
    let address = arguments.discovery_address.as_deref();
    address.or(environment.proxy_config.discovery_address.as_deref()).unwrap_or(DEFAULT_DISCOVERY)
}

/// The DNS domain of the workload's namespace: `default.svc.cluster.local`.
pub(crate) fn domain(arguments: &Arguments, environment: &Environment) -> String {
    let given = arguments.domain.clone();
    given.unwrap_or_else(|| format!("{}.svc.cluster.local", environment.namespace))
}

/// Builds the bootstrap for Lateen's proxy, or, with `envoy`, for an Envoy.
pub fn build(arguments: &Arguments, environment: &Environment, envoy: bool) -> Bootstrap {
    Bootstrap {
        node: Some(node(arguments, environment, envoy)),
        admin: Some(Admin { address: Some(loopback(ADMIN_PORT)), ..Admin::default() }),
        static_resources: Some(StaticResources {
            listeners: listeners::all(&environment.addresses),
            clusters: clusters::all(),
            secrets: Vec::new(),
        }),
        dynamic_resources: Some(DynamicResources {
            lds_config: Some(ads()),
            cds_config: Some(ads()),
            ads_config: Some(ApiConfigSource {
                api_type: ApiType::DeltaGrpc as i32,
                transport_api_version: ApiVersion::V3 as i32,
                set_node_on_first_message_only: true,
                grpc_services: vec![GrpcService {
                    target_specifier: Some(TargetSpecifier::EnvoyGrpc(EnvoyGrpc {
                        cluster_name: XDS_CLUSTER.to_owned(),
                        ..EnvoyGrpc::default()
                    })),
                    ..GrpcService::default()
                }],
                ..ApiConfigSource::default()
            }),
            ..DynamicResources::default()
        }),
        cluster_manager: environment.socket_mark.map(|mark| ClusterManager {
            upstream_bind_config: Some(marked(mark)),
            ..ClusterManager::default()
        }),
        ..Bootstrap::default()
    }
}

/// ADS, without a limit to the first fetch: a proxy without its configuration must not become ready.
fn ads() -> ConfigSource {
    ConfigSource {
        initial_fetch_timeout: Some(protobuf::Duration::default()),
        resource_api_version: ApiVersion::V3 as i32,
        config_source_specifier: Some(ConfigSourceSpecifier::Ads(AggregatedConfigSource {})),
        ..ConfigSource::default()
    }
}

/// The node: `sidecar~IP~pod.namespace~namespace.svc.cluster.local`, and Istio's metadata.
fn node(arguments: &Arguments, environment: &Environment, envoy: bool) -> Node {
    let namespace = &environment.namespace;
    let domain = domain(arguments, environment);
    let workload = environment
        .label("app")
        .map(str::to_owned)
        .or_else(|| environment.metadata.get("WORKLOAD_NAME")?.as_str().map(str::to_owned))
        .unwrap_or_else(|| "istio-proxy".to_owned());
    let service = arguments.service_cluster.as_ref().or(environment.proxy_config.service_cluster.as_ref());
    Node {
        id: format!(
            "{}~{}~{}.{namespace}~{domain}",
            arguments.role.as_str(),
            environment.address,
            environment.pod
        ),
        cluster: service.cloned().unwrap_or_else(|| format!("{workload}.{namespace}")),
        metadata: Some(protobuf::Struct {
            fields: environment
                .metadata
                .iter()
                .map(|(key, value)| (key.clone(), to_protobuf(value)))
                .collect(),
        }),
        locality: locality(environment),
        // Envoy fills these in by itself.
        user_agent_name: if envoy { String::new() } else { "lateen".to_owned() },
        user_agent_version_type: (!envoy)
            .then(|| UserAgentVersionType::UserAgentVersion(env!("CARGO_PKG_VERSION").to_owned())),
        ..Node::default()
    }
}

/// Istio's `istio-locality` label: region.zone.sub-zone.
fn locality(environment: &Environment) -> Option<Locality> {
    let mut parts = environment.label("istio-locality")?.splitn(3, '.').map(str::to_owned);
    let mut next = || parts.next().unwrap_or_default();
    Some(Locality { region: next(), zone: next(), sub_zone: next() })
}

fn to_protobuf(value: &Value) -> protobuf::Value {
    let kind = match value {
        Value::Null => value::Kind::NullValue(0),
        Value::Bool(flag) => value::Kind::BoolValue(*flag),
        Value::Number(number) => value::Kind::NumberValue(number.as_f64().unwrap_or_default()),
        Value::String(text) => value::Kind::StringValue(text.clone()),
        Value::Array(list) => {
            value::Kind::ListValue(protobuf::ListValue { values: list.iter().map(to_protobuf).collect() })
        }
        Value::Object(map) => value::Kind::StructValue(protobuf::Struct {
            fields: map.iter().map(|(key, value)| (key.clone(), to_protobuf(value))).collect(),
        }),
    };
    protobuf::Value { kind: Some(kind) }
}

/// `SO_MARK` on every upstream socket: the mark exempts them from redirection.
fn marked(mark: u32) -> BindConfig {
    const SOL_SOCKET: i64 = 1;
    const SO_MARK: i64 = 36;
    BindConfig {
        socket_options: vec![SocketOption {
            description: "exempts the proxy from redirection".to_owned(),
            level: SOL_SOCKET,
            name: SO_MARK,
            state: SocketState::StatePrebind as i32,
            value: Some(SocketOptionValue::IntValue(i64::from(mark))),
            ..SocketOption::default()
        }],
        ..BindConfig::default()
    }
}

fn loopback(port: u16) -> Address {
    address("127.0.0.1", port)
}

/// A unix socket.
fn pipe(path: &str) -> Address {
    Address { address: Some(AddressKind::Pipe(Pipe { path: path.to_owned(), ..Pipe::default() })) }
}

fn address(host: &str, port: u16) -> Address {
    Address {
        address: Some(AddressKind::SocketAddress(SocketAddress {
            address: host.to_owned(),
            port_specifier: Some(PortSpecifier::PortValue(u32::from(port))),
            ..SocketAddress::default()
        })),
    }
}
