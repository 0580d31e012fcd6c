//! What a person sees while a mesh comes up.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _, stderr};
use std::time::Instant;

use super::link::Summary;
use crate::options::UpOptions;

/// Progress on the terminal: one line that is replaced, or plain lines where output is kept.
pub struct Progress {
    started: Instant,
    replace: bool,
    shown: bool,
}

impl Progress {
    /// Starts the clock.
    pub fn start() -> Progress {
        Progress { started: Instant::now(), replace: stderr().is_terminal(), shown: false }
    }

    /// Shows one step.
    pub fn line(&mut self, text: &str) {
        let seconds = self.started.elapsed().as_secs_f32();
        let end = if self.replace { "" } else { "\n" };
        let start = if self.replace { "\r\x1b[2K" } else { "" };
        // A terminal that is gone is no reason to stop.
        let _ = write!(stderr(), "{start}[{seconds:5.2} s] {text}{end}");
        let _ = stderr().flush();
        self.shown = true;
    }

    /// Clears the replaced line.
    pub fn end(&mut self) {
        if self.replace && self.shown {
            let _ = write!(stderr(), "\r\x1b[2K");
        }
        self.shown = false;
    }
}

/// The text that says the mesh is up and what to try next.
pub fn ready(summary: &Summary, options: &UpOptions) -> String {
    let mut text = String::new();
    let seconds = summary.took_ms as f64 / 1000.0;
    let demo = summary.demo.as_deref().map(|d| format!(" with the demo {d}")).unwrap_or_default();
    // Writing to a String does not fail.
    let _ = writeln!(text, "Lateen is up in {seconds:.1} s{demo}. Try:\n");
    let _ = writeln!(text, "  export KUBECONFIG={}", options.mesh.kubeconfig.display());
    let _ = writeln!(text, "  kubectl get pods --all-namespaces");
    match (&summary.gateway, summary.demo.as_deref()) {
        (Some(gateway), Some("bookinfo")) => {
            let _ = writeln!(text, "  curl -s {gateway}/productpage | grep -o \"<title>.*</title>\"");
        }
        (Some(gateway), Some("voting")) => {
            let _ = writeln!(text, "  for i in 1 2 3 4 5; do curl -s {gateway} | grep results; done");
            let _ = writeln!(text, "\nThe page to vote on: {gateway}");
        }
        (Some(gateway), _) => {
            let _ = writeln!(text, "\nThe ingress gateway listens on {gateway}");
        }
        (None, _) => {}
    }
    for note in &summary.notes {
        let _ = writeln!(text, "\nNote: {note}");
    }
    let name = if options.name == "default" { String::new() } else { format!(" --name {}", options.name) };
    let stop = format!("lateen down{name}");
    match options.detach {
        true => drop(writeln!(text, "\nStop it with `{stop}`.")),
        false => drop(writeln!(text, "\nStop it with Ctrl-C or `{stop}`.")),
    }
    text
}
