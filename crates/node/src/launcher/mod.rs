//! The small single-threaded program that becomes a container's process.
//!
//! The node starts this binary again with [`VERB`]; [`main`] reads what to do from its standard input, enters the
//! pod's namespaces, builds the root file system, drops to the user and executes the program. Whatever fails before
//! that is written back, so that a container's start is known to have worked when the stream ends empty.

mod enter;
mod exec;
mod rootfs;
mod spec;

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use anyhow::{Context, Result};
use nix::fcntl::{FcntlArg, OFlag, fcntl, open};
use nix::sys::stat::Mode;

pub use rootfs::host_file;
pub(crate) use rootfs::{BIN, HOST, prepare_host, release_host};
pub(crate) use spec::{EnterSpec, Launch, Mount, Namespaces, Program, RootSpec, StartSpec, Stdio};

/// The hidden verb of the `lateen` binary that leads to [`main`].
pub const VERB: &str = "__node-launch";

/// Becomes a container's process; returns only to exit. Must run before any thread is started.
pub fn main() -> ! {
    let code = match control() {
        Ok(mut control) => match run(&mut control) {
            Ok(never) => match never {},
            Err(error) => {
                // The node is the only reader; if it is gone there is nobody to tell.
                let _ = control.write_all(format!("{error:#}").as_bytes());
                128
            }
        },
        Err(error) => {
            eprintln!("lateen: {VERB} is started by the node only: {error:#}");
            2
        }
    };
    std::process::exit(code)
}

/// The stream to the node: a copy of standard input that the program will not inherit.
fn control() -> Result<UnixStream> {
    let fd = std::io::stdin().as_fd().try_clone_to_owned().context("standard input")?;
    fcntl(&fd, FcntlArg::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC)).context("standard input")?;
    Ok(UnixStream::from(fd))
}

fn run(control: &mut UnixStream) -> Result<std::convert::Infallible> {
    let mut text = Vec::new();
    control.read_to_end(&mut text).context("read the start order")?;
    let launch: Launch = serde_json::from_slice(&text).context("the start order is malformed")?;
    // A session of its own: the container's processes are one group, and may have a terminal.
    nix::unistd::setsid().context("setsid")?;
    match launch {
        Launch::Start(spec) => {
            stdio(&spec.stdio)?;
            enter::start(&spec)?;
            exec::exec(&spec.program)
        }
        Launch::Enter(spec) => {
            stdio(&spec.stdio)?;
            enter::enter(&spec)?;
            exec::exec(&spec.program)
        }
    }
}

/// Standard streams. Output streams are inherited unless a terminal takes all three.
fn stdio(stdio: &Stdio) -> Result<()> {
    match stdio {
        Stdio::Null => nix::unistd::dup2_stdin(File::open("/dev/null").context("/dev/null")?)?,
        Stdio::Pipe(path) => {
            let pipe = File::open(path).with_context(|| format!("standard input {path}"))?;
            nix::unistd::dup2_stdin(pipe)?;
        }
        Stdio::Terminal(path) => {
            // Without O_NOCTTY the session's first terminal becomes its controlling one.
            let terminal: OwnedFd = open(path.as_str(), OFlag::O_RDWR, Mode::empty())
                .with_context(|| format!("terminal {path}"))?;
            nix::unistd::dup2_stdin(&terminal)?;
            nix::unistd::dup2_stdout(&terminal)?;
            nix::unistd::dup2_stderr(&terminal)?;
        }
    }
    Ok(())
}
