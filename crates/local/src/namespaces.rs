//! The way into the mesh's own namespaces: two small programs of this binary, each single-threaded.
//!
//! [`enter`] makes user, network, mount, PID, UTS and IPC namespaces and starts [`init`] in them; `init` is PID 1
//! there, starts the daemon and collects orphans. When PID 1 ends, the kernel ends whatever is left of the mesh.

use std::ffi::OsString;
use std::fs;
use std::process::{Command, exit};

use anyhow::{Context, Result};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, getegid, geteuid};

/// Hidden verbs of the `lateen` binary that lead here.
pub mod verb {
    /// Makes the namespaces.
    pub const ENTER: &str = "__mesh-enter";
    /// PID 1 in them.
    pub const INIT: &str = "__mesh-init";
    /// The daemon: API server, controllers, node.
    pub const DAEMON: &str = "__mesh-daemon";
}

/// Leaves the host's namespaces, starts [`init`] and passes signals to it. `arguments` go through to the daemon.
pub fn enter(arguments: &[OsString]) -> Result<()> {
    block_signals()?;
    let (uid, gid) = (geteuid(), getegid());
    let mut flags = CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWIPC;
    if !uid.is_root() {
        flags |= CloneFlags::CLONE_NEWUSER;
    }
    unshare(flags).context("cannot make the mesh's namespaces")?;
    if !uid.is_root() {
        // user_namespaces(7): a process may map its own id alone, after giving up setgroups.
        fs::write("/proc/self/setgroups", "deny").context("/proc/self/setgroups")?;
        fs::write("/proc/self/uid_map", format!("0 {uid} 1")).context("/proc/self/uid_map")?;
        fs::write("/proc/self/gid_map", format!("0 {gid} 1")).context("/proc/self/gid_map")?;
    }
    supervise(Command::new(std::env::current_exe()?).arg(verb::INIT).args(arguments))
}

/// PID 1 of the mesh: mounts `/proc` of the new PID namespace, starts the daemon, collects orphans.
pub fn init(arguments: &[OsString]) -> Result<()> {
    block_signals()?;
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
        .context("cannot make mounts private")?;
    let safe = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("proc"), "/proc", Some("proc"), safe, none)
        .context("cannot mount /proc (inside a container, run it with an unmasked /proc)")?;
    supervise(Command::new(std::env::current_exe()?).arg(verb::DAEMON).args(arguments))
}

fn block_signals() -> Result<()> {
    Ok(awaited_signals().thread_block()?)
}

fn awaited_signals() -> SigSet {
    [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP].into_iter().collect()
}

/// Starts a child, passes termination signals to it, collects every other child, and exits as the child does.
fn supervise(command: &mut Command) -> Result<()> {
    let child = command.spawn().context("cannot start this program again")?;
    let child = Pid::from_raw(child.id().cast_signed());
    loop {
        match awaited_signals().wait()? {
            Signal::SIGCHLD => collect(child),
            // The child may be gone already; then SIGCHLD is on its way.
            signal => drop(kill(child, signal)),
        }
    }
}

fn collect(child: Pid) {
    while let Ok(status) = waitpid(None, Some(WaitPidFlag::WNOHANG)) {
        match status {
            WaitStatus::StillAlive => return,
            WaitStatus::Exited(pid, code) if pid == child => exit(code),
            WaitStatus::Signaled(pid, signal, _) if pid == child => exit(128 + signal as i32),
            _ => {}
        }
    }
}
