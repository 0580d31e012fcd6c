use std::time::Duration;

/// How long certificates of workloads may live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetimes {
    /// For a request that asks for nothing (`DEFAULT_WORKLOAD_CERT_TTL`).
    pub default: Duration,
    /// No longer than this (`MAX_WORKLOAD_CERT_TTL`).
    pub longest: Duration,
}

impl Default for Lifetimes {
    /// A day, and ninety days: Istio's defaults.
    fn default() -> Self {
        let day = Duration::from_secs(24 * 3600);
        Lifetimes { default: day, longest: 90 * day }
    }
}

/// A lifetime beyond the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("requested TTL {}s is greater than the max allowed TTL {}s", .asked.as_secs(), .longest.as_secs())]
pub struct TooLong {
    /// What was asked for.
    pub asked: Duration,
    /// What is allowed.
    pub longest: Duration,
}

impl Lifetimes {
    /// The lifetime for a request of so many seconds; as in Istio's CA nothing and less mean the default, and too
    /// much is refused, not shortened.
    ///
    /// # Errors
    /// Beyond the limit.
    pub fn grant(&self, seconds: i64) -> Result<Duration, TooLong> {
        match u64::try_from(seconds) {
            Ok(0) | Err(_) => Ok(self.default.min(self.longest)),
            Ok(seconds) => {
                let asked = Duration::from_secs(seconds);
                if asked > self.longest {
                    return Err(TooLong { asked, longest: self.longest });
                }
                Ok(asked)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_means_the_default_and_too_much_is_refused() {
        let lifetimes = Lifetimes::default();
        assert_eq!(lifetimes.grant(0), Ok(Duration::from_secs(86_400)));
        assert_eq!(lifetimes.grant(-5), Ok(Duration::from_secs(86_400)));
        assert_eq!(lifetimes.grant(30), Ok(Duration::from_secs(30)));
        assert_eq!(lifetimes.grant(7_776_000), Ok(Duration::from_secs(7_776_000)));
        let error = lifetimes.grant(i64::MAX).unwrap_err();
        assert!(error.to_string().contains("greater than the max allowed TTL 7776000s"), "{error}");
    }
}
