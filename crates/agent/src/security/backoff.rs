use std::time::Duration;

use rand::Rng;

/// Waits between attempts: doubling from `first` to `longest`, each varied by a fifth so that pods which failed
/// together do not come back together.
#[derive(Clone, Debug)]
pub(crate) struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
}

impl Backoff {
    pub(crate) fn new(first: Duration, longest: Duration) -> Self {
        Backoff { first, longest, next: first }
    }

    /// It worked: the next failure starts over.
    pub(crate) fn reset(&mut self) {
        self.next = self.first;
    }

    /// How long to wait after a failure.
    pub(crate) fn wait(&mut self) -> Duration {
        let wait = self.next;
        self.next = (self.next * 2).min(self.longest);
        wait.mul_f64(rand::rng().random_range(0.8..1.2))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_start_over() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        let near = |wait: Duration, ms: u64| {
            let exact = Duration::from_millis(ms);
            assert!(
                wait >= exact.mul_f64(0.8) && wait <= exact.mul_f64(1.2),
                "{wait:?} is not about {exact:?}"
            );
        };
        for ms in [100, 200, 400, 800, 1000, 1000] {
            near(backoff.wait(), ms);
        }
        backoff.reset();
        near(backoff.wait(), 100);
    }
}
