//! What the node tells the launcher.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// One order.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Launch {
    /// Start a container.
    Start(Box<StartSpec>),
    /// Run a program in a container that runs.
    Enter(EnterSpec),
}

/// Standard streams.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Stdio {
    /// No input.
    Null,
    /// Input from a pipe, found at this path.
    Pipe(String),
    /// A terminal for all three, found at this path.
    Terminal(String),
}

/// What is executed.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Program {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// The whole environment.
    pub env: Vec<(String, String)>,
    /// Working directory, made if it is missing.
    pub working_dir: Option<String>,
    /// User, where the namespace knows it.
    pub uid: Option<u32>,
    /// Group, where the namespace knows it.
    pub gid: Option<u32>,
    /// Supplementary groups.
    pub groups: Vec<u32>,
}

/// Namespaces of a pod, as paths that can be opened.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Namespaces {
    /// Network namespace; none for host network.
    pub net: Option<String>,
    /// IPC namespace.
    pub ipc: Option<String>,
}

/// Something to see in the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mount {
    /// File or directory of the node.
    pub source: PathBuf,
    /// Absolute path in the container.
    pub target: String,
    /// Whether it can only be read.
    pub read_only: bool,
}

/// The container's file system.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct RootSpec {
    /// An empty directory to mount the new root on; all containers may share it.
    pub scratch: PathBuf,
    /// The host's file system, read-only ([`super::prepare_host`]).
    pub host: PathBuf,
    /// Volumes and single files.
    pub mounts: Vec<Mount>,
}

/// A container to start.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct StartSpec {
    /// What to run.
    pub program: Program,
    /// Where.
    pub namespaces: Namespaces,
    /// The pod's host name.
    pub hostname: String,
    /// Its file system.
    pub root: RootSpec,
    /// Its streams.
    pub stdio: Stdio,
}

/// A program to run in a container.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct EnterSpec {
    /// What to run.
    pub program: Program,
    /// A process of the container.
    pub pid: i32,
    /// Its streams.
    pub stdio: Stdio,
}
