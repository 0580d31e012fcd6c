//! Outlier detection: endpoints that fail in a row are left out for a while.

use super::balancer::health_changed;
use crate::config::{Cluster, ClusterSlot, Endpoint, OutlierDetection};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// What came of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A status.
    Status(u16),
    /// No connection, or none any more: counts as a gateway error.
    LocalFailure,
}

/// Notes what came of a request, and ejects the endpoint when it is time.
pub fn observe(
    cluster: &Cluster,
    slot: &ClusterSlot,
    worker: usize,
    endpoint: &Arc<Endpoint>,
    outcome: Outcome,
) {
    let state = &endpoint.state;
    let failed = matches!(outcome, Outcome::LocalFailure | Outcome::Status(500..));
    if failed { &state.errors } else { &state.successes }.fetch_add(1, Relaxed);
    let Some(outlier) = &cluster.outlier else { return };
    if !failed {
        state.consecutive_5xx.store(0, Relaxed);
        state.consecutive_gateway.store(0, Relaxed);
        return;
    }
    if outcome == Outcome::LocalFailure && outlier.split_local {
        return eject_at(
            cluster,
            slot,
            worker,
            endpoint,
            outlier,
            outlier.consecutive_local,
            &state.consecutive_gateway,
        );
    }
    eject_at(cluster, slot, worker, endpoint, outlier, outlier.consecutive_5xx, &state.consecutive_5xx);
    match outcome {
        Outcome::LocalFailure | Outcome::Status(502..=504) => {
            eject_at(
                cluster,
                slot,
                worker,
                endpoint,
                outlier,
                outlier.consecutive_gateway,
                &state.consecutive_gateway,
            );
        }
        Outcome::Status(_) => state.consecutive_gateway.store(0, Relaxed),
    }
}

fn eject_at(
    cluster: &Cluster,
    slot: &ClusterSlot,
    worker: usize,
    endpoint: &Arc<Endpoint>,
    outlier: &OutlierDetection,
    limit: Option<u32>,
    counter: &std::sync::atomic::AtomicU32,
) {
    let count = counter.fetch_add(1, Relaxed) + 1;
    if limit.is_none_or(|limit| count < limit) || !may_eject(cluster, outlier) {
        return;
    }
    let state = endpoint.state.clone();
    if state.ejected.swap(true, Relaxed) {
        return;
    }
    counter.store(0, Relaxed);
    let times = state.ejections.fetch_add(1, Relaxed) + 1;
    slot.stats.of(worker).outlier_detection_ejections_total.inc();
    health_changed();
    tracing::warn!(cluster = %cluster.name, endpoint = %endpoint.address, times, "outlier ejected");
    let time =
        outlier.base_ejection.saturating_mul(times).min(outlier.max_ejection.max(outlier.base_ejection));
    tokio::task::spawn_local(async move {
        tokio::time::sleep(time).await;
        state.ejected.store(false, Relaxed);
        health_changed();
    });
}

/// At most the configured share of endpoints may be out, but one always may.
fn may_eject(cluster: &Cluster, outlier: &OutlierDetection) -> bool {
    let set = cluster.endpoints.load();
    let out = set.endpoints.iter().filter(|endpoint| endpoint.state.ejected.load(Relaxed)).count();
    out == 0 || (out + 1) * 100 <= set.endpoints.len() * outlier.max_ejection_percent as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn failures_in_a_row_eject_for_a_while_and_a_success_starts_over() {
        let addresses = [1, 2].map(|port| format!("127.0.0.1:{port}").parse().unwrap());
        let (consecutive_5xx, base_ejection) = (Some(2), Duration::from_millis(20));
        let outlier = OutlierDetection { consecutive_5xx, base_ejection, ..OutlierDetection::default() };
        let cluster = Cluster { outlier: Some(outlier), ..Cluster::fixed("c", addresses) };
        let (slot, set) = (ClusterSlot::empty("c", 1), cluster.endpoints.load().clone());
        let note =
            |at: usize, status| observe(&cluster, &slot, 0, &set.endpoints[at], Outcome::Status(status));
        tokio::task::LocalSet::new()
            .run_until(async {
                for status in [500, 200, 500] {
                    note(0, status);
                }
                assert!(set.endpoints[0].usable());
                note(0, 500);
                assert!(!set.endpoints[0].usable());
                note(1, 500);
                note(1, 500);
                assert!(set.endpoints[1].usable(), "at most 10% may be out");
                while !set.endpoints[0].usable() {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            })
            .await;
    }
}
