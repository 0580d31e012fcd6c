//! A pod's course: network, volumes, init containers, containers, end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::container::{Policy, supervise};
use super::volumes::{self, Places};
use super::{PodContext, Record, Runtime, Severity, sandbox, status};

/// What cannot be set up is tried again when the cluster changes, and so often.
const RETRY: Duration = Duration::from_secs(1);

/// A pod that the node runs.
pub(crate) struct PodHandle {
    /// Its state.
    pub ctx: Arc<PodContext>,
    updates: watch::Sender<Arc<Pod>>,
}

impl PodHandle {
    /// The pod's metadata changed.
    pub fn update(&self, pod: Arc<Pod>) {
        self.updates.send_replace(pod);
    }

    /// Ends the pod within `grace`; a shorter grace later counts.
    pub fn terminate(&self, grace: Duration) {
        self.ctx.end_by(Instant::now() + grace);
        self.ctx.stop.cancel();
    }
}

/// Starts a pod; the task ends when all its processes are gone.
pub(crate) fn start(runtime: Arc<Runtime>, pod: Arc<Pod>) -> (PodHandle, JoinHandle<()>) {
    let records = records(&pod);
    let (updates, current) = watch::channel(pod);
    let ctx = Arc::new(PodContext::new(runtime, current, records));
    let task = tokio::spawn(run(ctx.clone()));
    (PodHandle { ctx, updates }, task)
}

/// Fresh records; a container that an earlier run of the node had started counts as restarted.
fn records(pod: &Pod) -> BTreeMap<String, Record> {
    let status = pod.status.as_ref();
    let statuses = status.into_iter().flat_map(|s| {
        s.container_statuses.iter().flatten().chain(s.init_container_statuses.iter().flatten())
    });
    let old: BTreeMap<&str, u32> = statuses
        .filter(|s| s.container_id.is_some())
        .map(|s| (s.name.as_str(), s.restart_count.unsigned_abs() + 1))
        .collect();
    let spec = pod.spec.as_ref();
    let inits = spec.into_iter().flat_map(|s| s.init_containers.iter().flatten());
    let waits = inits.clone().next().is_some();
    let all = inits.chain(spec.into_iter().flat_map(|s| &s.containers));
    all.map(|c| (c.name.clone(), Record::new(waits, old.get(c.name.as_str()).copied().unwrap_or(0))))
        .collect()
}

async fn run(ctx: Arc<PodContext>) {
    if let Some(places) = set_up(&ctx).await {
        let refresh = tokio::spawn(refresh(ctx.clone()));
        containers(&ctx, Arc::new(places)).await;
        refresh.abort();
    }
    let pod = ctx.pod();
    let stays = pod.metadata.deletion_timestamp.is_none() && !ctx.has_failed();
    for name in ctx.records().into_keys() {
        let again = stays && is_restarted(&pod, &name);
        ctx.update(&name, |record| {
            record.done = true;
            if again {
                record.wait_for_node();
            }
        });
    }
    ctx.leave_network();
    ctx.touch();
}

/// Whether a container is started again whenever it has ended: with the next run of the node, where this one ends.
fn is_restarted(pod: &Pod, name: &str) -> bool {
    let spec = pod.spec.as_ref();
    let app = spec.into_iter().flat_map(|s| &s.containers).any(|c| c.name == name);
    let inits = spec.into_iter().flat_map(|s| s.init_containers.iter().flatten());
    let sidecar = { inits }.any(|c| c.name == name && status::is_sidecar(c));
    Policy::of(pod) == Policy::Always && (app || sidecar)
}

/// Network and volumes, tried until they are there. `None` if the pod was ended before.
async fn set_up(ctx: &PodContext) -> Option<Places> {
    loop {
        let mut changes = ctx.runtime.objects.changes();
        changes.mark_unchanged();
        let problem = match sandbox::create(ctx).await {
            Err(error) => ("FailedCreatePodSandBox", format!("Failed to create pod sandbox: {error:#}")),
            Ok(()) => {
                ctx.touch();
                match volumes::materialise(ctx).await {
                    Ok((places, _)) => return (!ctx.stop.is_cancelled()).then_some(places),
                    Err(error) => ("FailedMount", format!("{error:#}")),
                }
            }
        };
        ctx.event(Severity::Warning, problem.0, problem.1);
        tokio::select! {
            () = ctx.stop.cancelled() => return None,
            _ = changes.changed() => {}
            () = tokio::time::sleep(RETRY) => {}
        }
    }
}

/// Keeps volumes up to date with ConfigMaps, Secrets, labels and tokens.
async fn refresh(ctx: Arc<PodContext>) {
    let mut changes = ctx.runtime.objects.changes();
    let mut pod = ctx.pod.clone();
    loop {
        let renew = match volumes::materialise(&ctx).await {
            Ok((_, renew)) => renew,
            Err(error) => {
                tracing::debug!(%error, "volumes stay as they are");
                None
            }
        };
        let wait = renew.map_or(Duration::from_secs(600), |when| {
            Duration::try_from(when.duration_since(Timestamp::now())).unwrap_or(RETRY).max(RETRY)
        });
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            changed = pod.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(wait) => {}
        }
    }
}

struct Sidecar {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

async fn containers(ctx: &Arc<PodContext>, places: Arc<Places>) {
    let pod = ctx.pod();
    let policy = Policy::of(&pod);
    let mut sidecars = Vec::new();
    if initialize(ctx, &pod, policy, &places, &mut sidecars).await {
        application(ctx, &pod, policy, &places).await;
    }
    // Sidecars end last, in the reverse of their order, and never without a limit.
    if ctx.deadline().is_none() {
        ctx.end_by(Instant::now() + super::kill::grace(ctx));
    }
    for sidecar in sidecars.into_iter().rev() {
        sidecar.stop.cancel();
        // A panicking supervisor has nothing left to stop.
        let _ = sidecar.task.await;
    }
}

/// Init containers in order; false if the pod ends here.
async fn initialize(
    ctx: &Arc<PodContext>,
    pod: &Pod,
    policy: Policy,
    places: &Arc<Places>,
    sidecars: &mut Vec<Sidecar>,
) -> bool {
    for init in pod.spec.iter().flat_map(|s| s.init_containers.iter().flatten()) {
        let container = Arc::new(init.clone());
        if status::is_sidecar(init) {
            let stop = ctx.stop_sidecars.child_token();
            let task =
                tokio::spawn(supervise(ctx.clone(), container, places.clone(), Policy::Always, stop.clone()));
            sidecars.push(Sidecar { stop, task });
            wait_until(ctx, |records| status::init_done(init, records)).await;
        } else {
            let policy = if policy == Policy::Never { Policy::Never } else { Policy::OnFailure };
            supervise(ctx.clone(), container, places.clone(), policy, ctx.stop.clone()).await;
            let succeeded = ctx.record(&init.name).and_then(|r| r.result()) == Some(0);
            if !succeeded {
                return false;
            }
        }
        if ctx.stop.is_cancelled() {
            return false;
        }
    }
    true
}

async fn wait_until(ctx: &PodContext, condition: impl Fn(&BTreeMap<String, Record>) -> bool) {
    let mut changes = ctx.changes();
    while !condition(&ctx.records()) && !ctx.stop.is_cancelled() {
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            () = ctx.stop.cancelled() => return,
        }
    }
}

/// The application's containers, each started when the one before has finished its postStart hook.
async fn application(ctx: &Arc<PodContext>, pod: &Pod, policy: Policy, places: &Arc<Places>) {
    let Some(spec) = &pod.spec else { return };
    let mut running = JoinSet::new();
    for name in spec.containers.iter().map(|c| &c.name) {
        ctx.update(name, |record| {
            record.state = super::State::Waiting { reason: "ContainerCreating", message: None };
        });
    }
    for container in &spec.containers {
        let shared = Arc::new(container.clone());
        running.spawn(supervise(ctx.clone(), shared, places.clone(), policy, ctx.stop.clone()));
        if has_post_start(container) {
            wait_until(ctx, |records| {
                records.get(&container.name).is_some_and(|r| r.started || r.restarts > 0 || r.done)
            })
            .await;
        }
    }
    let limit = spec.active_deadline_seconds.map(|s| Duration::from_secs(s.max(0).cast_unsigned()));
    if let Some(limit) = limit {
        let stop = ctx.clone();
        let all = async { while running.join_next().await.is_some() {} };
        tokio::pin!(all);
        if tokio::time::timeout(limit, &mut all).await.is_err() {
            stop.event(
                Severity::Normal,
                "DeadlineExceeded",
                "Pod was active on the node longer than the specified deadline",
            );
            stop.fail("DeadlineExceeded", "Pod was active on the node longer than the specified deadline");
            stop.end_by(Instant::now() + super::kill::grace(ctx));
            stop.stop.cancel();
            all.await;
        }
        return;
    }
    while running.join_next().await.is_some() {}
}

fn has_post_start(container: &Container) -> bool {
    container.lifecycle.as_ref().is_some_and(|l| l.post_start.is_some())
}
