//! Logs of the roles that run in pods.

use tracing_subscriber::EnvFilter;

/// Logs to standard error, as `LATEEN_LOG` says or at `default`.
pub fn start(default: &str) {
    let filter = EnvFilter::try_from_env("LATEEN_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    tracing_subscriber::fmt().with_ansi(false).with_writer(std::io::stderr).with_env_filter(filter).init();
}
