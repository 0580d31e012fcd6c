//! `lateen manifest`.

use anyhow::Result;

use super::release;
use crate::args::install::ManifestVerb;

/// Prints what `install` writes.
pub fn run(verb: &ManifestVerb) -> Result<()> {
    let ManifestVerb::Generate(arguments) = verb;
    print!("{}", release(&arguments.choice, &arguments.namespace)?.manifest()?.yaml());
    Ok(())
}
