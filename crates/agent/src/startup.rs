//! How long the proxy took to be ready.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::admin;

/// Time between two looks.
const PERIOD: Duration = Duration::from_millis(20);
/// Istio's name for it.
const NAME: &str = "istio_agent_startup_duration_seconds";

/// The time from the agent's start until the proxy was ready first.
#[derive(Debug, Default)]
pub struct Startup(OnceLock<Duration>);

impl Startup {
    /// Looks until the proxy is ready.
    pub async fn watch(&self, started: Instant) {
        while admin::ready().await.is_err() {
            tokio::time::sleep(PERIOD).await;
        }
        self.reached(started.elapsed());
    }

    fn reached(&self, took: Duration) {
        if self.0.set(took).is_ok() {
            tracing::info!(seconds = took.as_secs_f64(), "the proxy is ready");
        }
    }

    /// As Prometheus reads it; nothing before the proxy is ready.
    pub fn metric(&self) -> String {
        let Some(took) = self.0.get() else { return String::new() };
        format!(
            "# HELP {NAME} The time from the process starting to being marked ready.\n# TYPE {NAME} gauge\n\
             {NAME} {}\n",
            took.as_secs_f64()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_time_counts() {
        let startup = Startup::default();
        assert_eq!(startup.metric(), "");
        startup.reached(Duration::from_millis(250));
        startup.reached(Duration::from_secs(9));
        assert!(
            startup.metric().ends_with("istio_agent_startup_duration_seconds 0.25\n"),
            "{}",
            startup.metric()
        );
    }
}
