//! The last step: find the program, drop to the user, execute.

use std::convert::Infallible;
use std::ffi::CString;
use std::fs::File;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;
use nix::unistd::{Gid, Uid, access, execve, setgid, setgroups, setuid};

use super::rootfs::{BIN, HOST};
use super::spec::Program;

const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Executes; returns only if that fails.
pub(crate) fn exec(program: &Program) -> Result<Infallible> {
    let Some(name) = program.argv.first() else { bail!("the container has no command") };
    if let Some(dir) = program.working_dir.as_deref().filter(|dir| !dir.is_empty()) {
        // Container runtimes make the directory; in a read-only place the next line says what is wrong.
        let _ = std::fs::create_dir_all(dir);
        std::env::set_current_dir(dir).with_context(|| format!("workingDir {dir}"))?;
    } else {
        std::env::set_current_dir("/").context("/")?;
    }
    let path =
        program.env.iter().rev().find(|(key, _)| key == "PATH").map_or(DEFAULT_PATH, |(_, value)| value);
    let Some(found) = find(name, path) else { bail!("exec: {name:?}: executable file not found in $PATH") };
    give_streams(program)?;
    drop_privileges(program)?;
    // After the change of user, which clears it.
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).context("tie the container to the node")?;
    let text = |s: &str| CString::new(s).with_context(|| format!("{s:?} holds a NUL byte"));
    let argv: Vec<CString> = program.argv.iter().map(|a| text(a)).collect::<Result<_>>()?;
    let env: Vec<CString> =
        program.env.iter().map(|(k, v)| text(&format!("{k}={v}"))).collect::<Result<_>>()?;
    let file =
        CString::new(found.as_os_str().as_encoded_bytes()).context("the program's path holds a NUL byte")?;
    execve(&file, &argv, &env).with_context(|| format!("exec: {:?}", found.display()))
}

/// Makes the user the owner of the standard streams: programs open `/dev/stdout` anew, Envoy for its access log.
fn give_streams(program: &Program) -> Result<()> {
    use std::os::fd::AsFd;
    use std::os::unix::fs::{FileTypeExt, fchown};
    let Some(uid) = program.uid else { return Ok(()) };
    for stream in [std::io::stdin().as_fd(), std::io::stdout().as_fd(), std::io::stderr().as_fd()] {
        let file = File::from(stream.try_clone_to_owned().context("standard streams")?);
        let kind = file.metadata().context("standard streams")?.file_type();
        // Anything else, /dev/null before all, is shared with others.
        if kind.is_fifo() || file.is_terminal() {
            fchown(&file, Some(uid), None).with_context(|| format!("give standard streams to user {uid}"))?;
        }
    }
    Ok(())
}

fn drop_privileges(program: &Program) -> Result<()> {
    if (program.uid.is_some() || program.gid.is_some()) && may_set_groups() {
        let groups: Vec<Gid> = program.groups.iter().copied().map(Gid::from_raw).collect();
        setgroups(&groups).context("set the container's groups")?;
    }
    if let Some(gid) = program.gid {
        setgid(Gid::from_raw(gid)).with_context(|| format!("runAsGroup {gid}"))?;
    }
    if let Some(uid) = program.uid {
        setuid(Uid::from_raw(uid)).with_context(|| format!("runAsUser {uid}"))?;
    }
    Ok(())
}

/// user_namespaces(7): who maps only the own group id has given up setgroups, and has no groups to drop in here.
fn may_set_groups() -> bool {
    !std::fs::read_to_string("/proc/self/setgroups").is_ok_and(|setting| setting.trim() == "deny")
}

/// Where a program is: as named, on the path, the host's file of that name, or the node's own applet.
fn find(name: &str, path: &str) -> Option<PathBuf> {
    let applet = || Path::new(BIN).join(Path::new(name).file_name()?).into();
    let candidates: Vec<PathBuf> = if name.contains('/') {
        vec![name.into(), Path::new(HOST).join(name.trim_start_matches('/'))]
    } else {
        path.split(':').filter(|dir| !dir.is_empty()).map(|dir| Path::new(dir).join(name)).collect()
    };
    let applet: Option<PathBuf> = applet();
    candidates.into_iter().chain(applet).find(|file| executable(file))
}

fn executable(file: &Path) -> bool {
    file.is_file() && access(file, nix::unistd::AccessFlags::X_OK).is_ok()
}
