//! What counts against circuit breakers, given back when dropped.

use crate::config::{CircuitBreakers, ClusterSlot, EndpointState};
use crate::error::Failure;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

/// Counts one up if that keeps within `limit`.
fn take(counter: &AtomicU32, limit: u32) -> bool {
    if counter.fetch_add(1, Ordering::Relaxed) >= limit {
        counter.fetch_sub(1, Ordering::Relaxed);
        return false;
    }
    true
}

/// An open connection.
#[derive(Debug)]
pub struct ConnectionPermit {
    slot: Arc<ClusterSlot>,
    endpoint: Arc<EndpointState>,
    worker: usize,
    since: Instant,
}

impl ConnectionPermit {
    /// Counts a connection; none when the limit is reached.
    pub fn new(
        slot: &Arc<ClusterSlot>,
        endpoint: &Arc<EndpointState>,
        limit: u32,
        worker: usize,
    ) -> Option<Self> {
        if !take(&slot.in_use.connections, limit) {
            return None;
        }
        endpoint.connections.fetch_add(1, Ordering::Relaxed);
        endpoint.connections_total.fetch_add(1, Ordering::Relaxed);
        let stats = slot.stats.of(worker);
        stats.upstream_cx_total.inc();
        stats.upstream_cx_active.inc();
        let since = Instant::now();
        Some(ConnectionPermit { slot: slot.clone(), endpoint: endpoint.clone(), worker, since })
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        self.slot.in_use.connections.fetch_sub(1, Ordering::Relaxed);
        self.endpoint.connections.fetch_sub(1, Ordering::Relaxed);
        let stats = self.slot.stats.of(self.worker);
        stats.upstream_cx_active.dec();
        stats.upstream_cx_destroy.inc();
        stats.upstream_cx_length_ms.record_time(self.since.elapsed());
    }
}

/// A request under way to an endpoint.
#[derive(Debug)]
pub struct RequestPermit {
    slot: Arc<ClusterSlot>,
    endpoint: Arc<EndpointState>,
    worker: usize,
}

impl RequestPermit {
    /// Counts a request.
    ///
    /// # Errors
    /// [`Failure::Overflow`] when the limit is reached.
    pub fn new(
        slot: &Arc<ClusterSlot>,
        endpoint: &Arc<EndpointState>,
        limits: &CircuitBreakers,
        worker: usize,
    ) -> Result<Self, Failure> {
        let stats = slot.stats.of(worker);
        if !take(&slot.in_use.requests, limits.max_requests) {
            stats.upstream_rq_pending_overflow.inc();
            return Err(Failure::Overflow);
        }
        endpoint.active.fetch_add(1, Ordering::Relaxed);
        endpoint.requests.fetch_add(1, Ordering::Relaxed);
        stats.upstream_rq_total.inc();
        stats.upstream_rq_active.inc();
        Ok(RequestPermit { slot: slot.clone(), endpoint: endpoint.clone(), worker })
    }
}

impl Drop for RequestPermit {
    fn drop(&mut self) {
        self.slot.in_use.requests.fetch_sub(1, Ordering::Relaxed);
        self.endpoint.active.fetch_sub(1, Ordering::Relaxed);
        self.slot.stats.of(self.worker).upstream_rq_active.dec();
    }
}

/// A retry under way.
#[derive(Debug)]
pub struct RetryPermit(Arc<ClusterSlot>);

impl RetryPermit {
    /// Counts a retry; none when the limit or budget is reached.
    pub fn new(slot: &Arc<ClusterSlot>, limits: &CircuitBreakers) -> Option<Self> {
        let limit = match limits.retry_budget {
            Some((percent, least)) => {
                let active = slot.in_use.requests.load(Ordering::Relaxed);
                ((f64::from(active) * percent / 100.0) as u32).max(least)
            }
            None => limits.max_retries,
        };
        take(&slot.in_use.retries, limit).then(|| RetryPermit(slot.clone()))
    }
}

impl Drop for RetryPermit {
    fn drop(&mut self) {
        self.0.in_use.retries.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permit_is_refused_at_the_limit_and_free_again_when_dropped() {
        let slot = Arc::new(ClusterSlot::empty("c", 1));
        let limits = CircuitBreakers { max_requests: 1, ..CircuitBreakers::default() };
        let first = RequestPermit::new(&slot, &Arc::default(), &limits, 0).unwrap();
        assert!(matches!(RequestPermit::new(&slot, &Arc::default(), &limits, 0), Err(Failure::Overflow)));
        drop(first);
        assert!(RequestPermit::new(&slot, &Arc::default(), &limits, 0).is_ok());
    }

    #[test]
    fn a_retry_budget_follows_active_requests() {
        let slot = Arc::new(ClusterSlot::empty("c", 1));
        let limits = CircuitBreakers { retry_budget: Some((20.0, 0)), ..CircuitBreakers::default() };
        slot.in_use.requests.store(10, Ordering::Relaxed);
        let _held = [RetryPermit::new(&slot, &limits).unwrap(), RetryPermit::new(&slot, &limits).unwrap()];
        assert!(RetryPermit::new(&slot, &limits).is_none());
    }
}
