//! Counters that start again at zero for who reads, while the path goes on counting.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use super::{Kind, Metric};

/// What counters stood at when they were reset.
#[derive(Debug, Default)]
pub struct Baseline(Mutex<HashMap<String, u64>>);

impl Baseline {
    /// Resets counters.
    pub fn reset(&self, metrics: Vec<Metric>) {
        let counters = metrics.into_iter().filter(|metric| metric.kind == Kind::Counter && metric.value > 0);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) =
            counters.map(|metric| (metric.name, metric.value)).collect();
    }

    /// Takes off what counters stood at.
    pub fn apply(&self, metrics: &mut [Metric]) {
        let mut baseline = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if baseline.is_empty() {
            return;
        }
        for metric in metrics.iter_mut().filter(|metric| metric.kind == Kind::Counter) {
            match baseline.get(&metric.name) {
                Some(base) if *base <= metric.value => metric.value -= base,
                // Its owner was replaced by another, which counts from zero.
                Some(_) => drop(baseline.remove(&metric.name)),
                None => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counter(name: &str, value: u64) -> Metric {
        Metric::plain(name, Kind::Counter, value)
    }

    #[test]
    fn counters_count_from_their_reset_and_gauges_stay() {
        let baseline = Baseline::default();
        let read = |values: [u64; 3]| -> Vec<u64> {
            let mut metrics = [
                counter("a", values[0]),
                counter("b", values[1]),
                Metric::plain("g", Kind::Gauge, values[2]),
            ];
            baseline.apply(&mut metrics);
            metrics.iter().map(|metric| metric.value).collect()
        };
        assert_eq!(read([5, 7, 9]), [5, 7, 9]);
        baseline.reset(vec![counter("a", 5), counter("b", 7), Metric::plain("g", Kind::Gauge, 9)]);
        assert_eq!(read([6, 7, 9]), [1, 0, 9]);
        assert_eq!(read([2, 8, 9]), [2, 1, 9], "a counter that began anew");
        assert_eq!(read([3, 8, 9]), [3, 1, 9]);
    }
}
