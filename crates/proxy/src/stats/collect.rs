//! All values of Envoy's names.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use super::histogram::Total;
use super::{Kind, Metric, ServerStats, policies};
use crate::access_log::{Counts, Sinks};
use crate::config::{FilterChain, Store, Terminal};
use crate::trace::Tracers;

/// Reads every value.
pub fn collect(store: &Store, server: &ServerStats) -> Vec<Metric> {
    let mut metrics = Vec::new();
    server.collect(store, &mut metrics);
    clusters(store, &mut metrics);
    listeners(store, &mut metrics);
    metrics
}

/// Counters of access logs' files.
pub fn collect_logs(sinks: &Sinks, out: &mut Vec<Metric>) {
    let mut counter = |name: &str, of: fn(&Counts) -> &AtomicU64| {
        out.push(Metric::plain(name, Kind::Counter, sinks.sum(of)))
    };
    counter("filesystem.write_buffered", |counts| &counts.batches);
    counter("filesystem.write_completed", |counts| &counts.written);
    counter("filesystem.write_failed", |counts| &counts.failed);
    counter("access_log.lines_dropped", |counts| &counts.dropped);
}

/// Counters of the tracers in use.
pub fn collect_traces(tracers: &Tracers, out: &mut Vec<Metric>) {
    for (name, counts) in tracers.counts() {
        let mut counter = |what: &str, value: &AtomicU64| {
            let value = value.load(Ordering::Relaxed);
            out.push(Metric::plain(&format!("tracing.{name}.{what}"), Kind::Counter, value));
        };
        counter("spans_sent", &counts.sent);
        counter("spans_dropped", &counts.dropped);
    }
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
        if let Some(health) = slot.health.get() {
            push("health_check.attempt", health.attempt.load(Ordering::Relaxed));
            push("health_check.success", health.success.load(Ordering::Relaxed));
            push("health_check.failure", health.failure.load(Ordering::Relaxed));
            push("health_check.network_failure", health.network_failure.load(Ordering::Relaxed));
        }
        for (name, total) in slot.stats.read_histograms() {
            out.push(Metric::histogram("cluster", "envoy_cluster_name", &cluster.stat_name, name, total));
        }
        let endpoints = cluster.endpoints.load();
        let healthy = endpoints.endpoints.iter().filter(|endpoint| endpoint.usable()).count();
        let gauges = [("membership_total", endpoints.endpoints.len()), ("membership_healthy", healthy)];
        for (name, value) in gauges {
            let mut metric =
                Metric::scoped("cluster", "envoy_cluster_name", &cluster.stat_name, name, value as u64);
            metric.kind = Kind::Gauge;
            out.push(metric);
        }
    }
}

/// Sums by prefix: managers of several chains may bear the same.
#[derive(Default)]
struct Sums {
    counters: BTreeMap<&'static str, u64>,
    histograms: BTreeMap<&'static str, Total>,
}

type ByPrefix = BTreeMap<String, Sums>;

fn add(
    sums: &mut ByPrefix,
    prefix: &str,
    counters: Vec<(&'static str, u64)>,
    histograms: Vec<(&'static str, Total)>,
) {
    let sums = sums.entry(prefix.to_owned()).or_default();
    for (name, value) in counters {
        let sum = sums.counters.entry(name).or_default();
        *sum = sum.wrapping_add(value);
    }
    for (name, total) in histograms {
        sums.histograms.entry(name).or_default().merge(&total);
    }
}

fn listeners(store: &Store, out: &mut Vec<Metric>) {
    let (mut http, mut tcp) = (ByPrefix::new(), ByPrefix::new());
    let mut policies = BTreeMap::new();
    for active in store.listeners().by_name.values() {
        let address = active.config.addresses.first().map(|address| address.to_string().replace(':', "_"));
        let address = address.as_deref().unwrap_or(&active.config.name);
        for (counter, value) in active.stats.read().into_iter().chain(active.tls_stats.read()) {
            out.push(Metric::scoped("listener", "envoy_listener_address", address, counter, value));
        }
        for (name, total) in active.stats.read_histograms() {
            out.push(Metric::histogram("listener", "envoy_listener_address", address, name, total));
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
        for (prefix, sums) in sums {
            for (counter, value) in sums.counters {
                out.push(Metric::scoped(scope, label, &prefix, counter, value));
            }
            for (name, total) in sums.histograms {
                out.push(Metric::histogram(scope, label, &prefix, name, total));
            }
        }
    }
}

fn chain_stats(chain: &FilterChain, http: &mut ByPrefix, tcp: &mut ByPrefix) {
    match &chain.terminal {
        Terminal::Http(manager) => {
            add(http, &manager.stat_prefix, manager.stats.read(), manager.stats.read_histograms());
        }
        Terminal::Tcp(proxy) => add(tcp, &proxy.stat_prefix, proxy.stats.read(), Vec::new()),
        Terminal::Close => {}
    }
}
