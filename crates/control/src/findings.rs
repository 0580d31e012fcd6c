use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use lateen_analysis::{Finding, analyze};

use crate::hub::Hub;

/// How long configuration must have been left alone before it is looked through: a manifest of several resources
/// refers to what is created a moment later.
const QUIET: Duration = Duration::from_secs(1);

/// Logs what is wrong with the mesh's configuration, each finding when it appears, until the hub is gone.
pub(crate) async fn report(hub: Arc<Hub>) {
    let mut published = hub.subscribe();
    let mut known: BTreeSet<Finding> = BTreeSet::new();
    while published.changed().await.is_ok() {
        while let Ok(changed) = tokio::time::timeout(QUIET, published.changed()).await {
            if changed.is_err() {
                return;
            }
        }
        let mesh = hub.mesh();
        // A large mesh takes a while, and proxies must not wait for it.
        let Ok(found) = tokio::task::spawn_blocking(move || analyze(&mesh)).await else { continue };
        let found: BTreeSet<Finding> = found.into_iter().collect();
        for finding in found.difference(&known) {
            tracing::warn!("{finding}");
        }
        for finding in known.difference(&found) {
            tracing::info!("no longer: {finding}");
        }
        known = found;
    }
}
