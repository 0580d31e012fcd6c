//! Verbs that no person types: this program starts itself again in other namespaces.

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Result;
use lateen_local::namespaces::{self, verb};

use crate::memory;

/// Reads the proxy's bootstrap and prints it encoded, for the proxy that started this process.
pub const READ_BOOTSTRAP: &str = "__read-bootstrap";

/// Runs a hidden verb; `None` if the first argument is not one.
pub fn run(arguments: &[OsString]) -> Option<Result<ExitCode>> {
    let (first, rest) = arguments.split_first()?;
    let outcome = match first.to_str()? {
        READ_BOOTSTRAP => lateen_proxy::run::read_bootstrap(rest),
        verb::ENTER => namespaces::enter(rest),
        verb::INIT => namespaces::init(rest),
        lateen_node::launcher::VERB => lateen_node::launcher::main(),
        verb::DAEMON => {
            memory::give_back_when_idle();
            lateen_local::daemon::main(rest)
        }
        _ => return None,
    };
    Some(outcome.map(|()| ExitCode::SUCCESS))
}
