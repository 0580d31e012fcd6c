//! One thread that starts all containers' processes.
//!
//! Containers die with the thread that started them (`PR_SET_PDEATHSIG` is about threads, not processes), so it must
//! be one that lives as long as the node, not one of the runtime's.

use std::io::PipeReader;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::Stdio;

use anyhow::{Context, Result, anyhow};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, oneshot};

use crate::launcher::{Launch, VERB};

/// Where a process writes.
pub(crate) enum Output {
    /// To pipes that the node reads.
    Pipes,
    /// Nowhere: the terminal takes it.
    Terminal,
}

/// A process on its way.
pub(crate) struct Spawned {
    /// The process.
    pub child: Child,
    /// Its id, which is its group's and session's.
    pub pid: i32,
    /// Its standard output and error.
    pub output: Option<(PipeReader, PipeReader)>,
}

struct Order {
    output: Output,
    reply: oneshot::Sender<Result<(Spawned, UnixStream)>>,
}

/// Starts processes through the launcher.
#[derive(Clone)]
pub(crate) struct Spawner {
    orders: mpsc::UnboundedSender<Order>,
}

impl Spawner {
    /// Starts the thread, which lives as long as any clone of this.
    pub fn start() -> Result<Self> {
        let (orders, mut queue) = mpsc::unbounded_channel::<Order>();
        let runtime = tokio::runtime::Handle::try_current().context("the node needs a tokio runtime")?;
        std::thread::Builder::new()
            .name("spawner".into())
            .spawn(move || {
                let _entered = runtime.enter();
                while let Some(order) = queue.blocking_recv() {
                    // A receiver that is gone drops the child, which is killed with it.
                    let _ = order.reply.send(spawn(&order.output));
                }
            })
            .context("start the spawner thread")?;
        Ok(Self { orders })
    }

    /// Starts a process and waits until it executes its program.
    ///
    /// # Errors
    /// What kept the program from starting, in the launcher's words.
    pub async fn launch(&self, launch: &Launch, output: Output) -> Result<Spawned> {
        let (reply, answer) = oneshot::channel();
        self.orders.send(Order { output, reply }).map_err(|_| anyhow!("the node is stopping"))?;
        let (spawned, control) = answer.await.map_err(|_| anyhow!("the node is stopping"))??;
        control.set_nonblocking(true)?;
        let mut control = tokio::net::UnixStream::from_std(control)?;
        control.write_all(&serde_json::to_vec(launch)?).await.context("tell the launcher")?;
        control.shutdown().await.context("tell the launcher")?;
        let mut problem = String::new();
        control.read_to_string(&mut problem).await.context("hear from the launcher")?;
        if problem.is_empty() { Ok(spawned) } else { Err(anyhow!(problem)) }
    }
}

fn spawn(output: &Output) -> Result<(Spawned, UnixStream)> {
    let (ours, theirs) = UnixStream::pair()?;
    let mut command = Command::new("/proc/self/exe");
    command.arg(VERB).env_clear().stdin(Stdio::from(OwnedFd::from(theirs))).kill_on_drop(true);
    let pipes = match output {
        Output::Pipes => {
            let (stdout, stdout_end) = std::io::pipe()?;
            let (stderr, stderr_end) = std::io::pipe()?;
            command.stdout(stdout_end).stderr(stderr_end);
            Some((stdout, stderr))
        }
        Output::Terminal => {
            command.stdout(Stdio::null()).stderr(Stdio::null());
            None
        }
    };
    let child = command.spawn().context("start the launcher")?;
    let pid = child.id().context("the launcher ended at once")?.cast_signed();
    Ok((Spawned { child, pid, output: pipes }, ours))
}
