//! All values of Envoy's names.

use std::collections::BTreeMap;

use super::{Metric, ServerStats, policies};
use crate::config::{FilterChain, Store, Terminal};

/// Reads every value; sorted by name.
pub fn collect(store: &Store, server: &ServerStats) -> Vec<Metric> {
    let mut metrics = Vec::new();
    server.collect(store, &mut metrics);
    clusters(store, &mut metrics);
    listeners(store, &mut metrics);
    metrics.sort_by(|a, b| a.name.cmp(&b.name));
    metrics
}

fn clusters(store: &Store, out: &mut Vec<Metric>) {
    for slot in store.clusters().values() {
        let Some(cluster) = slot.load().as_ref().cloned() else { continue };
        let mut push = |counter: &str, value| {
            out.push(Metric::scoped("cluster", "envoy_cluster_name", &cluster.stat_name, counter, value));
        };
        for (counter, value) in slot.stats.read().into_iter().chain(slot.tls_stats.read()) {
            push(counter, value);
        }
        let endpoints = cluster.endpoints.load();
        let healthy = endpoints.endpoints.iter().filter(|endpoint| endpoint.usable()).count();
        let gauges = [("membership_total", endpoints.endpoints.len()), ("membership_healthy", healthy)];
        for (name, value) in gauges {
            let mut metric =
                Metric::scoped("cluster", "envoy_cluster_name", &cluster.stat_name, name, value as u64);
            metric.kind = super::Kind::Gauge;
            out.push(metric);
        }
    }
}

/// Sums by prefix: managers of several chains may bear the same.
type ByPrefix = BTreeMap<String, BTreeMap<&'static str, u64>>;

fn add(sums: &mut ByPrefix, prefix: &str, values: Vec<(&'static str, u64)>) {
    let sums = sums.entry(prefix.to_owned()).or_default();
    for (name, value) in values {
        let sum = sums.entry(name).or_default();
        *sum = sum.wrapping_add(value);
    }
}

fn listeners(store: &Store, out: &mut Vec<Metric>) {
    let (mut http, mut tcp) = (ByPrefix::new(), ByPrefix::new());
    let mut policies = BTreeMap::new();
    for active in store.listeners().by_name.values() {
        let address = active.config.addresses.first().map(|address| address.to_string().replace(':', "_"));
        for (counter, value) in active.stats.read().into_iter().chain(active.tls_stats.read()) {
            let address = address.as_deref().unwrap_or(&active.config.name);
            out.push(Metric::scoped("listener", "envoy_listener_address", address, counter, value));
        }
        let chains = active.config.filter_chains.iter().chain(&active.config.default_chain);
        for chain in chains {
            chain_stats(chain, &mut http, &mut tcp);
            policies::chain(chain, &mut policies);
        }
    }
    out.extend(policies.into_iter().map(|(name, value)| policies::metric(name, value)));
    for (sums, scope, label) in
        [(http, "http", "envoy_http_conn_manager_prefix"), (tcp, "tcp", "envoy_tcp_prefix")]
    {
        for (prefix, counters) in sums {
            for (counter, value) in counters {
                out.push(Metric::scoped(scope, label, &prefix, counter, value));
            }
        }
    }
}

fn chain_stats(chain: &FilterChain, http: &mut ByPrefix, tcp: &mut ByPrefix) {
    match &chain.terminal {
        Terminal::Http(manager) => add(http, &manager.stat_prefix, manager.stats.read()),
        Terminal::Tcp(proxy) => add(tcp, &proxy.stat_prefix, proxy.stats.read()),
        Terminal::Close => {}
    }
}
