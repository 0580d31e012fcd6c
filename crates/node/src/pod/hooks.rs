//! Running a program in a container, and life-cycle hooks.

use std::io::Read;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use k8s_openapi::api::core::v1::{Container, LifecycleHandler};

use super::record::Live;
use super::{PodContext, probe_run};
use crate::launcher::{EnterSpec, Launch, Program, Stdio};
use crate::process::{Exit, Output};

/// Output of a hook or probe that is kept for its message (kubelet keeps 10 KiB).
const MAX_OUTPUT: u64 = 10 << 10;

/// Runs `argv` in a running container to its end, with the container's environment.
///
/// # Errors
/// If it cannot be started; a program that fails is no error.
pub(crate) async fn exec(ctx: &PodContext, live: &Live, argv: Vec<String>) -> Result<(Exit, String)> {
    let program = Program { argv, ..(*live.program).clone() };
    let launch = Launch::Enter(EnterSpec { program, pid: live.pid, stdio: Stdio::Null });
    let mut spawned = ctx.runtime.spawner.launch(&launch, Output::Pipes).await?;
    let (stdout, stderr) = spawned.output.take().context("no pipes")?;
    let read = tokio::task::spawn_blocking(move || {
        let mut text = String::new();
        for pipe in [stdout, stderr] {
            let mut bytes = Vec::new();
            // What cannot be read is missing from a message, no more.
            let _ = pipe.take(MAX_OUTPUT).read_to_end(&mut bytes);
            text.push_str(&String::from_utf8_lossy(&bytes));
        }
        text
    });
    let status = spawned.child.wait().await?;
    Ok((Exit::from(status), read.await.unwrap_or_default()))
}

/// Runs a hook to its end.
///
/// # Errors
/// What went wrong, for the event.
pub(crate) async fn run(
    ctx: &PodContext,
    container: &Container,
    live: &Live,
    hook: &LifecycleHandler,
) -> Result<()> {
    if let Some(exec_action) = &hook.exec {
        let argv = exec_action.command.clone().unwrap_or_default();
        let (exit, output) = exec(ctx, live, argv.clone()).await?;
        if exit.code != 0 {
            bail!("command '{}' exited with {}: {}", argv.join(" "), exit.code, output.trim());
        }
        return Ok(());
    }
    if let Some(http) = &hook.http_get {
        return probe_run::http(ctx, container, http, Duration::from_secs(30)).await.map_err(|e| anyhow!(e));
    }
    if let Some(sleep) = &hook.sleep {
        tokio::time::sleep(Duration::from_secs(sleep.seconds.max(0).cast_unsigned())).await;
    }
    Ok(())
}
