//! `lateen status`.

use anyhow::Result;

use crate::args::Instance;

/// Shows the mesh of this machine.
pub fn run(instance: &Instance) -> Result<()> {
    print!("{}", lateen_local::status(&instance.name, instance.state_dir.as_deref())?);
    Ok(())
}
