//! What checks in a row tell of an endpoint.

use crate::config::{HealthCheck, Intervals};
use std::time::Duration;

/// What one check told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// It is healthy.
    Healthy,
    /// It may just not have been reached: counts against the threshold.
    Unreachable,
    /// It says itself that it is not.
    Unhealthy,
}

/// Counts checks of one endpoint.
#[derive(Debug)]
pub(super) struct Verdict {
    /// What it is taken for.
    healthy: bool,
    first: bool,
    successes: u32,
    failures: u32,
}

/// What follows from a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Next {
    /// What the endpoint is taken for from now on.
    pub(super) healthy: bool,
    /// Until the next check.
    pub(super) wait: Duration,
}

impl Verdict {
    /// Goes on from what is known; an endpoint that was not checked yet is not healthy.
    pub(super) fn resume(healthy: bool) -> Self {
        Verdict { healthy, first: !healthy, successes: 0, failures: 0 }
    }

    /// Takes what a check told. `traffic`: whether the cluster has ever had any.
    pub(super) fn take(&mut self, told: Told, check: &HealthCheck, traffic: bool) -> Next {
        let first = std::mem::replace(&mut self.first, false);
        let pending = if told == Told::Healthy {
            self.failures = 0;
            self.successes += 1;
            // The first success is enough, so that a new endpoint need not wait.
            self.healthy |= first || self.successes >= check.healthy_threshold;
            !self.healthy
        } else {
            self.successes = 0;
            self.failures += 1;
            self.healthy &= told == Told::Unreachable && self.failures < check.unhealthy_threshold;
            self.healthy
        };
        let wait = interval(&check.intervals, told == Told::Healthy, pending, traffic);
        Next { healthy: self.healthy, wait }
    }
}

fn interval(of: &Intervals, success: bool, pending: bool, traffic: bool) -> Duration {
    match (traffic, success, pending) {
        (false, true, false) => of.no_traffic_healthy,
        (false, ..) => of.no_traffic,
        (true, true, true) => of.healthy_edge,
        (true, true, false) => of.healthy,
        (true, false, true) => of.unhealthy_edge,
        (true, false, false) => of.unhealthy,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Probe;

    fn check() -> HealthCheck {
        let seconds = Duration::from_secs;
        HealthCheck {
            timeout: seconds(1),
            intervals: Intervals {
                healthy: seconds(1),
                healthy_edge: seconds(2),
                unhealthy: seconds(3),
                unhealthy_edge: seconds(4),
                no_traffic: seconds(5),
                no_traffic_healthy: seconds(6),
            },
            jitter: Duration::ZERO,
            jitter_percent: 0,
            initial_jitter: Duration::ZERO,
            unhealthy_threshold: 3,
            healthy_threshold: 2,
            port: None,
            probe: Probe::Tcp { send: Default::default(), receive: Vec::new() },
        }
    }

    /// (healthy, seconds to wait) after each check.
    fn course(told: &[Told], traffic: bool) -> Vec<(bool, u64)> {
        let (mut verdict, check) = (Verdict::resume(false), check());
        told.iter()
            .map(|told| {
                let next = verdict.take(*told, &check, traffic);
                (next.healthy, next.wait.as_secs())
            })
            .collect()
    }

    #[test]
    fn thresholds_hold_after_the_first_check() {
        use Told::{Healthy, Unreachable};
        let told = [Healthy, Unreachable, Unreachable, Unreachable, Healthy, Healthy];
        let expected = [(true, 1), (true, 4), (true, 4), (false, 3), (false, 2), (true, 1)];
        assert_eq!(course(&told, true), expected);
        assert_eq!(course(&[Unreachable, Healthy, Healthy], true), [(false, 3), (false, 2), (true, 1)]);
    }

    #[test]
    fn an_endpoint_that_says_no_is_believed_at_once() {
        assert_eq!(course(&[Told::Healthy, Told::Unhealthy], true), [(true, 1), (false, 3)]);
    }

    #[test]
    fn without_traffic_checks_are_rare() {
        assert_eq!(course(&[Told::Healthy, Told::Unreachable], false), [(true, 6), (true, 5)]);
    }
}
