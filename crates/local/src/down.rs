//! `lateen down`.

use std::path::Path;

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::state::StateDir;

/// Stops the mesh and waits until it has stopped; `purge` also removes what it kept. Returns whether one ran.
pub fn down(name: &str, state_dir: Option<&Path>, purge: bool) -> Result<bool> {
    let state = StateDir::locate(name, state_dir)?;
    let running = state.running()?;
    if let Some(pid) = running {
        kill(Pid::from_raw(pid), Signal::SIGTERM).with_context(|| format!("cannot stop process {pid}"))?;
        state.wait_until_stopped()?;
    }
    if purge && state.root().exists() {
        std::fs::remove_dir_all(state.root()).with_context(|| state.root().display().to_string())?;
    }
    Ok(running.is_some())
}
