//! A running proxy: how it starts, drains and ends, and what it tells of itself.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use bytes::Bytes;
use lateen_xds::pb::envoy::config::bootstrap::v3::Bootstrap;
use lateen_xds::pb::envoy::config::core::v3::Node;
use prost::Message as _;
use tokio::sync::Notify;

use crate::admin::{self, Dump, LogLevels};
use crate::bootstrap::Plan;
use crate::config::{DrainScope, Store};
use crate::convert;
use crate::startup::{applier, context, statics, warm};
use crate::stats::{Baseline, Metric, ServerStats};
use crate::worker::Workers;
use crate::xds_client::{self, Applier, Dialer, Sds};

/// How long the end waits for access logs to be written.
const LAST_LINES: Duration = Duration::from_secs(2);

/// How a server is started beside its bootstrap.
pub struct Settings {
    /// Worker threads; one for each processor by default.
    pub concurrency: Option<usize>,
    /// How long connections may take to end in a drain; 600 s by default.
    pub drain_time: Duration,
    /// Sockets that were bound elsewhere, by the address of their listener.
    pub handed: Vec<(SocketAddr, TcpListener)>,
    /// Changes the level of the process's log.
    pub log_levels: Option<LogLevels>,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            concurrency: None,
            drain_time: Duration::from_secs(600),
            handed: Vec::new(),
            log_levels: None,
        }
    }
}

/// A running proxy.
#[derive(Debug)]
pub struct Server {
    /// The configuration in force.
    pub store: Arc<Store>,
    /// Counters of the process.
    pub stats: Arc<ServerStats>,
    pub(crate) workers: Arc<Workers>,
    pub(crate) context: Arc<convert::Context>,
    pub(crate) dump: Arc<Dump>,
    /// The bootstrap, encoded.
    pub(crate) bootstrap: Bytes,
    pub(crate) node: Option<Node>,
    pub(crate) started: SystemTime,
    pub(crate) drain_time: Duration,
    pub(crate) log_levels: Option<LogLevels>,
    pub(crate) baseline: Baseline,
    /// Where administration listens.
    pub admin: Option<SocketAddr>,
    quit: Notify,
}

impl Server {
    /// Starts a proxy on the current tokio runtime, which serves administration and the control plane's stream;
    /// workers have runtimes of their own.
    ///
    /// # Errors
    /// The bootstrap cannot be used, or an address of its own cannot be bound.
    pub async fn start(bootstrap: Bootstrap, settings: Settings) -> anyhow::Result<Arc<Server>> {
        let plan = Plan::read(&bootstrap)?;
        let store = Store::new(settings.concurrency.unwrap_or_else(processors).max(1));
        store.set_drain_time(settings.drain_time);
        let context = Arc::new(context(&bootstrap, &plan, store.clone()));
        let statics = statics(&bootstrap, &context)?;
        let dialer = Dialer { mark: context.upstream_socket.mark };
        let node = bootstrap.node.clone().unwrap_or_default();
        let sds = Sds { context: context.clone(), node, dialer, clusters: plan.streams.clone() };
        tokio::spawn(sds.run());
        warm(&context, &statics.waits_for_secrets).await;
        let workers = Arc::new(Workers::start(store.clone(), settings.handed)?);
        let mut applier = applier(&context, &workers, &plan);
        for converted in &statics.clusters {
            applier.wants_endpoints(&converted.cluster.name, converted);
        }
        for converted in &statics.listeners {
            applier.wants_routes(&converted.listener.name, converted);
        }
        store.put_clusters(statics.clusters.into_iter().map(|converted| converted.cluster));
        let listeners = statics.listeners.into_iter().map(|converted| converted.listener).collect();
        store.update_listeners(listeners, &[]);
        if let Some(error) = workers.sync_listeners().into_iter().next() {
            return Err(error.into());
        }
        let admin = match plan.admin {
            Some(address) => Some(
                tokio::net::TcpListener::bind(address)
                    .await
                    .with_context(|| format!("admin: cannot bind {address}"))?,
            ),
            None => None,
        };
        let server = Arc::new(Server {
            store,
            stats: applier.stats(),
            workers,
            context,
            dump: applier.dump(),
            bootstrap: bootstrap.encode_to_vec().into(),
            node: bootstrap.node.clone(),
            started: SystemTime::now(),
            drain_time: settings.drain_time,
            log_levels: settings.log_levels,
            baseline: Baseline::default(),
            admin: admin.as_ref().and_then(|admin| admin.local_addr().ok()),
            quit: Notify::new(),
        });
        if let Some(admin) = admin {
            tokio::spawn(admin::serve(admin, server.clone()));
        }
        server.connect(plan, bootstrap.node.unwrap_or_default(), applier);
        Ok(server)
    }

    /// Opens the stream to the control plane and the files that resources come from; with neither the proxy is live at
    /// once.
    fn connect(self: &Arc<Self>, plan: Plan, node: Node, applier: Applier) {
        let stats = self.stats.clone();
        if plan.ads.as_ref().is_none_or(|ads| !ads.wants_listeners) && plan.listeners_file.is_none() {
            stats.live.store(true, Ordering::Relaxed);
        }
        let dialer = Dialer { mark: self.context.upstream_socket.mark };
        match plan.ads {
            Some(ads) => drop(tokio::spawn(xds_client::run(ads, node, dialer, applier, stats))),
            None if applier.has_files() => drop(tokio::spawn(xds_client::run_files(applier, stats))),
            None => {}
        }
    }

    /// Whether the control plane's configuration is in force and traffic is served.
    pub fn is_ready(&self) -> bool {
        let on = |flag: &std::sync::atomic::AtomicBool| flag.load(Ordering::Relaxed);
        on(&self.stats.live) && !on(&self.stats.draining) && !on(&self.stats.failing)
    }

    /// Stops listening, at once or when `grace` is over; connections are asked to end in that time. Once begun, a
    /// graceful drain goes on as it began.
    pub fn drain_listeners(&self, scope: DrainScope, grace: Option<Grace>) {
        let Some(grace) = grace else {
            return stop_listening(&self.store, &self.workers, &self.stats, scope);
        };
        if self.stats.graceful.swap(true, Ordering::Relaxed) {
            return;
        }
        self.store.drain_connections(scope);
        self.workers.wake_connections();
        if grace == Grace::ThenStop {
            let (store, workers) = (self.store.clone(), Arc::downgrade(&self.workers));
            let (stats, time) = (self.stats.clone(), self.drain_time);
            tokio::spawn(async move {
                tokio::time::sleep(time).await;
                if let Some(workers) = workers.upgrade() {
                    stop_listening(&store, &workers, &stats, scope);
                }
            });
        }
    }

    /// Fails the health check, or passes it again: meanwhile answers close their connections, as Envoy's do.
    pub fn set_failing(&self, failing: bool) {
        self.stats.failing.store(failing, Ordering::Relaxed);
        self.store.set_failing(failing);
        self.workers.wake_connections();
    }

    /// Downstream connections that are open.
    pub fn active_connections(&self) -> u64 {
        let table = self.store.listeners();
        let active =
            table.by_name.values().map(|active| active.stats.sum(|shard| &shard.downstream_cx_active));
        active.fold(0, u64::wrapping_add)
    }

    /// Closes everything gracefully: ends when no connection is open, or when `longest` has passed.
    pub async fn drain(&self, longest: Duration) {
        self.store.drain_connections(DrainScope::All);
        stop_listening(&self.store, &self.workers, &self.stats, DrainScope::All);
        let end = tokio::time::Instant::now() + longest;
        while self.active_connections() > 0 && tokio::time::Instant::now() < end {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Asks the process to end.
    pub fn quit(&self) {
        self.quit.notify_one();
    }

    /// Resolves when `/quitquitquit` was asked for.
    pub async fn wanted_to_quit(&self) {
        self.quit.notified().await;
    }

    /// Ends the workers at once; what they logged is written.
    pub fn stop(&self) {
        self.workers.stop();
        if !self.context.sinks.sync(LAST_LINES) {
            tracing::warn!("the last lines of an access log could not be written");
        }
    }

    /// The addresses that a listener is bound to.
    pub fn bound_addresses(&self, listener: &str) -> Vec<SocketAddr> {
        self.workers.bound_addresses(listener)
    }

    /// All statistics in Prometheus' text format.
    pub fn prometheus(&self) -> String {
        let mut text = String::new();
        self.context.istio.write_prometheus(|_| true, &mut text);
        crate::stats::write_prometheus(&self.metrics(), &mut text);
        text
    }

    /// All values of Envoy's names, sorted; counters since their last reset.
    pub(crate) fn metrics(&self) -> Vec<Metric> {
        let mut metrics = self.raw_metrics();
        self.baseline.apply(&mut metrics);
        metrics
    }

    fn raw_metrics(&self) -> Vec<Metric> {
        let mut metrics = crate::stats::collect(&self.store, &self.stats);
        crate::stats::collect_logs(&self.context.sinks, &mut metrics);
        crate::stats::collect_traces(&self.context.tracers, &mut metrics);
        metrics.sort_by(|a, b| a.name.cmp(&b.name));
        metrics
    }

    /// Lets counters of Envoy's names start again at zero.
    pub(crate) fn reset_counters(&self) {
        self.baseline.reset(self.raw_metrics());
    }
}

/// What follows a graceful drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grace {
    /// Listeners stop when the time to drain is over.
    ThenStop,
    /// Listeners go on.
    ThenServe,
}

fn stop_listening(store: &Store, workers: &Workers, stats: &ServerStats, scope: DrainScope) {
    store.stop_listeners(scope);
    if scope == DrainScope::All {
        stats.draining.store(true, Ordering::Relaxed);
    }
    for error in workers.sync_listeners() {
        tracing::warn!(%error, "while draining");
    }
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
