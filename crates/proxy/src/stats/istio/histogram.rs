//! Histograms with Envoy's default buckets.

use std::fmt::Write as _;

use crate::upstream::stats::Count;

/// Upper bounds; the last bucket has none.
const BOUNDS: [f64; 19] = [
    0.5,
    1.0,
    5.0,
    10.0,
    25.0,
    50.0,
    100.0,
    250.0,
    500.0,
    1_000.0,
    2_500.0,
    5_000.0,
    10_000.0,
    30_000.0,
    60_000.0,
    300_000.0,
    600_000.0,
    1_800_000.0,
    3_600_000.0,
];

/// One worker's histogram.
#[derive(Debug, Default)]
pub(super) struct Histogram {
    buckets: [Count; BOUNDS.len() + 1],
    sum: Count,
}

impl Histogram {
    /// Records a whole number.
    pub(super) fn record(&self, value: u64) {
        let bucket = BOUNDS.partition_point(|bound| *bound < value as f64);
        self.buckets[bucket].inc();
        self.sum.add(value);
    }
}

/// The sum of several workers' histograms.
#[derive(Default)]
pub(super) struct Total {
    buckets: [u64; BOUNDS.len() + 1],
    sum: u64,
}

impl Total {
    pub(super) fn add(&mut self, histogram: &Histogram) {
        for (total, count) in self.buckets.iter_mut().zip(&histogram.buckets) {
            *total += count.get();
        }
        self.sum += histogram.sum.get();
    }

    /// Adds what another total has.
    pub(super) fn merge(&mut self, other: &Total) {
        for (total, count) in self.buckets.iter_mut().zip(&other.buckets) {
            *total += count;
        }
        self.sum += other.sum;
    }

    /// Writes buckets, sum and count; `labels` is `a="b",c="d"`.
    pub(super) fn write(&self, name: &str, labels: &str, out: &mut String) {
        let mut count = 0;
        for (bound, bucket) in BOUNDS.iter().zip(&self.buckets) {
            count += bucket;
            let _ = writeln!(out, "{name}_bucket{{{labels},le=\"{bound}\"}} {count}");
        }
        count += self.buckets[BOUNDS.len()];
        let _ = writeln!(out, "{name}_bucket{{{labels},le=\"+Inf\"}} {count}");
        let _ = writeln!(out, "{name}_sum{{{labels}}} {}", self.sum);
        let _ = writeln!(out, "{name}_count{{{labels}}} {count}");
    }
}
