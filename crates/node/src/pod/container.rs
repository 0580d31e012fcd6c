//! One container: started, watched, started again.

use std::fs;
use std::io::PipeReader;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Container;
use tokio::process::Child;
use tokio::sync::broadcast;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::record::{Ended, Input, Live, State};
use super::volumes::{self, Places};
use super::{PodContext, Severity, command, env, hooks, kill, probe, sandbox};
use crate::launcher::{Launch, Mount, Namespaces, Program, RootSpec, StartSpec, Stdio};
use crate::logs::{LogFile, Stream, pump};
use crate::process::{Exit, MountNamespace, Output, Spawned, sweep};

const TERMINATION_LOG: &str = "/dev/termination-log";
const MAX_MESSAGE: usize = 4096;
/// Output that is still in the pipes when a container ends is waited for so long.
const DRAIN: Duration = Duration::from_millis(300);
/// A run of this length starts the back-off anew.
const STABLE: Duration = Duration::from_secs(60);
const MAX_BACK_OFF: Duration = Duration::from_secs(300);
/// A container whose configuration is incomplete is tried again when the cluster changes, and so often.
const CONFIG_RETRY: Duration = Duration::from_secs(2);

/// When an ended container is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Policy {
    /// Whatever the exit code.
    Always,
    /// If it failed.
    OnFailure,
    /// Not.
    Never,
}

impl Policy {
    /// Of the pod.
    pub fn of(pod: &k8s_openapi::api::core::v1::Pod) -> Self {
        match pod.spec.as_ref().and_then(|s| s.restart_policy.as_deref()) {
            Some("Never") => Policy::Never,
            Some("OnFailure") => Policy::OnFailure,
            _ => Policy::Always,
        }
    }

    fn restarts(self, code: i32) -> bool {
        match self {
            Policy::Always => true,
            Policy::OnFailure => code != 0,
            Policy::Never => false,
        }
    }
}

/// The wait before start number `failures + 1` after so many failures in a row: none, then 0.5 s, doubled up to 5 min.
pub(crate) fn back_off(failures: u32) -> Duration {
    match failures {
        0 | 1 => Duration::ZERO,
        n => (Duration::from_millis(500) * 2u32.saturating_pow((n - 2).min(12))).min(MAX_BACK_OFF),
    }
}

/// Runs a container until it is done for good or told to stop.
pub(crate) async fn supervise(
    ctx: Arc<PodContext>,
    container: Arc<Container>,
    places: Arc<Places>,
    policy: Policy,
    stop: CancellationToken,
) {
    let mut failures = 0;
    while !stop.is_cancelled() {
        let began = Instant::now();
        let code = run(&ctx, &container, &places, &stop).await;
        let Some(code) = code.filter(|code| policy.restarts(*code) && !stop.is_cancelled()) else { break };
        failures = if began.elapsed() > STABLE { 1 } else { failures + 1 };
        let wait = back_off(failures);
        if !wait.is_zero() {
            crash_loop(&ctx, &container, wait, code);
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = stop.cancelled() => {}
            }
        }
        if !stop.is_cancelled() {
            ctx.update(&container.name, |r| {
                r.restarts += 1;
                r.attempt += 1;
            });
        }
    }
    ctx.update(&container.name, |record| {
        if let (State::Waiting { .. }, Some(last)) = (&record.state, &record.last) {
            record.state = State::Terminated(last.clone());
        }
        (record.done, record.ready, record.started) = (true, false, false);
    });
}

fn crash_loop(ctx: &PodContext, container: &Container, wait: Duration, code: i32) {
    let pod = ctx.pod();
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let place = format!(
        "{}_{}({})",
        text(&pod.metadata.name),
        text(&pod.metadata.namespace),
        text(&pod.metadata.uid)
    );
    ctx.update(&container.name, |record| {
        if let State::Terminated(ended) = &record.state {
            record.last = Some(ended.clone());
        }
        let message = format!("back-off {wait:?} restarting failed container={} pod={place}", container.name);
        record.state = State::Waiting { reason: "CrashLoopBackOff", message: Some(message) };
    });
    tracing::debug!(container = container.name, code, "container ended and is started again");
    let message = format!("Back-off restarting failed container {} in pod {place}", container.name);
    ctx.container_event(container, Severity::Warning, "BackOff", message);
}

/// One run. `None` if it was stopped before it started.
async fn run(
    ctx: &PodContext,
    container: &Container,
    places: &Places,
    stop: &CancellationToken,
) -> Option<i32> {
    let order = loop {
        match order(ctx, container, places) {
            Ok(order) => break order,
            Err(error) => {
                let message = format!("{error:#}");
                ctx.update(&container.name, |r| {
                    r.state = State::Waiting {
                        reason: "CreateContainerConfigError",
                        message: Some(message.clone()),
                    };
                });
                ctx.container_event(container, Severity::Normal, "Pulled", present(container));
                ctx.container_event(container, Severity::Warning, "Failed", format!("Error: {message}"));
                let mut changes = ctx.runtime.objects.changes();
                tokio::select! {
                    () = stop.cancelled() => return None,
                    _ = changes.changed() => {}
                    () = tokio::time::sleep(CONFIG_RETRY) => {}
                }
            }
        }
    };
    match start(ctx, container, order).await {
        Ok(running) => Some(attend(ctx, container, running, stop).await),
        Err(error) => Some(failed(ctx, container, &format!("{error:#}"))),
    }
}

/// Works out what to start.
fn order(ctx: &PodContext, container: &Container, places: &Places) -> Result<StartSpec> {
    let pod = ctx.pod();
    let runtime = &ctx.runtime;
    let image = container.image.as_deref().unwrap_or_default();
    let image = runtime.images.resolve(image, container, &pod.metadata);
    let mut env = env::build(&pod, container, ctx.ip(), &image.env, runtime.objects.as_ref())?;
    let (argv, stand_in) = command::argv(container, &image, &env, &runtime.dirs);
    if let Some(reason) = stand_in {
        let name = container.image.as_deref().unwrap_or("no image");
        ctx.container_event(
            container,
            Severity::Warning,
            "StandIn",
            format!("An echo server stands in for {name}: {reason}"),
        );
        runtime.objects.annotate(&pod, "lateen.io/stand-in", format!("{}: {reason}", container.name));
    }
    // Last, so that the node's applets serve only where the host has no such program.
    let path = env.get("PATH").unwrap_or_default().to_owned();
    env.set("PATH", format!("{path}:{}", crate::launcher::BIN));
    let mut program = Program { argv, working_dir: container.working_dir.clone(), ..Default::default() };
    command::identity(&mut program, &pod, container, &runtime.users, &mut env);
    let mut mounts = sandbox::files(&ctx.dir());
    mounts.push(Mount { source: runtime.dirs.bin(), target: crate::launcher::BIN.into(), read_only: true });
    mounts.push(termination_log(ctx, container)?);
    mounts.extend(volumes::mounts(container, places, |text| env.expand(text))?);
    program.env = env.0;
    let network = ctx.network();
    Ok(StartSpec {
        program,
        namespaces: Namespaces {
            net: network.as_ref().map(|n| n.net_path()),
            ipc: network.as_ref().map(|n| n.ipc_path()),
        },
        hostname: sandbox::hostname(&pod),
        root: RootSpec { scratch: runtime.dirs.scratch(), host: runtime.dirs.host(), mounts },
        stdio: Stdio::Null,
    })
}

fn termination_log(ctx: &PodContext, container: &Container) -> Result<Mount> {
    use std::os::unix::fs::PermissionsExt;
    let dir = ctx.dir().join("termination");
    fs::create_dir_all(&dir)?;
    let source = dir.join(&container.name);
    fs::write(&source, "").with_context(|| source.display().to_string())?;
    fs::set_permissions(&source, fs::Permissions::from_mode(0o666))?;
    let target = container.termination_message_path.clone().unwrap_or_else(|| TERMINATION_LOG.into());
    Ok(Mount { source, target, read_only: false })
}

struct Running {
    child: Child,
    live: Live,
    id: String,
    since: Timestamp,
    pumps: Vec<JoinHandle<std::io::Result<()>>>,
}

/// A pipe for a container that asks for input; the end that it reads must stay open until it runs.
fn input(container: &Container, order: &mut StartSpec) -> Result<Option<(Input, PipeReader)>> {
    if container.stdin != Some(true) {
        return Ok(None);
    }
    let (theirs, ours) = std::io::pipe()?;
    order.stdio = Stdio::Pipe(format!("/proc/{}/fd/{}", std::process::id(), theirs.as_raw_fd()));
    let pipe = tokio::net::unix::pipe::Sender::from_owned_fd(OwnedFd::from(ours))?;
    let pipe = Arc::new(tokio::sync::Mutex::new(Some(pipe)));
    Ok(Some((Input { pipe, once: container.stdin_once == Some(true) }, theirs)))
}

async fn start(ctx: &PodContext, container: &Container, mut order: StartSpec) -> Result<Running> {
    let attempt = ctx.record(&container.name).map_or(0, |r| r.attempt);
    let log = Arc::new(Mutex::new(LogFile::create(&ctx.log_dir(&container.name), attempt)?));
    ctx.container_event(container, Severity::Normal, "Pulled", present(container));
    ctx.container_event(
        container,
        Severity::Normal,
        "Created",
        format!("Created container: {}", container.name),
    );
    let program = Arc::new(order.program.clone());
    let (input, theirs) = input(container, &mut order)?.unzip();
    let launch = Launch::Start(Box::new(order));
    let Spawned { child, pid, output } = ctx.runtime.spawner.launch(&launch, Output::Pipes).await?;
    drop(theirs);
    let (attached, _) = broadcast::channel(256);
    let mut pumps = Vec::new();
    if let Some((stdout, stderr)) = output {
        for (pipe, stream) in [(stdout, Stream::Stdout), (stderr, Stream::Stderr)] {
            pumps.push(tokio::spawn(pump(pipe, stream, log.clone(), attached.clone())));
        }
    }
    let live = Live { pid, log, program, attached, input };
    let since = Timestamp::now();
    let id = new_id();
    ctx.update(&container.name, |record| {
        if let State::Terminated(ended) = &record.state {
            record.last = Some(ended.clone());
        }
        record.state = State::Running { since };
        record.id = Some(id.clone());
        record.live = Some(live.clone());
        (record.started, record.ready) = (false, false);
    });
    ctx.container_event(
        container,
        Severity::Normal,
        "Started",
        format!("Started container {}", container.name),
    );
    Ok(Running { child, live, id, since, pumps })
}

/// What kubelets say of an image that need not be pulled.
fn present(container: &Container) -> String {
    let image = container.image.as_deref().unwrap_or_default();
    format!("Container image \"{image}\" already present on machine")
}

/// As long as those of container runtimes.
fn new_id() -> String {
    format!("{:032x}{:032x}", rand::random::<u128>(), rand::random::<u128>())
}

/// From started to ended.
async fn attend(
    ctx: &PodContext,
    container: &Container,
    mut running: Running,
    stop: &CancellationToken,
) -> i32 {
    let namespace = MountNamespace::of(running.live.pid);
    let live = running.live.clone();
    let outcome = tokio::select! {
        status = running.child.wait() => status.map(Exit::from),
        () = stop.cancelled() => {
            let message = format!("Stopping container {}", container.name);
            ctx.container_event(container, Severity::Normal, "Killing", message);
            let deadline = ctx.deadline().unwrap_or_else(|| Instant::now() + kill::grace(ctx));
            kill::end(ctx, container, &live, &mut running.child, deadline).await
        }
        reason = watch(ctx, container, &live) => {
            let message = format!("Container {} {}, will be restarted", container.name, reason.0);
            ctx.container_event(container, Severity::Normal, "Killing", message);
            let deadline = Instant::now() + reason.1.unwrap_or_else(|| kill::grace(ctx));
            kill::end(ctx, container, &live, &mut running.child, deadline).await
        }
    };
    if let Some(namespace) = namespace {
        sweep(&namespace);
    }
    for pump in running.pumps {
        // A process that escaped with the pipe may keep it open: its output is lost then.
        if timeout(DRAIN, pump).await.is_err() {
            tracing::debug!(container = container.name, "output still open after the end");
        }
    }
    let exit = outcome.unwrap_or(Exit { code: 137, signal: None });
    ended(ctx, container, exit, running.since, running.id)
}

/// `postStart`, then probes; returns why the container must be restarted and its grace period.
async fn watch(ctx: &PodContext, container: &Container, live: &Live) -> (String, Option<Duration>) {
    if let Some(hook) = container.lifecycle.as_ref().and_then(|l| l.post_start.as_ref())
        && let Err(error) = hooks::run(ctx, container, live, hook).await
    {
        let message = format!("PostStartHook failed: {error:#}");
        ctx.container_event(container, Severity::Warning, "FailedPostStartHook", message);
        return ("failed its postStart hook".into(), None);
    }
    let unhealthy = probe::watch(ctx, container, live).await;
    let grace = unhealthy.grace_seconds.map(|s| Duration::from_secs(s.max(0).cast_unsigned()));
    (format!("failed {} probe", unhealthy.probe), grace)
}

fn ended(ctx: &PodContext, container: &Container, exit: Exit, since: Timestamp, id: String) -> i32 {
    let ended = Ended {
        code: exit.code,
        signal: exit.signal,
        reason: if exit.code == 0 { "Completed" } else { "Error" },
        message: message(ctx, container, exit.code),
        started: Some(since),
        finished: Timestamp::now(),
        id,
    };
    finish(ctx, container, ended)
}

/// The container's own last words: its termination message, or the end of its log if it asked for that.
fn message(ctx: &PodContext, container: &Container, code: i32) -> Option<String> {
    let file = ctx.dir().join("termination").join(&container.name);
    let mut text = fs::read_to_string(file).unwrap_or_default();
    let from_log = container.termination_message_policy.as_deref() == Some("FallbackToLogsOnError");
    if text.is_empty() && from_log && code != 0 {
        let attempt = ctx.record(&container.name).map_or(0, |r| r.attempt);
        text = fs::read_to_string(LogFile::path(&ctx.log_dir(&container.name), attempt)).unwrap_or_default();
        let lines: Vec<&str> = text.lines().filter_map(|l| l.splitn(4, ' ').nth(3)).collect();
        text = lines.join("\n");
    }
    let from = text.len().saturating_sub(MAX_MESSAGE);
    let from = (from..=text.len()).find(|i| text.is_char_boundary(*i)).unwrap_or(0);
    Some(text.split_off(from)).filter(|t| !t.is_empty())
}

/// The program could not be started at all.
fn failed(ctx: &PodContext, container: &Container, problem: &str) -> i32 {
    let message = format!("failed to start container \"{}\": {problem}", container.name);
    ctx.container_event(container, Severity::Warning, "Failed", format!("Error: {message}"));
    let now = Timestamp::now();
    let id = new_id();
    let ended = Ended {
        code: 128,
        signal: None,
        reason: "StartError",
        message: Some(message),
        started: None,
        finished: now,
        id,
    };
    finish(ctx, container, ended)
}

fn finish(ctx: &PodContext, container: &Container, ended: Ended) -> i32 {
    let code = ended.code;
    ctx.update(&container.name, |record| {
        if let State::Terminated(before) = &record.state {
            record.last = Some(before.clone());
        }
        record.id = Some(ended.id.clone());
        record.state = State::Terminated(ended);
        record.live = None;
        (record.started, record.ready) = (false, false);
    });
    code
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_restart_is_at_once_and_waits_double() {
        let seconds: Vec<f64> = (1..6).map(|n| back_off(n).as_secs_f64()).collect();
        assert_eq!(seconds, [0.0, 0.5, 1.0, 2.0, 4.0]);
        assert_eq!(back_off(1000), MAX_BACK_OFF);
    }

    #[test]
    fn policies_decide_by_exit_code() {
        assert!(Policy::Always.restarts(0) && Policy::OnFailure.restarts(1));
        assert!(!Policy::OnFailure.restarts(0) && !Policy::Never.restarts(1));
    }
}
