//! A mesh of one's own for a test, and the programs that speak to it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Says that a test is skipped because a peer is missing, or fails where peers are required.
pub fn missing_peer(what: &str) {
    assert!(
        std::env::var_os("LATEEN_PEERS").is_none_or(|v| v != "required"),
        "{what} is missing and LATEEN_PEERS=required"
    );
    eprintln!("skipped: {what} is missing");
}

/// Whether a program is on the path.
pub fn has_program(name: &str) -> bool {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&paths).any(|dir| dir.join(name).is_file())
}

/// Envoy, if this machine has one.
pub fn envoy() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("LATEEN_ENVOY") {
        return Some(path.into());
    }
    let paths = std::env::var_os("PATH")?;
    std::env::split_paths(&paths).map(|dir| dir.join("envoy")).find(|path| path.is_file())
}

/// The folder of manifests that Istio ships, if it lies beside the project.
pub fn upstream(version: &str) -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/upstream").join(version);
    folder.canonicalize().ok()
}

/// The project's own manifests.
pub fn samples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../samples")
}

/// Who runs the mesh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum User {
    /// Whoever runs the test.
    Current,
    /// A user without privileges; needs root to become that user.
    Unprivileged,
}

/// A running mesh; ends with the value.
pub struct Mesh {
    /// One mesh at a time: they share the host's ports, and scenarios that measure time share its cores.
    _turn: MutexGuard<'static, ()>,
    up: Child,
    pub state: PathBuf,
    pub gateway: String,
}

impl Mesh {
    /// Brings up a mesh with a state directory of its own.
    pub fn up(user: User, arguments: &[&str]) -> Mesh {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("t{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let state = std::env::temp_dir().join(format!("lateen-{name}"));
        fs::create_dir_all(&state).unwrap();
        Mesh::up_in(user, &name, &state, arguments)
    }

    /// Brings up a mesh on a state directory that may hold an earlier mesh's resources.
    pub fn up_in(user: User, name: &str, state: &Path, arguments: &[&str]) -> Mesh {
        static TURN: Mutex<()> = Mutex::new(());
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let mut command = lateen(user, state);
        command.args(["up", "--name", name, "--state-dir"]).arg(state.join("mesh")).args(arguments);
        let mut up = command.stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
        let mut lines = BufReader::new(up.stdout.take().unwrap()).lines();
        let ready = lines.by_ref().map_while(Result::ok).any(|line| line.starts_with("Stop it with"));
        if !ready {
            let status = up.wait().unwrap();
            let log = fs::read_to_string(state.join("mesh/lateen.log")).unwrap_or_default();
            panic!("`lateen up` ended with {status}; its log:\n{log}");
        }
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        let summary = fs::read_to_string(state.join("mesh/summary.json")).unwrap();
        let summary: serde_json::Value = serde_json::from_str(&summary).unwrap();
        let gateway = summary["gateway"].as_str().expect("a mesh has an ingress gateway").to_owned();
        Mesh { _turn: turn, up, state: state.to_owned(), gateway }
    }

    /// The kubeconfig's path.
    pub fn kubeconfig(&self) -> PathBuf {
        self.state.join("mesh/kubeconfig")
    }

    /// Runs stock kubectl; panics with its output if it fails.
    pub fn kubectl(&self, arguments: &[&str]) -> String {
        let output = self.try_kubectl(arguments);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "kubectl {arguments:?}: {text}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        text
    }

    /// Runs stock kubectl.
    pub fn try_kubectl(&self, arguments: &[&str]) -> Output {
        let home = self.state.join("kubectl-home");
        let mut command = Command::new("kubectl");
        command.args(arguments).env("KUBECONFIG", self.kubeconfig()).env("HOME", home);
        command.output().unwrap()
    }

    /// `kubectl apply -f`.
    pub fn apply(&self, file: &Path) -> String {
        self.kubectl(&["apply", "-f", file.to_str().unwrap()])
    }

    /// Runs this project's own command against the mesh.
    pub fn lateen(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lateen"));
        command.args(arguments).env("KUBECONFIG", self.kubeconfig()).output().unwrap()
    }

    /// Ends the mesh as `lateen down` would, and keeps its state.
    pub fn down(mut self) -> PathBuf {
        self.stop();
        let state = self.state.clone();
        self.state = PathBuf::new();
        state
    }

    fn stop(&mut self) {
        let pid = nix::unistd::Pid::from_raw(self.up.id().cast_signed());
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        let _ = self.up.wait();
    }
}

impl Drop for Mesh {
    fn drop(&mut self) {
        if self.state.as_os_str().is_empty() {
            return;
        }
        if std::thread::panicking() {
            let log = fs::read_to_string(self.state.join("mesh/lateen.log")).unwrap_or_default();
            let tail: Vec<_> = log.lines().rev().take(60).collect();
            eprintln!("the end of the mesh's log:");
            tail.iter().rev().for_each(|line| eprintln!("{line}"));
        }
        self.stop();
        if std::env::var_os("LATEEN_KEEP").is_none() {
            let _ = fs::remove_dir_all(&self.state);
        }
    }
}

/// The command, as the given user.
fn lateen(user: User, state: &Path) -> Command {
    match user {
        User::Current => Command::new(env!("CARGO_BIN_EXE_lateen")),
        User::Unprivileged => {
            // That user may not be able to read the build folder.
            let program = state.join("lateen");
            fs::copy(env!("CARGO_BIN_EXE_lateen"), &program).unwrap();
            for path in [state, &program] {
                fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
                std::os::unix::fs::chown(path, Some(65534), Some(65534)).unwrap();
            }
            let mut command = Command::new("setpriv");
            command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]).arg(program);
            command.env("HOME", state).current_dir(state);
            command
        }
    }
}

/// Calls `attempt` until it gives a value; fails with the last reason after `limit`.
pub fn eventually<T>(limit: Duration, mut attempt: impl FnMut() -> Result<T, String>) -> T {
    let start = Instant::now();
    loop {
        match attempt() {
            Ok(value) => return value,
            Err(reason) if start.elapsed() > limit => panic!("not within {limit:?}: {reason}"),
            // Polls something outside this process that has no way to call back.
            Err(_) => std::thread::park_timeout(Duration::from_millis(20)),
        }
    }
}
