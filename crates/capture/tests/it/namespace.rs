//! A user and network namespace for the tests, entered while there is one thread.

use nix::sched::{CloneFlags, unshare};

/// Enters new namespaces; the current user becomes root there.
pub fn enter() -> Result<(), String> {
    let (uid, gid) = (nix::unistd::getuid(), nix::unistd::getgid());
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET).map_err(|e| e.to_string())?;
    let write = |file: &str, text: String| std::fs::write(file, text).map_err(|e| format!("{file}: {e}"));
    write("/proc/self/setgroups", "deny".into())?;
    write("/proc/self/uid_map", format!("0 {uid} 1"))?;
    write("/proc/self/gid_map", format!("0 {gid} 1"))
}

/// Loopback starts down in a new namespace.
pub fn loopback_up() -> bool {
    std::process::Command::new("ip").args(["link", "set", "lo", "up"]).status().is_ok_and(|s| s.success())
}
