//! The `lateen` command: every part of the mesh, and the tools to work with it. Called `istioctl`, it answers the same.

mod args;
mod commands;
mod memory;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The command line. Called `curl` or `sleep`, as images of the demos have it, the program is that demo; called as the
/// CNI plugin, it is that.
fn command_line() -> Vec<OsString> {
    let mut words: Vec<OsString> = std::env::args_os().collect();
    let name = words.first().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
    if name.rsplit('/').next() == Some(lateen_cni::PLUGIN) {
        words.insert(1, "cni".into());
    } else if let Some(applet) = lateen_demo::images::applet(&name) {
        words.splice(1..1, ["demo".into(), applet.into()]);
    }
    words
}

fn main() -> ExitCode {
    // Where the system gives huge pages unasked, an idle proxy would occupy several whole ones; refusal costs memory only.
    let _ = nix::sys::prctl::set_thp_disable(true);
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    // These run before any thread exists: they change the namespaces and credentials of this process.
    let outcome = match commands::hidden::run(&arguments) {
        Some(outcome) => outcome,
        None => commands::run(args::Cli::parse_from(command_line()).command),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            eprintln!("Error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
