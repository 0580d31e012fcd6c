use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use lateen_identity::TrustBundle;

use super::files;
use super::notify::Watch;
use super::secrets::{ROOTS, Secrets};

/// What the workload trusts: the roots that came with its certificate, and those that the control plane has made
/// known since (the mounted ConfigMap), so that a rotation of the root is understood at once.
#[derive(Debug)]
pub(super) struct Trust {
    secrets: Arc<Secrets>,
    parts: Mutex<Parts>,
}

#[derive(Debug, Default)]
struct Parts {
    issued: TrustBundle,
    mounted: TrustBundle,
}

impl Trust {
    pub(super) fn new(secrets: Arc<Secrets>) -> Arc<Trust> {
        Arc::new(Trust { secrets, parts: Mutex::default() })
    }

    /// The roots that came with a certificate.
    pub(super) fn issued(&self, roots: TrustBundle) {
        self.change(|parts| parts.issued = roots);
    }

    /// The roots that are mounted.
    fn mounted(&self, roots: TrustBundle) {
        self.change(|parts| parts.mounted = roots);
    }

    fn change(&self, change: impl FnOnce(&mut Parts)) {
        let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut parts);
        // Sorted, so that one bundle has one form whatever its parts are.
        let mut certificates: Vec<_> =
            parts.issued.certificates().iter().chain(parts.mounted.certificates()).cloned().collect();
        certificates.sort_by(|a, b| a.as_ref().cmp(b.as_ref()));
        let mut all = TrustBundle::default();
        certificates.into_iter().for_each(|certificate| all.add(certificate));
        if !all.is_empty() {
            self.secrets.set_roots(ROOTS, &all.to_pem());
        }
    }
}

/// Follows the mounted roots for ever. A file that cannot be read, or holds no certificate, changes nothing.
pub(super) async fn follow(file: PathBuf, trust: Arc<Trust>) {
    let mut watch = Watch::new([file.as_path()]);
    let mut complaint = String::new();
    loop {
        let bundle = files::read(&file).and_then(|text| TrustBundle::from_pem(&text).map_err(Into::into));
        match bundle {
            Ok(bundle) => {
                complaint.clear();
                trust.mounted(bundle);
            }
            Err(error) => {
                let error = format!("{error:#}");
                if error != complaint {
                    tracing::warn!(file = %file.display(), error, "the mesh's roots cannot be read");
                    complaint = error;
                }
            }
        }
        watch.changed().await;
    }
}
