//! `lateen proxy`.

use anyhow::Result;

use crate::args::RawArguments;
use crate::memory;

/// Runs the proxy, whose command line is Envoy's.
pub fn run(arguments: &RawArguments) -> Result<()> {
    memory::give_back_when_idle();
    lateen_proxy::run::main(arguments.arguments.iter().map(Into::into))
}
