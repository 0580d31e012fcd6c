//! The end of a pod: new connections go elsewhere, open ones may finish.

use std::time::Duration;

use tokio::time::Instant;

use crate::admin;

/// How often the proxy is asked for its connections while it drains.
const LOOK: Duration = Duration::from_millis(100);

/// Drains the proxy: returns when no connection is left, or after `limit`.
///
/// Endpoints are withdrawn while the pod terminates, so a proxy that is idle now may still get a connection from a
/// peer that has not heard of it: the drain lasts at least a fifth of its limit.
pub async fn drain(limit: Duration) {
    admin::drain().await;
    let start = Instant::now();
    loop {
        tokio::time::sleep(LOOK.min(limit)).await;
        let spent = start.elapsed();
        let idle = spent >= limit / 5 && admin::active_connections().await == Some(0);
        if idle || spent >= limit {
            tracing::info!(seconds = spent.as_secs_f32(), idle, "drained");
            return;
        }
    }
}
