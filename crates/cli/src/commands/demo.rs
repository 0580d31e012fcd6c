//! `lateen demo`.

use std::process::ExitCode;

use anyhow::Result;

/// Runs a demo application on one thread.
pub fn run(demo: lateen_demo::Demo) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let code = runtime.block_on(lateen_demo::run(demo));
    // A name that is still being resolved must not hold up the end.
    runtime.shutdown_background();
    code
}
