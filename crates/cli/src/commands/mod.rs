//! One file a verb.

mod crds;
mod down;
pub mod hidden;
mod kubeconfig;
mod status;
mod up;
mod version;

use std::process::ExitCode;

use anyhow::Result;

use crate::args::Command;

/// Runs a verb.
pub fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Up(arguments) => up::run(arguments)?,
        Command::Down(arguments) => down::run(&arguments)?,
        Command::Status(instance) => status::run(&instance)?,
        Command::Kubeconfig(instance) => kubeconfig::run(&instance)?,
        Command::Crds => crds::run()?,
        Command::Version => version::run(),
    }
    Ok(ExitCode::SUCCESS)
}
