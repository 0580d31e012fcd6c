//! Starting and stopping all controllers.

use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use tokio::task::JoinSet;

use crate::context::{Context, Queues, Stores};
use crate::events::Recorder;
use crate::queue::Queue;
use crate::store::Key;
use crate::watch::follow;
use crate::{
    autoscaler, budget, cronjob, daemonset, deployment, endpoints, job, replicaset, routes, statefulset,
};

/// Keys that one controller works on at a time.
const WORKERS: usize = 4;

/// Runs all controllers until `shutdown` ends. They survive an API server that comes and goes, and start work on a
/// kind once everything that they decide by has been listed.
pub async fn run(client: Client, shutdown: impl Future<Output = ()>) {
    let mut tasks = JoinSet::new();
    let (recorder, writer) = Recorder::new(client.clone());
    tasks.spawn(writer);
    let context =
        Arc::new(Context { client, recorder, stores: Stores::default(), queues: Queues::default() });
    watches(&context, &mut tasks);
    workers(&context, &mut tasks);
    shutdown.await;
    tasks.shutdown().await;
}

/// One watch a kind; each tells the queues whom a change concerns.
fn watches(context: &Arc<Context>, tasks: &mut JoinSet<()>) {
    macro_rules! watch {
        ($store:ident, $tell:expr) => {{
            let context = Arc::clone(context);
            let store = Arc::clone(&context.stores.$store);
            tasks.spawn(async move {
                let client = context.client.clone();
                follow(client, store, |change| $tell(&*context, change)).await;
            });
        }};
    }
    watch!(pods, routes::pod);
    watch!(replica_sets, routes::replica_set);
    watch!(deployments, routes::deployment);
    watch!(stateful_sets, routes::stateful_set);
    watch!(daemon_sets, routes::daemon_set);
    watch!(revisions, routes::revision);
    watch!(jobs, routes::job);
    watch!(cron_jobs, routes::cron_job);
    watch!(budgets, routes::budget);
    watch!(autoscalers, routes::autoscaler);
    watch!(nodes, routes::node);
    watch!(services, routes::service);
    watch!(endpoints, routes::endpoints);
    watch!(slices, routes::slice);
}

/// The workers of each controller.
fn workers(context: &Arc<Context>, tasks: &mut JoinSet<()>) {
    macro_rules! controller {
        ($name:literal, $queue:ident, $reconcile:path, [$($needs:ident),+ $(,)?]) => {
            for _ in 0..WORKERS {
                let context = Arc::clone(context);
                tasks.spawn(async move {
                    $(context.stores.$needs.synced().await;)+
                    loop {
                        let key = context.queues.$queue.next().await;
                        let result = $reconcile(Arc::clone(&context), key.clone()).await;
                        finish($name, &context.queues.$queue, key, result);
                    }
                });
            }
        };
    }
    controller!("deployment", deployments, deployment::reconcile, [deployments, replica_sets, pods]);
    controller!("replicaset", replica_sets, replicaset::reconcile, [replica_sets, pods]);
    controller!("statefulset", stateful_sets, statefulset::reconcile, [stateful_sets, revisions, pods]);
    controller!("daemonset", daemon_sets, daemonset::reconcile, [daemon_sets, revisions, pods, nodes]);
    controller!("job", jobs, job::reconcile, [jobs, pods]);
    controller!("cronjob", cron_jobs, cronjob::reconcile, [cron_jobs, jobs]);
    controller!("disruption", budgets, budget::reconcile, [budgets, pods]);
    controller!(
        "horizontalpodautoscaler",
        autoscalers,
        autoscaler::reconcile,
        [autoscalers, deployments, replica_sets, stateful_sets]
    );
    controller!("endpoints", endpoints, endpoints::reconcile, [services, pods, nodes, slices, endpoints]);
    controller!(
        "endpointslicemirroring",
        mirrors,
        endpoints::reconcile_mirror,
        [services, endpoints, slices]
    );
}

fn finish(controller: &str, queue: &Queue, key: Key, result: kube::Result<Option<Duration>>) {
    match result {
        Ok(again) => queue.done(key, true, again),
        Err(error) => {
            match &error {
                // Someone else was quicker: the next look has their version.
                kube::Error::Api(status) if matches!(status.code, 404 | 409) => {
                    tracing::debug!(controller, %key, %error, "trying again");
                }
                error => tracing::warn!(controller, %key, %error, "could not reconcile; trying again"),
            }
            queue.done(key, false, None);
        }
    }
}
