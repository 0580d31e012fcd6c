//! Ending what a container left behind.

use std::fs;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Names a container's mount namespace, which no other container shares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MountNamespace(std::path::PathBuf);

impl MountNamespace {
    /// That of a process.
    pub fn of(pid: i32) -> Option<Self> {
        fs::read_link(format!("/proc/{pid}/ns/mnt")).ok().map(Self)
    }
}

/// Kills every process of a container; its main process is gone already. Without PID namespaces this is what keeps
/// a container's children from outliving it.
pub(crate) fn sweep(namespace: &MountNamespace) {
    let Ok(processes) = fs::read_dir("/proc") else { return };
    for process in processes.flatten() {
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        if MountNamespace::of(pid).as_ref() == Some(namespace) {
            // It may end on its own in between.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}
