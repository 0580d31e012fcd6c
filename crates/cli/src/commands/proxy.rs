//! `lateen proxy`.

use std::process::Command;

use anyhow::Result;

use crate::args::RawArguments;
use crate::commands::hidden;
use crate::memory;

/// Runs the proxy, whose command line is Envoy's.
pub fn run(arguments: &RawArguments) -> Result<()> {
    memory::give_back_when_idle();
    let reader = std::env::current_exe().ok().map(|program| {
        let mut reader = Command::new(program);
        reader.arg(hidden::READ_BOOTSTRAP);
        reader
    });
    lateen_proxy::run::main(arguments.arguments.iter().map(Into::into).collect(), reader)
}
