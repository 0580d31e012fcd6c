//! `lateen agent wait`: holds an application's start until the proxy is ready.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use anyhow::{Result, bail};
use tokio::time::Instant;

use crate::bootstrap::READINESS_PORT;
use crate::client;

const LIMIT: Duration = Duration::from_secs(60);
const PERIOD: Duration = Duration::from_millis(50);

/// Returns when the proxy is ready.
///
/// # Errors
/// It does not become ready within a minute.
pub async fn wait() -> Result<()> {
    // A pod of IPv6 alone answers there alone.
    let mut local = [IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()].into_iter().cycle();
    let deadline = Instant::now() + LIMIT;
    let mut last = "no answer".to_owned();
    while let Some(ip) = local.next().filter(|_| Instant::now() < deadline) {
        match client::call("GET", (ip, READINESS_PORT).into(), "/healthz/ready", Duration::from_secs(1)).await
        {
            Ok(answer) if answer.status().is_success() => return Ok(()),
            Ok(answer) => last = String::from_utf8_lossy(answer.body()).trim().to_owned(),
            Err(error) if ip.is_ipv4() => last = error.to_string(),
            Err(_) => {}
        }
        tokio::time::sleep(PERIOD).await;
    }
    bail!("the proxy is not ready after {} s: {last}", LIMIT.as_secs())
}
