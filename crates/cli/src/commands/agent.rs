//! `lateen agent`.

use anyhow::Result;

use super::logging;
use crate::args::RawArguments;
use crate::memory;

/// Runs the agent.
pub fn run(arguments: &RawArguments) -> Result<()> {
    logging::start("info");
    memory::give_back_when_idle();
    lateen_agent::main(&arguments.arguments)
}
