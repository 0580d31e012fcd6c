//! Ending what a container left behind.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A container's mount namespace, which no other container shares.
///
/// It is held open: the kernel gives the number of a namespace that is gone to the next one that is made, and what is
/// swept by number alone may be a container that has just started.
#[derive(Debug)]
pub(crate) struct MountNamespace {
    _open: File,
    id: (u64, u64),
}

impl MountNamespace {
    /// That of a process.
    pub fn of(pid: i32) -> Option<Self> {
        let open = File::open(path(pid)).ok()?;
        let metadata = open.metadata().ok()?;
        Some(Self { id: (metadata.dev(), metadata.ino()), _open: open })
    }

    fn holds(&self, pid: i32) -> bool {
        fs::metadata(path(pid)).is_ok_and(|metadata| (metadata.dev(), metadata.ino()) == self.id)
    }
}

fn path(pid: i32) -> String {
    format!("/proc/{pid}/ns/mnt")
}

/// Kills every process of a container; its main process is gone already. Without PID namespaces this is what keeps
/// a container's children from outliving it.
pub(crate) fn sweep(namespace: &MountNamespace) {
    let Ok(processes) = fs::read_dir("/proc") else { return };
    for process in processes.flatten() {
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        if namespace.holds(pid) {
            // It may end on its own in between.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_in_its_own_namespace_and_others_that_are_gone_are_in_none() {
        let own = i32::try_from(std::process::id()).unwrap();
        let namespace = MountNamespace::of(own).unwrap();
        assert!(namespace.holds(own));
        assert!(!namespace.holds(i32::MAX));
        assert!(MountNamespace::of(i32::MAX).is_none());
    }
}
