//! `lateen x precheck`.

use anyhow::{Result, bail};
use lateen_install::Level;

use super::{cluster, namespace};
use crate::args::install::Experimental;
use crate::commands::resources::block_on;

/// Says whether the mesh can be installed, and fails if it cannot.
pub fn run(verb: &Experimental) -> Result<()> {
    let Experimental::Precheck(connection) = verb;
    let findings = block_on(async { cluster(connection).await?.precheck(namespace(connection)).await })?;
    for finding in &findings {
        let mark = match finding.level {
            Level::Good => "✔",
            Level::Warning => "!",
            Level::Error => "✘",
        };
        println!("{mark} {}", finding.message);
    }
    if findings.iter().any(|finding| finding.level == Level::Error) {
        bail!("the mesh cannot be installed on this cluster as it is");
    }
    Ok(())
}
