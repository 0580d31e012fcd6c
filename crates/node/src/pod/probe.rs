//! When probes are asked and what their answers mean.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Probe};
use tokio::time::{Instant, sleep_until};

use super::record::Live;
use super::{PodContext, Severity, probe_run};

/// Until a container has answered for the first time it is asked more often than its period says, so that a fast
/// program is not kept waiting; answers out of turn count only if they are good.
const FIRST_EAGER: Duration = Duration::from_millis(8);
/// The same for probes that start a program.
const FIRST_EAGER_EXEC: Duration = Duration::from_millis(60);

/// Why a container must be restarted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unhealthy {
    /// Which probe.
    pub probe: &'static str,
    /// Grace period of that probe.
    pub grace_seconds: Option<i64>,
}

/// Watches a running container; returns when a probe wants it restarted.
pub(crate) async fn watch(ctx: &PodContext, container: &Container, live: &Live) -> Unhealthy {
    if let Some(probe) = &container.startup_probe
        && !first_success(ctx, container, live, probe, "Startup", true).await
    {
        return Unhealthy { probe: "startup", grace_seconds: probe.termination_grace_period_seconds };
    }
    ctx.update(&container.name, |r| r.started = true);
    let readiness = async {
        match &container.readiness_probe {
            Some(probe) => ready(ctx, container, live, probe).await,
            None => ctx.update(&container.name, |r| r.ready = true),
        }
        std::future::pending::<()>().await;
    };
    let liveness = async {
        match &container.liveness_probe {
            Some(probe) => alive(ctx, container, live, probe).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        unhealthy = liveness => unhealthy,
        () = readiness => std::future::pending().await,
    }
}

fn seconds(value: Option<i32>, default: u32) -> Duration {
    Duration::from_secs(value.map_or(default, |v| v.max(0).unsigned_abs()).into())
}

fn period(probe: &Probe) -> Duration {
    seconds(probe.period_seconds, 10).max(Duration::from_secs(1))
}

fn threshold(value: Option<i32>, default: u32) -> u32 {
    value.map_or(default, |v| v.max(1).unsigned_abs())
}

fn report(ctx: &PodContext, container: &Container, kind: &str, problem: &str) {
    ctx.container_event(container, Severity::Warning, "Unhealthy", format!("{kind} probe failed: {problem}"));
}

/// Asks until the first good answer. With `limited`, gives up after the probe's failure threshold.
async fn first_success(
    ctx: &PodContext,
    container: &Container,
    live: &Live,
    probe: &Probe,
    kind: &'static str,
    limited: bool,
) -> bool {
    let mut due = Instant::now() + seconds(probe.initial_delay_seconds, 0);
    let mut eager = if probe.exec.is_some() { FIRST_EAGER_EXEC } else { FIRST_EAGER };
    let mut failures = 0;
    loop {
        let in_turn = Instant::now() >= due;
        match probe_run::check(ctx, container, live, probe).await {
            Ok(()) => return true,
            Err(problem) if in_turn => {
                // The first answer of a program that is just starting says nothing.
                if failures > 0 || Instant::now() >= due + period(probe) {
                    report(ctx, container, kind, &problem);
                }
                failures += 1;
                if limited && failures >= threshold(probe.failure_threshold, 3) {
                    report(ctx, container, kind, &problem);
                    return false;
                }
                due = Instant::now() + period(probe);
            }
            Err(_) => {}
        }
        sleep_until(due.min(Instant::now() + eager)).await;
        eager = (eager * 3 / 2).min(period(probe));
    }
}

async fn ready(ctx: &PodContext, container: &Container, live: &Live, probe: &Probe) {
    first_success(ctx, container, live, probe, "Readiness", false).await;
    let needed = threshold(probe.success_threshold, 1);
    let (mut good, mut bad, mut is_ready) = (1, 0, false);
    loop {
        if !is_ready && good >= needed {
            is_ready = true;
            ctx.update(&container.name, |r| r.ready = true);
        } else if is_ready && bad >= threshold(probe.failure_threshold, 3) {
            is_ready = false;
            ctx.update(&container.name, |r| r.ready = false);
        }
        tokio::time::sleep(period(probe)).await;
        match probe_run::check(ctx, container, live, probe).await {
            Ok(()) => (good, bad) = (good + 1, 0),
            Err(problem) => {
                report(ctx, container, "Readiness", &problem);
                (good, bad) = (0, bad + 1);
            }
        }
    }
}

async fn alive(ctx: &PodContext, container: &Container, live: &Live, probe: &Probe) -> Unhealthy {
    tokio::time::sleep(seconds(probe.initial_delay_seconds, 0)).await;
    let mut failures = 0;
    loop {
        match probe_run::check(ctx, container, live, probe).await {
            Ok(()) => failures = 0,
            Err(problem) => {
                report(ctx, container, "Liveness", &problem);
                failures += 1;
            }
        }
        if failures >= threshold(probe.failure_threshold, 3) {
            return Unhealthy { probe: "liveness", grace_seconds: probe.termination_grace_period_seconds };
        }
        tokio::time::sleep(period(probe)).await;
    }
}
