//! `envoy.config.cluster.v3.Cluster`.

mod balancing;
mod discovery;
mod health;
mod limits;
mod protocol;
mod sources;
mod subsets;

pub(super) use protocol::http2_options;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::config_source::Source;
use super::pb::cds::Cluster as XdsCluster;
use super::pb::protobuf::value::Kind;
use super::pb::{cds, core};
use super::{At, Context, Converted, WaitsForSecrets, hash, take, tls, values};
use crate::config::{
    Cluster, ClusterService, Discovery, EndpointSlot, Transport, TransportMatch, UpstreamSocket,
};

/// A cluster and what it waits for.
#[derive(Debug)]
pub struct ConvertedCluster {
    /// The cluster.
    pub cluster: Cluster,
    /// How long endpoints are waited for at first (`initial_fetch_timeout`); none where there is nothing to wait for.
    pub waits_for_endpoints: Option<Duration>,
    /// Secrets that SDS must give, and how long they are waited for.
    pub waits_for_secrets: WaitsForSecrets,
    /// The file that endpoints come from; none: they come from the control plane.
    pub endpoints_file: Option<PathBuf>,
}

/// Converts a cluster.
///
/// # Errors
/// The path of the field that cannot be used.
pub fn cluster(message: &XdsCluster, context: &Context) -> Converted<ConvertedCluster> {
    let at = &At::root("cluster");
    take!(message, at, XdsCluster {
        name, alt_stat_name, transport_socket_matches, transport_socket, eds_cluster_config, connect_timeout, lb_policy,
        load_assignment, max_requests_per_connection, circuit_breakers, upstream_http_protocol_options,
        common_http_protocol_options, http2_protocol_options, typed_extension_protocol_options, dns_refresh_rate,
        dns_lookup_family, outlier_detection, upstream_bind_config, common_lb_config, metadata, protocol_selection,
        upstream_connection_options, health_checks, filters, load_balancing_policy, cluster_discovery_type, lb_config,
        lb_subset_config,
    } ignore_as Cluster {
        per_connection_buffer_limit_bytes, per_connection_buffer_high_watermark_timeout, stats_matcher,
        track_timeout_budgets, track_cluster_stats, lrs_server, lrs_report_endpoint_metrics, dns_jitter,
        dns_failure_refresh_rate, respect_dns_ttl, typed_dns_resolver_config, wait_for_warm_on_init, cleanup_interval,
        preconnect_policy, close_connections_on_host_health_failure, ignore_health_on_host_removal,
        http_protocol_options,
    } refuse {
        transport_socket_matcher, upstream_config, connection_pool_per_downstream_connection, queuing_policies, use_tcp_for_dns_lookups, dns_resolvers,
        dns_resolution_config,
    });
    if name.is_empty() {
        return Err(at.field("name").missing());
    }
    let dns = discovery::DnsSettings { refresh: dns_refresh_rate, family: *dns_lookup_family };
    let found =
        discovery::Found::read(name, cluster_discovery_type, eds_cluster_config, load_assignment, &dns, at)?;
    let (discovery, set) = found.with_lb_config(lb_config, at)?;
    let endpoints = match (&discovery, set) {
        (Discovery::Eds, _) => context.store.endpoint_slot(discovery::eds_service(name, eds_cluster_config)),
        (_, Some(set)) => Arc::new(EndpointSlot::holding(name.as_str(), set)),
        (_, None) => Arc::new(EndpointSlot::empty(name.as_str())),
    };
    let eds = matches!(discovery, Discovery::Eds);
    let mut cluster = Cluster::with(name, discovery, endpoints);
    cluster.hash = hash(message);
    if !alt_stat_name.is_empty() {
        cluster.stat_name = alt_stat_name.as_str().into();
    }
    if let Some(limit) = values::optional_duration(connect_timeout, &at.field("connect_timeout"))? {
        cluster.connect_timeout = limit;
    }
    let balancing = balancing::Balancing {
        policy: *lb_policy,
        config: lb_config,
        extension: load_balancing_policy,
        common: common_lb_config,
    };
    balancing::apply(balancing, &mut cluster, at)?;
    cluster.subsets = subsets::read(lb_subset_config, &at.field("lb_subset_config"))?.map(Arc::new);
    limits::circuit_breakers(circuit_breakers, &mut cluster, &at.field("circuit_breakers"))?;
    cluster.health_check = health::read(health_checks, &at.field("health_checks"))?.map(Box::new);
    cluster.outlier = limits::outlier_detection(outlier_detection, &at.field("outlier_detection"))?;
    let mut transport = TransportOptions::default();
    protocol::apply(
        protocol::Legacy {
            common: common_http_protocol_options,
            http2: http2_protocol_options,
            upstream: upstream_http_protocol_options,
            selection: *protocol_selection,
            max_requests: max_requests_per_connection,
        },
        typed_extension_protocol_options,
        &mut cluster,
        &mut transport,
        at,
    )?;
    let mut waits_for_secrets = WaitsForSecrets::new();
    let mut reader = tls::Reader { context, waits: &mut waits_for_secrets };
    cluster.transport =
        read_transport(transport_socket, transport_socket_matches, &transport, &mut reader, at)?;
    cluster.socket = socket(upstream_bind_config, upstream_connection_options, context, at)?;
    cluster.services = services(metadata);
    let alpn = values::metadata(metadata, "istio").and_then(|istio| values::text(istio, "alpn_override"));
    cluster.alpn_override = alpn != Some("false");
    cluster.exchange = network_filters(filters, &at.field("filters"))?;
    let (waits_for_endpoints, endpoints_file) =
        if eds { endpoints_from(eds_cluster_config, at)? } else { (None, None) };
    Ok(ConvertedCluster { cluster, waits_for_endpoints, waits_for_secrets, endpoints_file })
}

/// How long endpoints are waited for, and the file that they come from where it is not the control plane.
fn endpoints_from(
    config: &Option<cds::cluster::EdsClusterConfig>,
    at: &At<'_>,
) -> Converted<(Option<Duration>, Option<PathBuf>)> {
    Ok(match discovery::eds_source(config, at)? {
        (Source::Ads, wait) => (Some(wait), None),
        (Source::File(path), wait) => (Some(wait), Some(path)),
    })
}

/// What the protocol options say about TLS.
#[derive(Debug, Default)]
pub(super) struct TransportOptions {
    /// Take the server name from this header of the request; `:authority` is the rule.
    pub(super) auto_sni: Option<Box<str>>,
    /// Verify the certificate against the authority's name.
    pub(super) auto_san_validation: bool,
    /// ALPN where the TLS context names none, by the protocol that is spoken.
    pub(super) alpn: &'static [&'static str],
}

fn read_transport(
    socket: &Option<core::TransportSocket>,
    matches: &[cds::cluster::TransportSocketMatch],
    options: &TransportOptions,
    reader: &mut tls::Reader<'_>,
    at: &At<'_>,
) -> Converted<Transport> {
    let fallback = match socket {
        Some(socket) => tls::client(socket, options, reader, &at.field("transport_socket"))?,
        None => None,
    };
    if matches.is_empty() {
        return Ok(fallback.map_or(Transport::Plain, Transport::Tls));
    }
    let field = at.field("transport_socket_matches");
    let mut list = Vec::with_capacity(matches.len() + 1);
    for (index, candidate) in matches.iter().enumerate() {
        let at = field.index(index);
        let tls = match &candidate.transport_socket {
            Some(socket) => tls::client(socket, options, reader, &at.field("transport_socket"))?,
            None => None,
        };
        let labels = candidate.r#match.as_ref().map(values::labels).unwrap_or_default();
        list.push(TransportMatch { labels, tls });
    }
    list.push(TransportMatch { labels: Vec::new(), tls: fallback });
    Ok(Transport::Matches(list))
}

fn socket(
    bind: &Option<core::BindConfig>,
    connection: &Option<cds::UpstreamConnectionOptions>,
    context: &Context,
    at: &At<'_>,
) -> Converted<UpstreamSocket> {
    let mut socket = match bind {
        Some(bind) => bind_config(bind, &at.field("upstream_bind_config"))?,
        None => context.upstream_socket.clone(),
    };
    if let Some(connection) = connection {
        use cds::UpstreamConnectionOptions;
        take!(connection, at, UpstreamConnectionOptions { tcp_keepalive } ignore {
            set_local_interface_name_on_upstream_connections, happy_eyeballs_config,
        });
        socket.keepalive = tcp_keepalive.as_ref().map(values::keepalive).or(socket.keepalive);
    }
    Ok(socket)
}

/// Source address and mark of upstream sockets. `SO_MARK` (level 1, option 36) is the one socket option that is known.
///
/// # Errors
/// Another socket option, or an address that is none.
pub(crate) fn bind_config(bind: &core::BindConfig, at: &At<'_>) -> Converted<UpstreamSocket> {
    const SOL_SOCKET: i64 = 1;
    const SO_MARK: i64 = 36;
    use core::BindConfig;
    use core::socket_option::Value;
    take!(bind, at, BindConfig {
        source_address, socket_options, extra_source_addresses, additional_source_addresses,
    } ignore { freebind, validate_network_namespaces } refuse { local_address_selector });
    let mut socket = UpstreamSocket::default();
    if let Some(address) = source_address {
        sources::add(&mut socket, address, &at.field("source_address"))?;
    }
    sources::extra(&mut socket, extra_source_addresses, additional_source_addresses, at)?;
    for (index, option) in socket_options.iter().enumerate() {
        let field = at.field("socket_options");
        let at = field.index(index);
        match (option.level, option.name, &option.value) {
            (SOL_SOCKET, SO_MARK, Some(Value::IntValue(mark))) => {
                socket.mark =
                    Some(u32::try_from(*mark).map_err(|_| at.error(format!("{mark} is not a mark")))?);
            }
            (level, name, _) => return Err(at.unsupported(format!("socket option {name} of level {level}"))),
        }
    }
    Ok(socket)
}

/// Istio's list of the services that a cluster stands for.
fn services(metadata: &Option<core::Metadata>) -> Vec<ClusterService> {
    let Some(istio) = values::metadata(metadata, "istio") else { return Vec::new() };
    let Some(Kind::ListValue(list)) =
        istio.fields.get("services").and_then(|services| services.kind.as_ref())
    else {
        return Vec::new();
    };
    let service = |value: &super::pb::protobuf::Value| match &value.kind {
        Some(Kind::StructValue(fields)) => {
            let text = |key| values::text(fields, key).unwrap_or_default().into();
            Some(ClusterService { host: text("host"), name: text("name"), namespace: text("namespace") })
        }
        _ => None,
    };
    list.values.iter().filter_map(service).collect()
}

/// Whether there is Istio's metadata exchange, the one upstream network filter that is known.
fn network_filters(filters: &[cds::Filter], at: &At<'_>) -> Converted<bool> {
    match filters.iter().find(|filter| !EXCHANGE.contains(&filter.name.as_str())) {
        Some(filter) => Err(at.unsupported(format!("the filter {}", filter.name))),
        None => Ok(!filters.is_empty()),
    }
}

/// Names of Istio's metadata exchange, today's and older ones.
const EXCHANGE: [&str; 3] = [
    "istio.metadata_exchange",
    "envoy.filters.network.metadata_exchange",
    "envoy.filters.network.upstream.metadata_exchange",
];
