//! `lateen kubeconfig`.

use anyhow::{Context, Result};
use lateen_local::StateDir;

use crate::args::Instance;

/// Prints the kubeconfig.
pub fn run(instance: &Instance) -> Result<()> {
    let state = StateDir::locate(&instance.name, instance.state_dir.as_deref())?;
    let text = std::fs::read_to_string(state.kubeconfig())
        .with_context(|| format!("mesh {:?} has no kubeconfig yet; `lateen up` writes it", instance.name))?;
    print!("{text}");
    Ok(())
}
