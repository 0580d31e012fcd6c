//! Processes of containers: starting, watching, ending.

mod spawner;
mod sweep;

pub(crate) use spawner::{Output, Spawned, Spawner};
pub(crate) use sweep::{MountNamespace, sweep};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

/// How a process ended, as containers report it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Exit {
    /// The code; 128 + signal for a process ended by one.
    pub code: i32,
    /// The signal, if one ended it.
    pub signal: Option<i32>,
}

impl From<std::process::ExitStatus> for Exit {
    fn from(status: std::process::ExitStatus) -> Self {
        use std::os::unix::process::ExitStatusExt;
        let signal = status.signal();
        Self { code: status.code().unwrap_or_else(|| 128 + signal.unwrap_or(0)), signal }
    }
}

/// Signals a container's process group; a group that is gone already is no error.
pub(crate) fn signal(pid: i32, signal: Signal) {
    if let Err(error) = killpg(Pid::from_raw(pid), signal) {
        tracing::debug!(pid, %signal, %error, "signal not delivered");
    }
}
