use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lateen_identity::{Authority, TrustBundle};
use tokio::sync::watch;

/// What the authority does at the moment.
#[derive(Clone, Debug)]
pub struct Standing {
    /// Signs certificates of workloads; none while a new root is still being made known.
    pub issuer: Option<Arc<Authority>>,
    /// Signs the control plane's own serving certificate.
    pub serving: Arc<Authority>,
    /// What workloads are to trust.
    pub trust: TrustBundle,
    /// The same as PEM.
    pub trust_pem: Arc<str>,
}

/// Follows the authority; cheap to clone. Nothing is there before the Kubernetes API has been read.
#[derive(Clone, Debug)]
pub struct Authorities {
    now: watch::Receiver<Option<Arc<Standing>>>,
    /// The latest end of a certificate that was signed, in seconds since 1970.
    issued_until: Arc<AtomicU64>,
}

impl Authorities {
    /// Follows what the sender tells.
    pub fn new(now: watch::Receiver<Option<Arc<Standing>>>) -> Self {
        Authorities { now, issued_until: Arc::default() }
    }

    /// An authority that never changes, for tests and tools.
    pub fn fixed(authority: Authority) -> Self {
        let authority = Arc::new(authority);
        let trust = authority.trust().clone();
        let standing = Standing {
            issuer: Some(Arc::clone(&authority)),
            serving: authority,
            trust_pem: trust.to_pem().into(),
            trust,
        };
        Self::new(watch::channel(Some(Arc::new(standing))).1)
    }

    /// The authority of the moment.
    pub fn standing(&self) -> Option<Arc<Standing>> {
        self.now.borrow().clone()
    }

    /// Resolves at the next change, or never when there will be none.
    pub async fn changed(&mut self) {
        if self.now.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Waits for the first authority; `None` when there will be none.
    pub async fn first(&mut self) -> Option<Arc<Standing>> {
        self.now.wait_for(Option::is_some).await.ok()?.clone()
    }

    /// A certificate was signed that ends then.
    pub fn issued(&self, until: SystemTime) {
        let seconds = until.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
        self.issued_until.fetch_max(seconds, Relaxed);
    }

    /// When the last certificate ends that this process has signed.
    pub fn issued_until(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(self.issued_until.load(Relaxed))
    }
}
