//! `cargo xtask charts`: writes what of the charts is generated.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use lateen_install::Chart;

/// Writes the files that differ.
pub fn run() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts");
    let mut written = 0;
    for chart in Chart::all() {
        for (path, text) in chart.generated()? {
            let path = root.join(chart.name).join(path);
            if fs::read_to_string(&path).is_ok_and(|old| old == text) {
                continue;
            }
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder)?;
            }
            fs::write(&path, text).with_context(|| path.display().to_string())?;
            written += 1;
        }
    }
    println!("{written} files written");
    Ok(())
}
