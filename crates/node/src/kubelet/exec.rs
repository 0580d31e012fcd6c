//! `/exec` and `/attach`.

use std::io::{PipeReader, PipeWriter};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

use anyhow::{Context, Result};
use axum::extract::ws::{WebSocket, WebSocketUpgrade};
use axum::extract::{RawQuery, State};
use axum::response::Response;
use bytes::Bytes;
use nix::sys::signal::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe;
use tokio::sync::{broadcast, mpsc};

use super::channel::{self, ERROR, Incoming, RESIZE, Reader, STDERR, STDIN, STDOUT};
use super::terminal::{Size, Terminal};
use super::{ContainerPath, Node, Refusal, UrlPath, find};
use crate::launcher::{EnterSpec, Launch, Program, Stdio};
use crate::logs::Stream;
use crate::pod::{Input, Live, PodContext};
use crate::process::{Exit, Output, Spawned, signal};

const CHUNK: usize = 16 << 10;

/// What a client asks for (`PodExecOptions`).
#[derive(Debug, Default, PartialEq, Eq)]
struct Wanted {
    command: Vec<String>,
    stdin: bool,
    tty: bool,
}

/// `command=..` may come often; kubelets call streams `input` and `output`, API servers `stdin` and `stdout`.
fn wanted(query: Option<&str>) -> Wanted {
    let mut wanted = Wanted::default();
    for pair in query.unwrap_or_default().split('&') {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = decode(value);
        let yes = !matches!(value.as_str(), "" | "0" | "false");
        match key {
            "command" => wanted.command.push(value),
            "input" | "stdin" => wanted.stdin = yes,
            "tty" => wanted.tty = yes,
            _ => {}
        }
    }
    wanted
}

/// Percent-decoding of a form value.
fn decode(value: &str) -> String {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes().iter();
    while let Some(byte) = rest.next() {
        let hex = |b: Option<&u8>| b.and_then(|b| char::from(*b).to_digit(16));
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let mut ahead = rest.clone();
                match (hex(ahead.next()), hex(ahead.next())) {
                    (Some(high), Some(low)) => {
                        bytes.push((high * 16 + low) as u8);
                        rest = ahead;
                    }
                    _ => bytes.push(b'%'),
                }
            }
            other => bytes.push(*other),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn running(ctx: &PodContext, container: &str) -> Result<Live, Refusal> {
    let record = ctx
        .record(container)
        .ok_or_else(|| Refusal::missing(format!("container not found ({container:?})")))?;
    record.live.ok_or_else(|| Refusal::bad(format!("container {container} is not running")))
}

/// Runs a program in a container.
pub(crate) async fn exec(
    State(pods): Node,
    UrlPath((namespace, pod, container)): ContainerPath,
    RawQuery(query): RawQuery,
    upgrade: WebSocketUpgrade,
) -> Result<Response, Refusal> {
    let ctx = find(&pods, &namespace, &pod)?;
    let live = running(&ctx, &container)?;
    let wanted = wanted(query.as_deref());
    if wanted.command.is_empty() {
        return Err(Refusal::bad("you must specify at least 1 command for the container"));
    }
    Ok(channel::negotiate(upgrade).on_upgrade(move |socket| async move {
        let (reader, out, writer) = channel::split(socket);
        let status = match run(&ctx, &live, wanted, reader, out.clone()).await {
            Ok(exit) => channel::exit_status(exit.code),
            Err(error) => channel::failure_status(&format!("{error:#}")),
        };
        // A client that is gone needs no status.
        let _ = out.send((ERROR, status)).await;
        drop(out);
        let _ = writer.await;
    }))
}

async fn run(
    ctx: &PodContext,
    live: &Live,
    wanted: Wanted,
    reader: Reader,
    out: mpsc::Sender<(u8, Bytes)>,
) -> Result<Exit> {
    let program = Program { argv: wanted.command, ..(*live.program).clone() };
    if wanted.tty {
        with_terminal(ctx, live, program, reader, out).await
    } else {
        with_pipes(ctx, live, program, wanted.stdin, reader, out).await
    }
}

async fn with_terminal(
    ctx: &PodContext,
    live: &Live,
    mut program: Program,
    mut reader: Reader,
    out: mpsc::Sender<(u8, Bytes)>,
) -> Result<Exit> {
    if !program.env.iter().any(|(key, _)| key == "TERM") {
        program.env.push(("TERM".into(), "xterm".into()));
    }
    let mut terminal = Terminal::open().context("open a terminal")?;
    let stdio = Stdio::Terminal(terminal.path.clone());
    let launch = Launch::Enter(EnterSpec { program, pid: live.pid, stdio });
    let mut spawned = ctx.runtime.spawner.launch(&launch, Output::Terminal).await?;
    terminal.started();
    let (mut terminal_out, mut terminal_in) = terminal.split();
    let output = async {
        let mut chunk = vec![0; CHUNK];
        while let Ok(len @ 1..) = terminal_out.read(&mut chunk).await {
            if out.send((STDOUT, Bytes::copy_from_slice(&chunk[..len]))).await.is_err() {
                return;
            }
        }
    };
    let input = async {
        while let Some(incoming) = reader.next().await {
            match incoming {
                Incoming::Data(STDIN, data) if terminal_in.write(&data).await.is_err() => break,
                Incoming::Data(RESIZE, data) => {
                    if let Ok(size) = serde_json::from_slice::<Size>(&data) {
                        terminal_in.resize(&size);
                    }
                }
                _ => {}
            }
        }
    };
    tokio::select! {
        () = output => {}
        () = input => signal(spawned.pid, Signal::SIGHUP),
    }
    Ok(Exit::from(spawned.child.wait().await?))
}

async fn with_pipes(
    ctx: &PodContext,
    live: &Live,
    program: Program,
    stdin: bool,
    mut reader: Reader,
    out: mpsc::Sender<(u8, Bytes)>,
) -> Result<Exit> {
    let (theirs, ours) = std::io::pipe()?;
    let stdio = match stdin {
        true => Stdio::Pipe(format!("/proc/{}/fd/{}", std::process::id(), theirs.as_raw_fd())),
        false => Stdio::Null,
    };
    let launch = Launch::Enter(EnterSpec { program, pid: live.pid, stdio });
    let Spawned { mut child, pid, output } = ctx.runtime.spawner.launch(&launch, Output::Pipes).await?;
    drop(theirs);
    let (stdout, stderr) = output.context("no pipes")?;
    let copies = futures::future::join(copy(stdout, STDOUT, out.clone()), copy(stderr, STDERR, out.clone()));
    let input = async {
        feed(&mut reader, ours).await;
        // The client may have closed its input only; it is gone when the socket is.
        while reader.next().await.is_some() {}
    };
    let work = async {
        let exit = child.wait().await;
        // What the program left running may hold the pipes: its output is not waited for long.
        (exit, ())
    };
    tokio::pin!(copies);
    tokio::pin!(work);
    tokio::select! {
        _ = &mut copies => {}
        () = input => signal(pid, Signal::SIGKILL),
        (exit, ()) = &mut work => {
            let grace = std::time::Duration::from_millis(500);
            // As said above.
            let _ = tokio::time::timeout(grace, &mut copies).await;
            return Ok(Exit::from(exit?));
        }
    }
    Ok(Exit::from(work.await.0?))
}

async fn feed(reader: &mut Reader, pipe: PipeWriter) {
    let Ok(mut pipe) = pipe::Sender::from_owned_fd(OwnedFd::from(pipe)) else { return };
    while let Some(incoming) = reader.next().await {
        match incoming {
            Incoming::Data(STDIN, data) if pipe.write_all(&data).await.is_err() => return,
            Incoming::Closed(STDIN) => return,
            _ => {}
        }
    }
}

async fn copy(pipe: PipeReader, channel: u8, out: mpsc::Sender<(u8, Bytes)>) {
    let Ok(mut pipe) = pipe::Receiver::from_owned_fd(OwnedFd::from(pipe)) else { return };
    let mut chunk = vec![0; CHUNK];
    while let Ok(len @ 1..) = pipe.read(&mut chunk).await {
        if out.send((channel, Bytes::copy_from_slice(&chunk[..len]))).await.is_err() {
            return;
        }
    }
}

/// Follows a container's output, and gives it input where it takes any.
pub(crate) async fn attach(
    State(pods): Node,
    UrlPath((namespace, pod, container)): ContainerPath,
    RawQuery(query): RawQuery,
    upgrade: WebSocketUpgrade,
) -> Result<Response, Refusal> {
    let ctx = find(&pods, &namespace, &pod)?;
    let live = running(&ctx, &container)?;
    let output = live.attached.subscribe();
    let input = live.input.filter(|_| wanted(query.as_deref()).stdin);
    Ok(channel::negotiate(upgrade).on_upgrade(move |socket| show(socket, ctx, container, (output, input))))
}

async fn show(
    socket: WebSocket,
    ctx: Arc<PodContext>,
    container: String,
    (mut output, input): (broadcast::Receiver<(Stream, Bytes)>, Option<Input>),
) {
    let (mut reader, out, writer) = channel::split(socket);
    let channel_of = |stream| if stream == Stream::Stdout { STDOUT } else { STDERR };
    let copy = async {
        loop {
            match output.recv().await {
                Ok((stream, data)) => {
                    if out.send((channel_of(stream), data)).await.is_err() {
                        return;
                    }
                }
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return,
            }
        }
    };
    let mut changes = ctx.changes();
    let ended = async {
        while ctx.record(&container).is_some_and(|r| r.is_running()) {
            if changes.changed().await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = copy => {}
        () = ended => {}
        () = give(&mut reader, input.as_ref()) => {}
    }
    if let Some(input) = input.filter(|input| input.once) {
        *input.pipe.lock().await = None;
    }
    // The end is noticed before the last words are taken, which are all there by then.
    while let Ok((stream, data)) = output.try_recv() {
        if out.send((channel_of(stream), data)).await.is_err() {
            break;
        }
    }
    // A client that is gone needs no status.
    let _ = out.send((ERROR, channel::exit_status(0))).await;
    drop(out);
    let _ = writer.await;
}

/// Passes a client's input on, until the client is gone.
async fn give(reader: &mut Reader, input: Option<&Input>) {
    while let Some(incoming) = reader.next().await {
        let Some(input) = input else { continue };
        let mut pipe = input.pipe.lock().await;
        let broken = match (incoming, pipe.as_mut()) {
            (Incoming::Data(STDIN, data), Some(pipe)) => pipe.write_all(&data).await.is_err(),
            (Incoming::Closed(STDIN), _) => input.once,
            _ => false,
        };
        if broken {
            *pipe = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_come_as_repeated_parameters() {
        let wanted =
            wanted(Some("command=sh&command=-c&command=echo+%22a%20b%22%zz&input=1&output=1&tty=false"));
        let command = vec!["sh".into(), "-c".into(), "echo \"a b\"%zz".into()];
        assert_eq!(wanted, Wanted { command, stdin: true, tty: false });
    }
}
