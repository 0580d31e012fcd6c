//! The workload's identity: its key and certificate, served to the proxy over SDS, and the relay that speaks to the
//! control plane in the workload's name.
//!
//! The private key is made here and leaves this process only over the unix socket, to the proxy beside it.

mod backoff;
mod bootstrap;
mod certificates;
mod files;
mod notify;
mod options;
mod relay;
mod sds;
mod secrets;
mod socket;
mod trust;
mod upstream;
mod workload;

pub(crate) use backoff::Backoff;
pub(crate) use bootstrap::overridden;
pub use options::{SDS_SOCKET, SecurityOptions, Source, XDS_SOCKET};
pub(crate) use upstream::Upstream as Control;

use std::sync::Arc;

use anyhow::{Context, Result};
use lateen_xds::pb::envoy::config::bootstrap::v3::Bootstrap;
use tokio::net::UnixListener;
use tokio::task::JoinSet;

use self::secrets::Secrets;
use self::trust::Trust;
use self::upstream::Upstream;

/// What runs beside the proxy; ends when dropped.
pub struct Security {
    secrets: Arc<Secrets>,
    control: Arc<Upstream>,
    tasks: JoinSet<()>,
}

impl Security {
    /// Binds the sockets and begins to fetch the certificate. The proxy may be started at once: it waits for it.
    ///
    /// # Errors
    /// A socket cannot be made.
    pub fn start(options: SecurityOptions) -> Result<Security> {
        let options = Arc::new(options);
        let sds = bind(&options.sds_socket)?;
        let xds = bind(&options.xds_socket)?;
        let secrets = Secrets::new();
        let trust = Trust::new(Arc::clone(&secrets));
        let mut tasks = JoinSet::new();
        let relay = Arc::new(Upstream::new(&options.discovery_address, &options));
        let control = Arc::clone(&relay);
        tasks.spawn(relay::serve(xds, Arc::clone(&relay)));
        match &options.source {
            Source::Files(directory) => {
                tasks.spawn(files::workload(directory.clone(), Arc::clone(&secrets), Arc::clone(&trust)));
            }
            Source::Authority => {
                tasks.spawn(trust::follow(options.root_file.clone(), Arc::clone(&trust)));
                let authority = if options.ca_address == options.discovery_address {
                    relay
                } else {
                    Arc::new(Upstream::new(&options.ca_address, &options))
                };
                tasks.spawn(workload::keep(Arc::clone(&options), authority, Arc::clone(&secrets), trust));
            }
        }
        tasks.spawn(files::wanted(Arc::clone(&secrets)));
        tasks.spawn(sds::serve(sds, Arc::clone(&secrets)));
        Ok(Security { secrets, control, tasks })
    }

    /// The bootstrap with what EnvoyFilters lay over it (`applyTo: BOOTSTRAP`).
    ///
    /// # Errors
    /// The control plane does not answer in time, or what it says cannot be laid over the bootstrap.
    pub async fn patched(&self, bootstrap: &Bootstrap) -> Result<Bootstrap> {
        bootstrap::patched(&self.control, bootstrap).await
    }

    /// The control plane, spoken to in the workload's name.
    pub(crate) fn control(&self) -> Arc<Upstream> {
        Arc::clone(&self.control)
    }

    /// When the workload's certificate ends, in seconds since 1970.
    pub fn certificate_expiry(&self) -> Option<u64> {
        self.secrets.certificate_expiry()
    }
}

impl std::fmt::Debug for Security {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Security").field("tasks", &self.tasks.len()).finish_non_exhaustive()
    }
}

/// Makes a unix socket that only this user may use, in the place of one that an earlier process left.
fn bind(path: &std::path::Path) -> Result<UnixListener> {
    use std::os::unix::fs::PermissionsExt;
    let shown = || format!("socket {}", path.display());
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory).with_context(shown)?;
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error).with_context(shown),
        _ => {}
    }
    let listener = UnixListener::bind(path).with_context(shown)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).with_context(shown)?;
    Ok(listener)
}
