use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use lateen_analysis::{Finding, analyze};
use lateen_mesh::ConfigKey;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::hub::{Hub, Published};

/// How long configuration must have been left alone before it is looked through: a manifest of several resources
/// refers to what is created a moment later.
const QUIET: Duration = Duration::from_secs(1);

/// How long a mesh that never rests may put that off.
const LATEST: Duration = Duration::from_secs(10);

/// What is found in a snapshot.
#[derive(Debug, Default)]
pub(crate) struct Analysis {
    /// The publication that was looked through, or an earlier one.
    pub number: u64,
    /// Findings by resource.
    pub findings: BTreeMap<ConfigKey, Vec<Finding>>,
}

/// Looks through the mesh's configuration whenever it has changed, until the hub is gone: tells others what is found,
/// and logs each finding when it appears.
pub(crate) async fn report(hub: Arc<Hub>, tell: watch::Sender<Arc<Analysis>>) {
    let mut published = hub.subscribe();
    let mut known: BTreeSet<Finding> = BTreeSet::new();
    while published.changed().await.is_ok() {
        if !rest(&mut published).await {
            return;
        }
        let number = published.borrow_and_update().number;
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
        let mut findings: BTreeMap<ConfigKey, Vec<Finding>> = BTreeMap::new();
        for finding in &found {
            findings.entry(finding.resource.clone()).or_default().push(finding.clone());
        }
        tell.send_replace(Arc::new(Analysis { number, findings }));
        known = found;
    }
}

/// Waits until there were no publications for a while. False when there will never be one.
async fn rest(published: &mut watch::Receiver<Published>) -> bool {
    let latest = Instant::now() + LATEST;
    loop {
        let until = (Instant::now() + QUIET).min(latest);
        match tokio::time::timeout_at(until, published.changed()).await {
            Ok(Ok(())) if Instant::now() < latest => {}
            Ok(Ok(())) | Err(_) => return true,
            Ok(Err(_)) => return false,
        }
    }
}
