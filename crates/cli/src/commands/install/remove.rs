//! `lateen uninstall`.

use anyhow::Result;

use super::{cluster, confirm, done, namespace};
use crate::args::install::Uninstall;
use crate::commands::resources::block_on;

/// Removes what `install` and `gateway enable` wrote.
pub fn run(arguments: &Uninstall) -> Result<()> {
    let namespace = namespace(&arguments.connection);
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
