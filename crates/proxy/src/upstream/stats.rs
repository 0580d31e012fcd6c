//! Counters of the request path: one shard a worker, written by it alone, summed by whoever reads.

use crate::stats::histogram::{LazyHistogram, Total};
use std::sync::atomic::{AtomicU64, Ordering};

/// A counter that one worker writes and anyone reads. Not a read-modify-write: one writer needs none.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// Adds one.
    #[inline]
    pub fn inc(&self) {
        self.add(1);
    }

    /// Adds `n`.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    /// Takes one off (gauges; the sum over all shards is what counts).
    #[inline]
    pub fn dec(&self) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_sub(1), Ordering::Relaxed);
    }

    /// The value of this shard.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

macro_rules! shards {
    ($(#[$doc:meta])* $name:ident / $shard:ident { $($field:ident,)* }
     $(histograms { $($histogram:ident,)* })?) => {
        #[doc = "One worker's counters; names are Envoy's."]
        #[derive(Debug, Default)]
        #[repr(align(64))]
        pub struct $shard {
            $(#[doc = concat!("Envoy's `", stringify!($field), "`.")] pub $field: Count,)*
            $($(#[doc = concat!("Envoy's `", stringify!($histogram), "`.")] pub $histogram: LazyHistogram,)*)?
        }

        $(#[$doc])*
        #[derive(Debug)]
        pub struct $name(Box<[$shard]>);

        impl $name {
            /// Counters for `workers` workers.
            pub fn new(workers: usize) -> Self {
                $name((0..workers.max(1)).map(|_| $shard::default()).collect())
            }

            /// The shard of a worker.
            #[inline]
            pub fn of(&self, worker: usize) -> &$shard {
                &self.0[worker % self.0.len()]
            }

            /// Names and sums over all workers.
            pub fn read(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($field), self.sum(|shard| &shard.$field)),)*]
            }

            /// Names and sums of histograms over all workers.
            pub fn read_histograms(&self) -> Vec<(&'static str, Total)> {
                let all: &[(&'static str, fn(&$shard) -> &LazyHistogram)] =
                    &[$($((stringify!($histogram), |shard| &shard.$histogram),)*)?];
                let total = |of: fn(&$shard) -> &LazyHistogram| {
                    let mut total = Total::default();
                    self.0.iter().filter_map(|shard| of(shard).get()).for_each(|part| total.add(part));
                    total
                };
                all.iter().map(|(name, of)| (*name, total(*of))).collect()
            }

            /// The sum of one counter over all workers.
            pub fn sum(&self, of: impl Fn(&$shard) -> &Count) -> u64 {
                self.0.iter().fold(0, |sum, shard| sum.wrapping_add(of(shard).get()))
            }
        }
    };
}

shards! {
    /// Counters of a cluster (`cluster.<name>.*`). `*_active` are gauges.
    ClusterStats / ClusterShard {
        upstream_cx_total, upstream_cx_active, upstream_cx_http1_total, upstream_cx_http2_total,
        upstream_cx_connect_fail, upstream_cx_connect_timeout, upstream_cx_overflow, upstream_cx_destroy,
        upstream_cx_idle_timeout, upstream_cx_max_requests, upstream_cx_none_healthy,
        upstream_cx_rx_bytes_total, upstream_cx_tx_bytes_total,
        upstream_rq_total, upstream_rq_active, upstream_rq_completed, upstream_rq_pending_total,
        upstream_rq_pending_overflow, upstream_rq_timeout, upstream_rq_per_try_timeout, upstream_rq_rx_reset,
        upstream_rq_tx_reset, upstream_rq_retry, upstream_rq_retry_success, upstream_rq_retry_overflow,
        upstream_rq_retry_limit_exceeded, upstream_rq_1xx, upstream_rq_2xx, upstream_rq_3xx, upstream_rq_4xx,
        upstream_rq_5xx, outlier_detection_ejections_total, lb_healthy_panic,
        lb_subsets_selected, lb_subsets_fallback, lb_subsets_fallback_panic,
    } histograms { upstream_rq_time, upstream_cx_connect_ms, upstream_cx_length_ms, }
}

shards! {
    /// Counters of an HTTP connection manager (`http.<stat_prefix>.*`).
    HttpStats / HttpShard {
        downstream_cx_total, downstream_cx_active, downstream_cx_http1_total, downstream_cx_http2_total,
        downstream_cx_destroy, downstream_cx_protocol_error, downstream_cx_idle_timeout, downstream_cx_drain_close,
        downstream_cx_rx_bytes_total, downstream_cx_tx_bytes_total, downstream_rq_total, downstream_rq_active,
        downstream_rq_http1_total, downstream_rq_http2_total, downstream_rq_completed, downstream_rq_1xx,
        downstream_rq_2xx, downstream_rq_3xx, downstream_rq_4xx, downstream_rq_5xx, downstream_rq_rx_reset,
        downstream_rq_tx_reset, downstream_rq_too_large, downstream_rq_timeout, downstream_rq_idle_timeout,
        no_route, no_cluster, rq_direct_response, rq_redirect, rq_total, fault_delays_injected,
        fault_aborts_injected, fault_active,
    } histograms { downstream_rq_time, downstream_cx_length_ms, }
}

shards! {
    /// Counters of a TCP proxy (`tcp.<stat_prefix>.*`).
    TcpStats / TcpShard {
        downstream_cx_total, downstream_cx_no_route, downstream_cx_rx_bytes_total, downstream_cx_tx_bytes_total,
        idle_timeout, upstream_flush_total,
    }
}

shards! {
    /// Counters of a listener (`listener.<address>.*`).
    ListenerStats / ListenerShard {
        downstream_cx_total, downstream_cx_active, downstream_cx_destroy, downstream_pre_cx_timeout, no_filter_chain_match,
    } histograms { downstream_cx_length_ms, }
}

shards! {
    /// Counters of an RBAC filter (`http.<stat_prefix>.rbac.*`, `<stat_prefix>rbac.*` for connections).
    RbacStats / RbacShard { allowed, denied, shadow_allowed, shadow_denied, }
}

shards! {
    /// Counters of a JWT filter (`http.<stat_prefix>.jwt_authn.*`).
    JwtStats / JwtShard {
        allowed, denied, cors_preflight_bypassed,
    }
}

shards! {
    /// Counters of an external authorization filter (`http.<stat_prefix>.ext_authz.*`, `ext_authz.<prefix>.*` for
    /// connections).
    ExtAuthzStats / ExtAuthzShard {
        total, ok, denied, error, timeout, disabled, invalid, failure_mode_allowed, cx_closed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gauge_may_go_down_on_another_shard_than_it_went_up() {
        let stats = ClusterStats::new(2);
        stats.of(0).upstream_cx_active.inc();
        stats.of(0).upstream_cx_active.inc();
        stats.of(1).upstream_cx_active.dec();
        assert_eq!(stats.sum(|shard| &shard.upstream_cx_active), 1);
    }
}
