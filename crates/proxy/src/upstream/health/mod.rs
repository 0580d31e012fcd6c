//! Active health checks: one task a cluster that is checked, one an endpoint, all on one worker, off the request path.

mod probe;
mod verdict;

use super::balancer::health_changed;
use crate::config::{Cluster, ClusterSlot, Endpoint, EndpointSet, HealthCheck, Store};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::task::JoinHandle;
use verdict::{Told, Verdict};

/// How often a cluster is asked for endpoints that came or went.
const LOOK: Duration = Duration::from_millis(200);

/// Counters of a cluster's checks (`cluster.<name>.health_check.*`).
#[derive(Debug, Default)]
pub struct HealthStats {
    /// Checks.
    pub attempt: AtomicU64,
    /// Those that succeeded.
    pub success: AtomicU64,
    /// Those that failed.
    pub failure: AtomicU64,
    /// Those that failed because the endpoint was not reached.
    pub network_failure: AtomicU64,
}

/// Tasks that end when their owner forgets them.
struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Checks the endpoints of all clusters that want it, for as long as the store lives.
pub async fn run(store: Arc<Store>) {
    let mut changes = store.health_changes();
    let mut clusters: HashMap<Arc<str>, (Arc<Cluster>, Task)> = HashMap::new();
    loop {
        let table = store.clusters();
        clusters.retain(|name, (checked, _)| {
            let current = table.get(name).and_then(|slot| slot.load().clone());
            current.is_some_and(|current| Arc::ptr_eq(&current, checked) || same(&current, checked))
        });
        for (name, slot) in table.iter() {
            let Some(cluster) = slot.load().clone() else { continue };
            if cluster.health_check.is_some() && !clusters.contains_key(name) {
                let task = tokio::task::spawn_local(watch(slot.clone(), cluster.clone()));
                clusters.insert(name.clone(), (cluster, Task(task)));
            }
        }
        drop(table);
        if changes.changed().await.is_err() {
            return;
        }
    }
}

/// Whether checks may go on as they are.
fn same(a: &Cluster, b: &Cluster) -> bool {
    a.hash != 0 && a.hash == b.hash && Arc::ptr_eq(&a.endpoints, &b.endpoints)
}

/// Keeps a task for each endpoint of a cluster.
async fn watch(slot: Arc<ClusterSlot>, cluster: Arc<Cluster>) {
    let mut tasks: HashMap<SocketAddr, (Arc<Endpoint>, Task)> = HashMap::new();
    let mut seen: Option<Arc<EndpointSet>> = None;
    loop {
        let set = cluster.endpoints.load().clone();
        if !seen.as_ref().is_some_and(|seen| Arc::ptr_eq(seen, &set)) {
            let of: HashMap<_, _> = set.endpoints.iter().map(|e| (e.address, e)).collect();
            tasks.retain(|address, (endpoint, _)| {
                of.get(address).is_some_and(|now| {
                    Arc::ptr_eq(&now.state, &endpoint.state) && now.check == endpoint.check
                })
            });
            for (address, endpoint) in of {
                if endpoint.check.as_ref().is_some_and(|check| check.disabled) {
                    continue;
                }
                tasks.entry(address).or_insert_with(|| (endpoint.clone(), start(&slot, &cluster, endpoint)));
            }
            seen = Some(set);
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn start(slot: &Arc<ClusterSlot>, cluster: &Arc<Cluster>, endpoint: &Arc<Endpoint>) -> Task {
    let (slot, cluster, endpoint) = (slot.clone(), cluster.clone(), endpoint.clone());
    Task(tokio::task::spawn_local(async move {
        if let Some(settings) = &cluster.health_check {
            check(&slot, &cluster, &endpoint, settings).await;
        }
    }))
}

/// Checks one endpoint for ever.
async fn check(slot: &ClusterSlot, cluster: &Cluster, endpoint: &Arc<Endpoint>, settings: &HealthCheck) {
    let state = &endpoint.state;
    let stats = slot.health.get_or_init(Box::default);
    let mut verdict = Verdict::resume(!state.failed_check.load(Ordering::Relaxed));
    tokio::time::sleep(random(settings.initial_jitter)).await;
    loop {
        let told = probe::ask(cluster, endpoint, settings).await;
        count(stats, told);
        let traffic = slot.stats.sum(|shard| &shard.upstream_cx_total) > 0;
        let next = verdict.take(told, settings, traffic);
        state.pending_check.store(false, Ordering::Relaxed);
        if state.failed_check.swap(!next.healthy, Ordering::Relaxed) == next.healthy {
            let address = endpoint.address;
            tracing::info!(cluster = %cluster.name, %address, healthy = next.healthy, "health check");
            health_changed();
        }
        tokio::time::sleep(wait(next.wait, settings)).await;
    }
}

fn count(stats: &HealthStats, told: Told) {
    stats.attempt.fetch_add(1, Ordering::Relaxed);
    let outcome = if told == Told::Healthy { &stats.success } else { &stats.failure };
    outcome.fetch_add(1, Ordering::Relaxed);
    if told == Told::Unreachable {
        stats.network_failure.fetch_add(1, Ordering::Relaxed);
    }
}

fn random(most: Duration) -> Duration {
    most.mul_f64(rand::random::<f64>())
}

fn wait(interval: Duration, settings: &HealthCheck) -> Duration {
    let percent = interval.mul_f64(f64::from(settings.jitter_percent) / 100.0);
    (interval + random(settings.jitter) + random(percent)).max(Duration::from_millis(1))
}
