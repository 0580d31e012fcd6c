//! `lateen crds`.

use std::io::{Write, stdout};

use anyhow::Result;

/// Prints every custom resource definition as one YAML stream.
pub fn run() -> Result<()> {
    let mut out = stdout().lock();
    for crd in lateen_api::crds() {
        writeln!(out, "---\n{}", serde_saphyr::to_string(&crd)?)?;
    }
    Ok(())
}
