//! Ending a container.

use std::time::Duration;

use k8s_openapi::api::core::v1::Container;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::Child;
use tokio::time::{Instant, timeout_at};

use super::record::Live;
use super::{PodContext, Severity, hooks};
use crate::process::{Exit, signal};

/// What a container without `terminationGracePeriodSeconds` gets.
pub(crate) const DEFAULT_GRACE_SECONDS: i64 = 30;

/// The pod's grace period.
pub(crate) fn grace(ctx: &PodContext) -> Duration {
    let pod = ctx.pod();
    let spec = pod.spec.as_ref().and_then(|s| s.termination_grace_period_seconds);
    let seconds = pod.metadata.deletion_grace_period_seconds.or(spec).unwrap_or(DEFAULT_GRACE_SECONDS);
    Duration::from_secs(seconds.max(0).cast_unsigned())
}

/// `preStop`, SIGTERM, and SIGKILL at `deadline`. Returns how it ended.
pub(crate) async fn end(
    ctx: &PodContext,
    container: &Container,
    live: &Live,
    child: &mut Child,
    deadline: Instant,
) -> std::io::Result<Exit> {
    let pre_stop = container.lifecycle.as_ref().and_then(|l| l.pre_stop.as_ref());
    if let Some(hook) = pre_stop {
        let outcome = tokio::select! {
            status = child.wait() => return Ok(Exit::from(status?)),
            outcome = timeout_at(deadline, hooks::run(ctx, container, live, hook)) => outcome,
        };
        if let Ok(Err(error)) = outcome {
            let message = format!("PreStopHook failed: {error:#}");
            ctx.container_event(container, Severity::Warning, "FailedPreStopHook", message);
        }
    }
    // The main process only, as a container runtime does; what it leaves behind is killed after it.
    if let Err(error) = kill(Pid::from_raw(live.pid), Signal::SIGTERM) {
        tracing::debug!(container = container.name, %error, "SIGTERM not delivered");
    }
    if let Ok(status) = timeout_at(deadline, child.wait()).await {
        return Ok(Exit::from(status?));
    }
    signal(live.pid, Signal::SIGKILL);
    Ok(Exit::from(child.wait().await?))
}
