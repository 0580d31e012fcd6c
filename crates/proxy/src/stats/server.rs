//! Counters of the process: xDS, listeners, clusters.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use super::{Kind, Metric};
use crate::config::Store;

/// Counters off the request path.
#[derive(Debug)]
pub struct ServerStats {
    /// When the process began.
    pub start: Instant,
    /// The stream to the control plane is open.
    pub connected: AtomicBool,
    /// Listeners and clusters of the control plane have come and are in use.
    pub live: AtomicBool,
    /// `/healthcheck/fail` was asked for.
    pub failing: AtomicBool,
    /// Nothing is listened to any more.
    pub draining: AtomicBool,
    /// A graceful drain has begun.
    pub graceful: AtomicBool,
    /// Resources that were put in force and rejected, by type.
    pub xds: [XdsStats; 4],
    /// Listeners created, changed and removed.
    pub listeners: Changes,
    /// Clusters added, changed and removed.
    pub clusters: Changes,
    /// Listeners that wait for their routes.
    pub listeners_warming: AtomicU64,
    /// Clusters that wait for their endpoints.
    pub clusters_warming: AtomicU64,
}

/// Counters of one discovery service.
#[derive(Debug, Default)]
pub struct XdsStats {
    /// Responses.
    pub attempts: AtomicU64,
    /// Responses accepted.
    pub successes: AtomicU64,
    /// Responses rejected.
    pub rejected: AtomicU64,
}

/// Counters of a set that changes.
#[derive(Debug, Default)]
pub struct Changes {
    /// New.
    pub added: AtomicU64,
    /// Replaced.
    pub modified: AtomicU64,
    /// Removed.
    pub removed: AtomicU64,
}

/// Envoy's prefixes in the order of [`ServerStats::xds`].
const XDS: [&str; 4] = ["cluster_manager.cds", "listener_manager.lds", "http.rds", "cluster.eds"];

impl Default for ServerStats {
    fn default() -> Self {
        ServerStats {
            start: Instant::now(),
            connected: AtomicBool::new(false),
            live: AtomicBool::new(false),
            failing: AtomicBool::new(false),
            draining: AtomicBool::new(false),
            graceful: AtomicBool::new(false),
            xds: Default::default(),
            listeners: Changes::default(),
            clusters: Changes::default(),
            listeners_warming: AtomicU64::new(0),
            clusters_warming: AtomicU64::new(0),
        }
    }
}

impl ServerStats {
    /// The values, with sizes read from the configuration in force.
    pub fn collect(&self, store: &Store, out: &mut Vec<Metric>) {
        let mut gauge = |name: &str, value: u64| out.push(Metric::plain(name, Kind::Gauge, value));
        gauge("control_plane.connected_state", self.connected.load(Ordering::Relaxed).into());
        gauge("listener_manager.total_listeners_active", store.listeners().by_name.len() as u64);
        gauge("listener_manager.total_listeners_warming", self.listeners_warming.load(Ordering::Relaxed));
        gauge("listener_manager.total_filter_chains_draining", store.draining_chains() as u64);
        gauge("listener_manager.workers_started", 1);
        gauge("cluster_manager.active_clusters", store.clusters().len() as u64);
        gauge("cluster_manager.warming_clusters", self.clusters_warming.load(Ordering::Relaxed));
        gauge("server.concurrency", store.workers() as u64);
        gauge("server.live", self.live.load(Ordering::Relaxed).into());
        gauge("server.state", if self.draining.load(Ordering::Relaxed) { 1 } else { 0 });
        gauge("server.uptime", self.start.elapsed().as_secs());
        gauge("server.memory_allocated", resident_bytes());
        let mut counter = |name: &str, value: &AtomicU64| {
            out.push(Metric::plain(name, Kind::Counter, value.load(Ordering::Relaxed)));
        };
        counter("listener_manager.listener_added", &self.listeners.added);
        counter("listener_manager.listener_modified", &self.listeners.modified);
        counter("listener_manager.listener_removed", &self.listeners.removed);
        counter("cluster_manager.cluster_added", &self.clusters.added);
        counter("cluster_manager.cluster_modified", &self.clusters.modified);
        counter("cluster_manager.cluster_removed", &self.clusters.removed);
        for (prefix, stats) in XDS.iter().zip(&self.xds) {
            counter(&format!("{prefix}.update_attempt"), &stats.attempts);
            counter(&format!("{prefix}.update_success"), &stats.successes);
            counter(&format!("{prefix}.update_rejected"), &stats.rejected);
        }
    }
}

/// Resident memory of the process; 0 where /proc does not tell.
pub(crate) fn resident_bytes() -> u64 {
    const PAGE: u64 = 4096;
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split_ascii_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * PAGE
}
