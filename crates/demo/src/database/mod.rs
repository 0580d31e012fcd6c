//! Clients of the databases that the demos keep their data in: as much of each protocol as the demos need.
//!
//! A connection an operation: what the mesh decides about connections shows at once.

pub mod mongo;
pub mod mysql;
pub mod redis;

use std::time::Duration;

use anyhow::Context;

use crate::server::env;

/// How long a database may take for one operation, connecting included.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Where a database is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl Address {
    /// From the variables `NAME_HOST` and `NAME_PORT`.
    ///
    /// # Errors
    /// When the port is none.
    pub fn from_env(name: &str, host: &str, port: u16) -> anyhow::Result<Self> {
        let host = env(&format!("{name}_HOST")).unwrap_or_else(|| host.to_owned());
        let variable = format!("{name}_PORT");
        let port = env(&variable).map_or(Ok(port), |text| parse_port(&variable, &text))?;
        Ok(Self { host, port })
    }
}

/// A port from a variable. Kubernetes sets variables of these names too, for services that are called so:
/// `tcp://10.96.0.7:6379` (Kubernetes: "Discovering services", environment variables).
fn parse_port(variable: &str, text: &str) -> anyhow::Result<u16> {
    let number = text.strip_prefix("tcp://").and_then(|url| url.rsplit(':').next()).unwrap_or(text);
    number.parse().with_context(|| format!("{variable} is {text:?}; it must be a port"))
}

/// All within the time that a database has.
async fn in_time<T>(
    what: impl Fn() -> String,
    work: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<T> {
    let done = tokio::time::timeout(TIMEOUT, work).await.context("no answer in time");
    done.and_then(|result| result).with_context(what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_a_number_or_what_kubernetes_makes_of_a_service() {
        assert_eq!(parse_port("REDIS_PORT", "6380").unwrap(), 6380);
        assert_eq!(parse_port("REDIS_PORT", "tcp://10.96.0.7:6379").unwrap(), 6379);
        let error = parse_port("REDIS_PORT", "many").unwrap_err().to_string();
        assert!(error.contains("REDIS_PORT") && error.contains("many"), "{error}");
    }
}
