//! Namespaces for the test, as `lateen up` makes them for a mesh.

use std::process::Command;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{getgid, getuid};

/// Runs this test again in new namespaces; its exit code.
pub fn run_in_new(arguments: &[String]) -> Result<u8, String> {
    let (uid, gid) = (getuid(), getgid());
    // With root there is no user namespace, unless LATEEN_TEST_ROOTLESS asks for one.
    let rootless = !uid.is_root() || std::env::var_os("LATEEN_TEST_ROOTLESS").is_some();
    let mut flags = CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWIPC;
    flags.set(CloneFlags::CLONE_NEWUSER, rootless);
    unshare(flags).map_err(|e| e.to_string())?;
    if rootless {
        let write = |file: &str, text: String| std::fs::write(file, text).map_err(|e| format!("{file}: {e}"));
        write("/proc/self/setgroups", "deny".into())?;
        write("/proc/self/uid_map", format!("0 {uid} 1"))?;
        write("/proc/self/gid_map", format!("0 {gid} 1"))?;
    }
    let own = std::env::current_exe().map_err(|e| e.to_string())?;
    let status = Command::new(own).arg("namespaced").args(arguments).status().map_err(|e| e.to_string())?;
    Ok(u8::try_from(status.code().unwrap_or(1)).unwrap_or(1))
}

/// The new PID namespace's `/proc`.
pub fn settle() {
    // A test runner that gives up must not leave namespaces behind.
    nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL).unwrap();
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
    mount(Some("proc"), "/proc", Some("proc"), MsFlags::empty(), none).unwrap();
}
