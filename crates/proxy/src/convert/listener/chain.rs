//! Filter chains and their match.

use std::sync::Arc;

use prost::Name as _;

use lateen_xds::pb::envoy::extensions::filters::network::http_connection_manager::v3::HttpConnectionManager;
use lateen_xds::pb::envoy::extensions::filters::network::tcp_proxy::v3::TcpProxy;

use lateen_xds::pb::envoy::extensions::filters::network::ext_authz::v3::ExtAuthz;
use lateen_xds::pb::envoy::extensions::filters::network::rbac::v3::Rbac;

use super::super::pb::{lds, protobuf};
use super::super::{
    At, Converted, any, ext_authz, http_filter, http_manager, rbac, take, tcp_proxy, tls, values,
};
use super::Gathered;
use crate::config::{
    FilterChain as Chain, FilterChainMatch as Match, NetworkFilter, SourceType, Terminal, TransportProtocol,
};
use crate::convert::hash;

/// Names of Istio's metadata exchange.
const EXCHANGE: [&str; 2] = ["istio.metadata_exchange", "envoy.filters.network.metadata_exchange"];

/// Reads one filter chain.
pub(super) fn read(message: &lds::FilterChain, gathered: &mut Gathered<'_>, at: &At<'_>) -> Converted<Chain> {
    use lds::FilterChain;
    take!(message, at, FilterChain {
        filter_chain_match, filters, transport_socket, transport_socket_connect_timeout, name, use_proxy_proto,
    } ignore { metadata });
    if values::bool_or(use_proxy_proto, false) {
        return Err(at
            .field("use_proxy_proto")
            .error("is not supported; use the listener filter proxy_protocol"));
    }
    let matches = match filter_chain_match {
        Some(wanted) => read_match(wanted, &at.field("filter_chain_match"))?,
        None => Match::default(),
    };
    let tls = match transport_socket {
        Some(socket) => {
            let mut reader = tls::Reader { context: gathered.context, waits: &mut gathered.secrets };
            tls::server(socket, &mut reader, &at.field("transport_socket"))?
        }
        None => None,
    };
    Ok(Chain {
        name: name.as_str().into(),
        hash: hash(message),
        matches,
        foreign_names: Default::default(),
        tls,
        handshake_timeout: values::timeout(
            transport_socket_connect_timeout,
            None,
            &at.field("transport_socket_connect_timeout"),
        )?,
        filters: before(filters, gathered, &at.field("filters"))?,
        terminal: terminal(filters, gathered, &at.field("filters"))?,
        drain: Default::default(),
    })
}

/// The filters before the last that do something.
fn before(filters: &[lds::Filter], gathered: &Gathered<'_>, at: &At<'_>) -> Converted<Vec<NetworkFilter>> {
    let Some((_, before)) = filters.split_last() else { return Ok(Vec::new()) };
    let mut read = Vec::new();
    for (index, filter) in before.iter().enumerate() {
        let at = at.index(index);
        let field = at.field("typed_config");
        match typed(filter) {
            Some(config) if any::is::<Rbac>(config) => {
                let policy = rbac::read_network(&any::decode(config, &field)?, gathered.context, &field)?;
                read.push(NetworkFilter::Rbac(Arc::new(policy)));
            }
            Some(config) if any::is::<ExtAuthz>(config) => {
                let policy =
                    ext_authz::read_network(&any::decode(config, &field)?, gathered.context, &field)?;
                read.push(NetworkFilter::ExtAuthz(Arc::new(policy)));
            }
            Some(config) if is_istio_stats(config) => {
                http_filter::read_stats(config, gathered.context, gathered.direction, &field)?;
            }
            _ if EXCHANGE.contains(&filter.name.as_str()) => {}
            _ => return Err(at.unsupported(format!("the filter {}", filter.name))),
        }
    }
    Ok(read)
}

fn terminal(filters: &[lds::Filter], gathered: &mut Gathered<'_>, at: &At<'_>) -> Converted<Terminal> {
    // Istio's metrics of TCP are a filter before the proxy.
    let metrics = filters.iter().any(|filter| typed(filter).is_some_and(is_istio_stats));
    let Some((last, before)) = filters.split_last() else { return Ok(Terminal::Close) };
    let field = at.index(before.len());
    let at = field.field("typed_config");
    let config = typed(last).ok_or_else(|| at.missing())?;
    match any::name(config) {
        name if name == HttpConnectionManager::full_name() => {
            let manager = http_manager::read(&any::decode(config, &at)?, gathered, &at)?;
            Ok(Terminal::Http(manager.into()))
        }
        name if name == TcpProxy::full_name() => {
            let mut proxy = tcp_proxy::read(&any::decode(config, &at)?, gathered.context, &at)?;
            proxy.exchange = before.iter().any(|filter| EXCHANGE.contains(&filter.name.as_str()));
            if metrics {
                proxy.access_logs.push(gathered.context.istio.tcp_log(gathered.direction));
            }
            Ok(Terminal::Tcp(proxy.into()))
        }
        name => Err(field.unsupported(format!("the filter {} ({name})", last.name))),
    }
}

fn typed(filter: &lds::Filter) -> Option<&protobuf::Any> {
    match &filter.config_type {
        Some(lds::filter::ConfigType::TypedConfig(config)) => Some(config),
        _ => None,
    }
}

/// Istio's `istio.stats`, by its type or wrapped in a TypedStruct.
fn is_istio_stats(config: &protobuf::Any) -> bool {
    http_filter::istio_type(config).as_deref() == Some("stats.PluginConfig")
}

fn read_match(wanted: &lds::FilterChainMatch, at: &At<'_>) -> Converted<Match> {
    use lds::FilterChainMatch;
    use lds::filter_chain_match::ConnectionSourceType;
    take!(wanted, at, FilterChainMatch {
        destination_port, prefix_ranges, direct_source_prefix_ranges, source_type, source_prefix_ranges, source_ports,
        server_names, transport_protocol, application_protocols,
    } refuse { address_suffix, suffix_len });
    let destination_port = match destination_port {
        Some(port) => Some(values::port(port.value, &at.field("destination_port"))?),
        None => None,
    };
    let source_type = match ConnectionSourceType::try_from(*source_type) {
        Ok(ConnectionSourceType::Any) => SourceType::Any,
        Ok(ConnectionSourceType::SameIpOrLoopback) => SourceType::SameIpOrLoopback,
        Ok(ConnectionSourceType::External) => SourceType::External,
        Err(_) => return Err(at.field("source_type").unsupported(source_type)),
    };
    let field = at.field("server_names");
    for (index, name) in server_names.iter().enumerate() {
        // Envoy refuses wildcards other than at the start.
        if name.trim_start_matches("*.").contains('*') && name != "*" {
            return Err(field
                .index(index)
                .error(format!("`{name}`: a wildcard may only be the first label")));
        }
    }
    let source_ports: Result<_, _> =
        source_ports.iter().map(|value| values::port(*value, &at.field("source_ports"))).collect();
    Ok(Match {
        destination_port,
        prefix_ranges: values::cidrs(prefix_ranges, &at.field("prefix_ranges"))?,
        server_names: server_names.iter().map(|name| name.to_ascii_lowercase().into()).collect(),
        transport_protocol: match transport_protocol.as_str() {
            "" => None,
            "raw_buffer" => Some(TransportProtocol::RawBuffer),
            "tls" => Some(TransportProtocol::Tls),
            other => return Err(at.field("transport_protocol").unsupported(other)),
        },
        application_protocols: application_protocols.iter().map(|name| name.as_str().into()).collect(),
        direct_source_ranges: values::cidrs(
            direct_source_prefix_ranges,
            &at.field("direct_source_prefix_ranges"),
        )?,
        source_type,
        source_ranges: values::cidrs(source_prefix_ranges, &at.field("source_prefix_ranges"))?,
        source_ports: source_ports?,
    })
}
