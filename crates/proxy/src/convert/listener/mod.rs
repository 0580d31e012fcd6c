//! `envoy.config.listener.v3.Listener`.

mod chain;
mod filters;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;

use super::pb::lds::Listener as XdsListener;
use super::pb::{core, lds};
use super::{At, Context, Converted, WaitsForSecrets, access_log, hash, take, values};
use crate::config::{FilterChain, Listener, Terminal, TrafficDirection};

/// A listener and what it needs.
#[derive(Debug)]
pub struct ConvertedListener {
    /// The listener.
    pub listener: Listener,
    /// Route configurations that RDS must give before the listener is used, and how long they are waited for.
    pub waits_for_routes: Vec<(Arc<str>, Duration)>,
    /// Secrets that SDS must give, and how long they are waited for.
    pub waits_for_secrets: WaitsForSecrets,
}

/// What is gathered while a listener is converted.
#[derive(Debug)]
pub(super) struct Gathered<'a> {
    pub(super) context: &'a Context,
    pub(super) direction: TrafficDirection,
    pub(super) routes: Vec<(Arc<str>, Duration)>,
    pub(super) secrets: WaitsForSecrets,
}

/// Converts a listener. Route configurations within it get slots of their own.
///
/// # Errors
/// The path of the field that cannot be used.
pub fn listener(message: &XdsListener, context: &Context) -> Converted<ConvertedListener> {
    let at = &At::root("listener");
    take!(message, at, XdsListener {
        name, address, additional_addresses, filter_chains, use_original_dst, default_filter_chain,
        per_connection_buffer_limit_bytes, deprecated_v1, listener_filters, listener_filters_timeout,
        continue_on_listener_filters_timeout, transparent, traffic_direction, access_log, tcp_backlog_size,
        bind_to_port, tcp_keepalive, drain_type,
    } ignore_as Listener {
        stat_prefix, stats_matcher, per_connection_buffer_high_watermark_timeout, metadata,
        connection_balance_config, max_connections_to_accept_per_socket_event, reuse_port, enable_reuse_port,
        tcp_fast_open_queue_length, enable_mptcp, freebind, socket_options, ignore_global_conn_limit,
        bypass_overload_manager,
    } refuse { fcds_config, filter_chain_matcher, udp_listener_config, api_listener, listener_specifier });
    let direction = match core::TrafficDirection::try_from(*traffic_direction) {
        Ok(core::TrafficDirection::Inbound) => TrafficDirection::Inbound,
        Ok(core::TrafficDirection::Outbound) => TrafficDirection::Outbound,
        Ok(core::TrafficDirection::Unspecified) => TrafficDirection::Unspecified,
        Err(_) => return Err(at.field("traffic_direction").unsupported(traffic_direction)),
    };
    let addresses = addresses(address, additional_addresses, at)?;
    let mut gathered = Gathered { context, direction, routes: Vec::new(), secrets: Vec::new() };
    let field = at.field("filter_chains");
    let chains = filter_chains.iter().enumerate();
    let chains = chains.map(|(index, chain)| chain::read(chain, &mut gathered, &field.index(index)));
    let mut filter_chains: Vec<FilterChain> = chains.collect::<Result<_, _>>()?;
    name_foreigners(&mut filter_chains);
    let filter_chains: Vec<_> = filter_chains.into_iter().map(Arc::new).collect();
    let default_chain = match default_filter_chain {
        Some(chain) => Some(Arc::new(chain::read(chain, &mut gathered, &at.field("default_filter_chain"))?)),
        None => None,
    };
    if filter_chains.is_empty() && default_chain.is_none() {
        return Err(at.field("filter_chains").error("must hold at least one filter chain"));
    }
    let mut listener_filters = filters::read(listener_filters, &at.field("listener_filters"))?;
    let limit = values::optional_duration(listener_filters_timeout, &at.field("listener_filters_timeout"))?;
    listener_filters.timeout = limit.unwrap_or(listener_filters.timeout);
    listener_filters.continue_on_timeout = *continue_on_listener_filters_timeout;
    let bind = deprecated_v1.as_ref().and_then(|old| old.bind_to_port.as_ref()).or(bind_to_port.as_ref());
    let listener = Listener {
        name: Arc::from(if name.is_empty() { format!("{}", addresses[0]) } else { name.clone() }),
        hash: hash(message),
        addresses,
        bind_to_port: bind.is_none_or(|bind| bind.value),
        transparent: values::bool_or(transparent, false),
        use_original_dst: values::bool_or(use_original_dst, false),
        direction,
        listener_filters,
        filter_chains,
        default_chain,
        buffer_limit: values::u32_or(per_connection_buffer_limit_bytes, 1 << 20),
        keepalive: tcp_keepalive.as_ref().map(values::keepalive),
        backlog: values::u32_or(tcp_backlog_size, 4096),
        access_logs: access_log::read_all(access_log, context, &at.field("access_log"))?,
        drains_when_failing: match lds::listener::DrainType::try_from(*drain_type) {
            Ok(lds::listener::DrainType::Default) => true,
            Ok(lds::listener::DrainType::ModifyOnly) => false,
            Err(_) => return Err(at.field("drain_type").unsupported(drain_type)),
        },
    };
    Ok(ConvertedListener { listener, waits_for_routes: gathered.routes, waits_for_secrets: gathered.secrets })
}

/// Tells each chain of HTTP over TLS the server names of the others.
fn name_foreigners(chains: &mut [FilterChain]) {
    let secure = |chain: &FilterChain| chain.tls.is_some();
    let all: Vec<_> =
        chains.iter().filter(|chain| secure(chain)).map(|c| c.matches.server_names.clone()).collect();
    if all.len() < 2 {
        return;
    }
    let http = |chain: &&mut FilterChain| secure(chain) && matches!(chain.terminal, Terminal::Http(_));
    for chain in chains.iter_mut().filter(http) {
        let own = &chain.matches.server_names;
        let foreign: Vec<_> = all.iter().flatten().filter(|name| !own.contains(name)).cloned().collect();
        chain.foreign_names = ArcSwap::from_pointee(foreign);
    }
}

fn addresses(
    address: &Option<core::Address>,
    additional: &[lds::AdditionalAddress],
    at: &At<'_>,
) -> Converted<Vec<std::net::SocketAddr>> {
    use lds::AdditionalAddress;
    let mut addresses = vec![values::ip_port(address, &at.field("address"))?];
    let field = at.field("additional_addresses");
    for (index, more) in additional.iter().enumerate() {
        take!(more, at, AdditionalAddress { address } ignore { socket_options, tcp_keepalive });
        addresses.push(values::ip_port(address, &field.index(index).field("address"))?);
    }
    Ok(addresses)
}
