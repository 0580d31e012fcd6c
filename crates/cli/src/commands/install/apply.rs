//! `lateen install`.

use anyhow::Result;

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
        let applied = cluster.apply(&manifest, arguments.force, &mut done).await?;
        println!("{} objects written", applied.objects);
        if !arguments.readiness_timeout.is_zero() {
            cluster.wait(&applied.deployments, arguments.readiness_timeout, &mut done).await?;
        }
        done(
            "the mesh is installed; label a namespace: kubectl label namespace default istio-injection=enabled",
        );
        Ok(())
    })
}
