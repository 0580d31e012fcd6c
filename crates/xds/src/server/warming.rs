use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long listeners and routes wait for new clusters to get their endpoints. A client that takes longer gets
/// them anyway: late is better than never.
const PATIENCE: Duration = Duration::from_secs(5);

/// Make before break: listeners and routes that may refer to new clusters wait until those clusters have endpoints.
#[derive(Debug, Default)]
pub(super) struct Warming {
    clusters: HashSet<Arc<str>>,
    until: Option<Instant>,
}

impl Warming {
    /// A new cluster went out; its endpoints will be asked for.
    pub(super) fn start(&mut self, cluster: Arc<str>, now: Instant) {
        self.clusters.insert(cluster);
        self.until = Some(now + PATIENCE);
    }

    /// The endpoints of a cluster were asked for, or the cluster is gone again.
    pub(super) fn settle(&mut self, cluster: &str) {
        self.clusters.remove(cluster);
    }

    /// The client refused clusters: it will not ask for their endpoints.
    pub(super) fn give_up(&mut self) {
        self.clusters.clear();
    }

    /// Until when listeners and routes must wait; `None` when they may go. `quiet` says that clusters and endpoints
    /// are all sent and acknowledged.
    pub(super) fn wait_until(&mut self, quiet: bool, now: Instant) -> Option<Instant> {
        let until = self.until?;
        if (quiet && self.clusters.is_empty()) || now >= until {
            // Not needed again for long: a fresh set gives the memory of the largest one back.
            self.clusters = HashSet::new();
            self.until = None;
        }
        self.until
    }
}
