//! `lateen proxy`.

use anyhow::Result;

use crate::args::RawArguments;

/// Runs the proxy, whose command line is Envoy's.
pub fn run(arguments: &RawArguments) -> Result<()> {
    lateen_proxy::run::main(arguments.arguments.iter().map(Into::into))
}
