//! `lateen cni`.

use std::process::ExitCode;

use anyhow::Result;

use super::logging;

/// Runs the CNI plugin, or its installer on a node.
pub fn run(arguments: lateen_cni::Arguments) -> Result<ExitCode> {
    logging::start("info");
    Ok(if lateen_cni::run(arguments)? { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
