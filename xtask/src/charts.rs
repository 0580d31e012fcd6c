//! `cargo xtask charts`: writes what of the charts is generated.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use lateen_install::Chart;

/// Writes the files that differ.
pub fn run() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut written = 0;
    for chart in Chart::all() {
        for (path, text) in chart.generated()? {
            written += usize::from(write(&root.join("charts").join(chart.name).join(path), &text)?);
        }
    }
    let rights = root.join("crates/local/manifests/istiod-rbac.yaml");
    written += usize::from(write(&rights, &lateen_install::local_rights()?)?);
    println!("{written} files written");
    Ok(())
}

/// Whether the file was another.
fn write(path: &Path, text: &str) -> Result<bool> {
    if fs::read_to_string(path).is_ok_and(|old| old == text) {
        return Ok(false);
    }
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(path, text).with_context(|| path.display().to_string())?;
    Ok(true)
}
