//! The host side of a mesh: the `lateen up` process.
//!
//! It stays in the host's network, starts the mesh in namespaces of its own, binds what the mesh asks for and shows
//! how things go.

pub mod link;
mod show;

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::unistd::Pid;

use crate::manifests;
use crate::namespaces::verb;
use crate::options::UpOptions;
use crate::prerequisites;
use crate::state::StateDir;
use link::{FromHost, Link, ToHost};

/// The mesh that commands mean when they name none.
const DEFAULT_NAME: &str = "default";

/// Set in the process that `up --detach` leaves running.
const DETACHED: &str = "LATEEN_DETACHED";

/// The line by which the background process tells the foreground one that the mesh is ready (ASCII EOT).
const READY_MARK: &str = "\u{4}";

/// Brings a mesh up and stays until it ends (or, detached, until it is ready).
pub fn up(mut options: UpOptions) -> Result<()> {
    let state = StateDir::locate(&options.name, options.state_dir.as_deref())?;
    prerequisites::check()?;
    options.mesh.demo.as_deref().map(manifests::demo).transpose()?;
    state.create()?;
    if options.detach && std::env::var_os(DETACHED).is_none() {
        return detach();
    }
    let Some(_lock) = state.try_lock()? else {
        bail!("mesh {:?} is running already: `lateen status` shows it, `lateen down` stops it", options.name);
    };
    options.mesh.well_known_ports = options.name == DEFAULT_NAME;
    options.mesh.state_dir = state.root().to_owned();
    options.mesh.kubeconfig = match &options.kubeconfig {
        Some(path) => std::path::absolute(path)?,
        None => state.kubeconfig(),
    };
    let signals: SigSet = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().collect();
    signals.thread_block()?;
    let (link, mut mesh) = start(&state, &options)?;
    let pid = Pid::from_raw(mesh.id().cast_signed());
    std::thread::spawn(move || {
        while signals.wait().is_ok() {
            // It may have ended by itself; the link's end then ends this process too.
            let _ = kill(pid, Signal::SIGTERM);
        }
    });
    let outcome = serve(&link, &state, &options);
    if outcome.is_err() {
        // What it started must not outlive the reason for it.
        let _ = kill(pid, Signal::SIGTERM);
    }
    let status = mesh.wait()?;
    outcome?;
    if !status.success() {
        bail!("the mesh ended with {status}; its log is {}", state.log().display());
    }
    Ok(())
}

/// Starts the mesh with its end of the link as standard input and its log as output.
fn start(state: &StateDir, options: &UpOptions) -> Result<(Link, Child)> {
    let (link, theirs) = Link::pair()?;
    let log = File::create(state.log()).with_context(|| state.log().display().to_string())?;
    let mesh = Command::new(std::env::current_exe()?)
        .arg(verb::ENTER)
        .arg(serde_json::to_string(&options.mesh)?)
        .stdin(theirs)
        .stdout(log.try_clone()?)
        .stderr(log)
        // Ctrl-C goes to this process alone, which then asks the mesh to end.
        .process_group(0)
        .spawn()
        .context("cannot start this program again")?;
    Ok((link, mesh))
}

/// Answers the mesh until it ends.
fn serve(link: &Link, state: &StateDir, options: &UpOptions) -> Result<()> {
    let mut progress = show::Progress::start();
    let mut ready = false;
    while let Some((message, _)) = link.receive::<ToHost>()? {
        match message {
            ToHost::Listen(address) => match TcpListener::bind(address) {
                Ok(listener) => link.send(&FromHost::Listening, Some(&listener))?,
                Err(error) => link.send(&FromHost::Refused(error.raw_os_error().unwrap_or(0)), None)?,
            },
            ToHost::Progress(line) => progress.line(&line),
            ToHost::Ready(summary) => {
                ready = true;
                progress.end();
                state.write_summary(&summary)?;
                print!("{}", show::ready(&summary, options));
                if options.detach {
                    println!("{READY_MARK}");
                    leave_terminal()?;
                }
            }
            ToHost::Failed(reason) => {
                progress.end();
                bail!("{reason}\nThe mesh's log is {}", state.log().display());
            }
        }
    }
    progress.end();
    if !ready {
        bail!("the mesh ended before it was ready; its log is {}", state.log().display());
    }
    Ok(())
}

/// Starts this command again in the background, and shows what it says until it is ready.
fn detach() -> Result<()> {
    let mut child = Command::new(std::env::current_exe()?)
        .args(std::env::args_os().skip(1))
        .env(DETACHED, "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .process_group(0)
        .spawn()
        .context("cannot start this program again")?;
    let output = child.stdout.take().context("the background process has no output")?;
    for line in BufReader::new(output).lines() {
        let line = line?;
        if line == READY_MARK {
            return Ok(());
        }
        println!("{line}");
    }
    std::process::exit(child.wait()?.code().unwrap_or(1));
}

/// Closes the output that the waiting foreground process reads: it then returns.
fn leave_terminal() -> Result<()> {
    let nothing = File::options().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdout(&nothing)?;
    rustix::stdio::dup2_stderr(&nothing)?;
    Ok(())
}
