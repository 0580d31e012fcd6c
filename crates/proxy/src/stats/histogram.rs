//! Histograms with Envoy's default buckets.

use std::fmt::Write as _;
use std::sync::OnceLock;

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

/// The quantiles that administration shows, in percent.
pub const QUANTILES: [f64; 10] = [0.0, 25.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.5, 99.9, 100.0];

/// One worker's histogram.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [Count; BOUNDS.len() + 1],
    sum: Count,
}

impl Histogram {
    /// Records a whole number.
    pub fn record(&self, value: u64) {
        let bucket = BOUNDS.partition_point(|bound| *bound < value as f64);
        self.buckets[bucket].inc();
        self.sum.add(value);
    }
}

/// A worker's histogram that takes no room before its first value.
#[derive(Debug, Default)]
pub struct LazyHistogram(OnceLock<Box<Histogram>>);

impl LazyHistogram {
    /// Records a whole number.
    pub fn record(&self, value: u64) {
        self.0.get_or_init(Box::default).record(value);
    }

    /// Records a time in milliseconds.
    pub fn record_time(&self, time: std::time::Duration) {
        self.record(u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
    }

    /// What was recorded; none: nothing yet.
    pub fn get(&self) -> Option<&Histogram> {
        self.0.get().map(|histogram| &**histogram)
    }
}

/// The sum of several workers' histograms.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Total {
    buckets: [u64; BOUNDS.len() + 1],
    sum: u64,
}

impl Total {
    /// Adds a worker's.
    pub fn add(&mut self, histogram: &Histogram) {
        for (total, count) in self.buckets.iter_mut().zip(&histogram.buckets) {
            *total += count.get();
        }
        self.sum += histogram.sum.get();
    }

    /// Adds another sum.
    pub fn merge(&mut self, other: &Total) {
        for (total, count) in self.buckets.iter_mut().zip(&other.buckets) {
            *total += count;
        }
        self.sum += other.sum;
    }

    /// The number of values.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// The value below which so many percent lie, by interpolation within a bucket; none without values.
    pub fn quantile(&self, percent: f64) -> Option<f64> {
        let count = self.count();
        if count == 0 {
            return None;
        }
        let (wanted, mut below) = (count as f64 * percent / 100.0, 0.0);
        for (at, bucket) in self.buckets.iter().enumerate().filter(|(_, bucket)| **bucket > 0) {
            let bucket = *bucket as f64;
            if below + bucket >= wanted {
                let low = at.checked_sub(1).map_or(0.0, |before| BOUNDS[before]);
                let high = BOUNDS.get(at).copied().unwrap_or(low);
                return Some(low + (high - low) * ((wanted - below) / bucket).clamp(0.0, 1.0));
            }
            below += bucket;
        }
        BOUNDS.last().copied()
    }

    /// Writes buckets, sum and count in Prometheus' format; `labels` is `a="b",c="d"`, perhaps empty.
    pub fn write(&self, name: &str, labels: &str, out: &mut String) {
        let (mut count, comma) = (0, if labels.is_empty() { "" } else { "," });
        for (bound, bucket) in BOUNDS.iter().zip(&self.buckets) {
            count += bucket;
            let _ = writeln!(out, "{name}_bucket{{{labels}{comma}le=\"{bound}\"}} {count}");
        }
        count += self.buckets[BOUNDS.len()];
        let _ = writeln!(out, "{name}_bucket{{{labels}{comma}le=\"+Inf\"}} {count}");
        let _ = writeln!(out, "{name}_sum{{{labels}}} {}", self.sum);
        let _ = writeln!(out, "{name}_count{{{labels}}} {count}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_lie_within_the_bucket_of_their_values() {
        let histogram = Histogram::default();
        for value in [3, 3, 3, 200] {
            histogram.record(value);
        }
        let mut total = Total::default();
        assert_eq!(total.quantile(50.0), None);
        total.add(&histogram);
        assert_eq!(total.count(), 4);
        assert!((1.0..=5.0).contains(&total.quantile(50.0).unwrap()));
        assert!((100.0..=250.0).contains(&total.quantile(99.0).unwrap()));
        let mut twice = total.clone();
        twice.merge(&total);
        assert_eq!((twice.count(), twice.quantile(50.0)), (8, total.quantile(50.0)));
    }

    #[test]
    fn buckets_are_cumulative_and_names_may_have_no_labels() {
        let histogram = Histogram::default();
        histogram.record(1);
        histogram.record(7);
        let mut total = Total::default();
        total.add(&histogram);
        let mut out = String::new();
        total.write("x", "", &mut out);
        assert!(out.contains("x_bucket{le=\"1\"} 1\n") && out.contains("x_bucket{le=\"10\"} 2\n"), "{out}");
        assert!(out.ends_with("x_sum{} 8\nx_count{} 2\n"), "{out}");
    }
}
