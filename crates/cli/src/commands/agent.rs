//! `lateen agent`.

use anyhow::Result;

use super::logging;
use crate::args::RawArguments;

/// Runs the agent.
pub fn run(arguments: &RawArguments) -> Result<()> {
    logging::start("info");
    lateen_agent::main(&arguments.arguments)
}
