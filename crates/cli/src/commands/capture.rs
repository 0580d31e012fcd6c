//! `lateen capture`.

use anyhow::Result;

/// Programs the redirection of the current network namespace, and prints it.
pub fn run(arguments: &lateen_capture::Arguments) -> Result<()> {
    print!("{}", lateen_capture::run(arguments)?);
    Ok(())
}
