//! What is known of each container.

use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use tokio::sync::broadcast;

use crate::launcher::Program;
use crate::logs::{LogFile, Stream};

/// A run that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ended {
    /// Exit code; 128 + signal if one ended it.
    pub code: i32,
    /// The signal.
    pub signal: Option<i32>,
    /// kubelet's word: Completed, Error, StartError, ContainerStatusUnknown.
    pub reason: &'static str,
    /// The termination message.
    pub message: Option<String>,
    /// When it began.
    pub started: Option<Timestamp>,
    /// When it ended.
    pub finished: Timestamp,
    /// Which run.
    pub id: String,
}

/// A container now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum State {
    /// Not running, and why.
    Waiting {
        /// kubelet's word.
        reason: &'static str,
        /// In more words.
        message: Option<String>,
    },
    /// Running.
    Running {
        /// Since when.
        since: Timestamp,
    },
    /// Ended; it may be started again.
    Terminated(Ended),
}

/// A running container's ends.
#[derive(Clone)]
pub(crate) struct Live {
    /// Its main process, which leads its group.
    pub pid: i32,
    /// Where its output goes.
    pub log: Arc<Mutex<LogFile>>,
    /// What runs, for programs that join it.
    pub program: Arc<Program>,
    /// Its output as it comes.
    pub attached: broadcast::Sender<(Stream, bytes::Bytes)>,
    /// Its input, where it asks for one (`stdin`).
    pub input: Option<Input>,
}

/// A container's input, which attached clients write one after the other.
#[derive(Clone)]
pub(crate) struct Input {
    /// The pipe; none: it is closed.
    pub pipe: Arc<tokio::sync::Mutex<Option<tokio::net::unix::pipe::Sender>>>,
    /// It is closed when the first client leaves (`stdinOnce`).
    pub once: bool,
}

/// All that is known of a container.
#[derive(Clone)]
pub(crate) struct Record {
    /// Now.
    pub state: State,
    /// The run before.
    pub last: Option<Ended>,
    /// Starts after the first.
    pub restarts: u32,
    /// Number of the current run, which names its log.
    pub attempt: u32,
    /// Identity of the current run.
    pub id: Option<String>,
    /// Past its startup probe.
    pub started: bool,
    /// Past its readiness probe.
    pub ready: bool,
    /// It will not be started again.
    pub done: bool,
    /// While it runs.
    pub live: Option<Live>,
}

impl Record {
    /// A container that has not been started. `restarts` is what an earlier node's run of the pod left.
    pub fn new(initializing: bool, restarts: u32) -> Self {
        let reason = if initializing { "PodInitializing" } else { "ContainerCreating" };
        Self {
            state: State::Waiting { reason, message: None },
            last: None,
            restarts,
            attempt: restarts,
            id: None,
            started: false,
            ready: false,
            done: false,
            live: None,
        }
    }

    /// Whether its process is there.
    pub fn is_running(&self) -> bool {
        matches!(self.state, State::Running { .. })
    }

    /// The node has ended it, and will start it again when it comes back.
    pub fn wait_for_node(&mut self) {
        let stopped = State::Waiting { reason: "NodeStopped", message: None };
        if let State::Terminated(ended) = std::mem::replace(&mut self.state, stopped) {
            self.last = Some(ended);
        }
    }

    /// Its exit code, if its last run has ended for good.
    pub fn result(&self) -> Option<i32> {
        match &self.state {
            State::Terminated(ended) if self.done => Some(ended.code),
            _ => None,
        }
    }
}
