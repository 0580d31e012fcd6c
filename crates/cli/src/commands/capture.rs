//! `lateen capture`.

use std::process::ExitCode;

use anyhow::Result;

/// Programs the redirection of the current network namespace, and prints it.
pub fn run(arguments: &lateen_capture::Arguments) -> Result<ExitCode> {
    match lateen_capture::run(arguments) {
        Ok(text) => {
            print!("{text}");
            Ok(ExitCode::SUCCESS)
        }
        Err(error @ lateen_capture::Error::NotCaptured(_)) => {
            eprintln!("Error: {error}");
            Ok(ExitCode::from(lateen_capture::NOT_CAPTURED))
        }
        Err(error) => Err(error.into()),
    }
}
