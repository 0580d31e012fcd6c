//! `lateen uninstall`.

use anyhow::{Result, bail};

use super::{cluster, confirm, done, namespace, release_name};
use crate::args::install::Uninstall;
use crate::commands::resources::block_on;

/// Removes what `install` and `gateway enable` wrote.
pub fn run(arguments: &Uninstall) -> Result<()> {
    let namespace = namespace(&arguments.connection);
    if let Some(revision) = &arguments.revision {
        return remove_revision(arguments, revision);
    }
    let question = match arguments.purge {
        true => format!("Remove Lateen, all Istio resources and namespace {namespace} from this cluster?"),
        false => "Remove Lateen from this cluster? Istio resources stay.".to_owned(),
    };
    confirm(&question, arguments.yes)?;
    block_on(async {
        let cluster = cluster(&arguments.connection).await?;
        let removed = cluster.uninstall(namespace, arguments.purge, &mut done).await?;
        println!("{} objects removed", removed.objects);
        Ok(())
    })
}

/// Removes what one revision alone has; what a later one took over is its own by now.
fn remove_revision(arguments: &Uninstall, revision: &str) -> Result<()> {
    let release = release_name(Some(revision));
    confirm(&format!("Remove the control plane of revision {revision} from this cluster?"), arguments.yes)?;
    block_on(async {
        let cluster = cluster(&arguments.connection).await?;
        if !cluster.has_release(&release).await? {
            bail!("there is no revision {revision} that `lateen install` wrote");
        }
        let removed = cluster.remove_release(&release, &mut done).await?;
        println!("{} objects removed", removed.objects);
        Ok(())
    })
}
