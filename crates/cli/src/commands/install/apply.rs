//! `lateen install`.

use anyhow::{Result, bail};
use lateen_install::{Cluster, Level};

use super::{cluster, confirm, done, namespace, release};
use crate::args::install::Install;
use crate::commands::resources::block_on;

/// Installs the mesh, or brings what is installed to what is asked for.
pub fn run(arguments: &Install) -> Result<()> {
    let namespace = namespace(&arguments.connection);
    let manifest = release(&arguments.choice, namespace)?.manifest()?.with_namespace();
    confirm(&format!("Install Lateen into namespace {namespace} of this cluster?"), arguments.yes)?;
    block_on(async {
        let cluster = cluster(&arguments.connection).await?;
        may_be_installed(&cluster, namespace, arguments.force).await?;
        let applied = cluster.apply(&manifest, arguments.force, &mut done).await?;
        println!("{} objects written", applied.objects);
        if !arguments.readiness_timeout.is_zero() {
            cluster.wait(&applied.deployments, arguments.readiness_timeout, &mut done).await?;
            cluster.wait_daemon_sets(&applied.daemon_sets, arguments.readiness_timeout, &mut done).await?;
        }
        let label = match &arguments.choice.revision {
            Some(revision) => format!("istio.io/rev={revision}"),
            None => "istio-injection=enabled".to_owned(),
        };
        done(&format!("the mesh is installed; label a namespace: kubectl label namespace default {label}"));
        Ok(())
    })
}

/// Asks first what would fail later: nothing is half installed where a right is missing or Kubernetes is too old.
async fn may_be_installed(cluster: &Cluster, namespace: &str, force: bool) -> Result<()> {
    let findings = cluster.precheck(namespace).await?;
    let errors: Vec<String> = findings
        .into_iter()
        .filter(|finding| finding.level == Level::Error && !(force && finding.forced))
        .map(|finding| format!("- {}", finding.message))
        .collect();
    if !errors.is_empty() {
        bail!("nothing was installed:\n{}", errors.join("\n"));
    }
    Ok(())
}
