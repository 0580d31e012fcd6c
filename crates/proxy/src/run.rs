//! Runs the proxy: `lateen proxy`, and in process for the agent.

use std::ffi::OsString;
use std::net::{SocketAddr, TcpListener};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use bytes::Bytes;
use clap::Parser;
use lateen_xds::TypeUrl;
use lateen_xds::pb::envoy::config::bootstrap::v3::Bootstrap;
use lateen_xds::pb::envoy::config::core::v3::Node;
use prost::Message as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;

use crate::access_log::Sinks;
use crate::admin::{self, Dump, LogLevels};
use crate::bootstrap::{self, BootstrapError, Mode, Options, Plan};
use crate::config::{DrainScope, Store};
use crate::convert;
use crate::stats::istio::{IstioMetrics, Node as IstioNode};
use crate::stats::{Baseline, Metric, ServerStats};
use crate::tls::Source;
use crate::trace::Tracers;
use crate::worker::Workers;
use crate::xds_client::{self, Applier, Dialer, Sds};

/// How long the end waits for access logs to be written.
const LAST_LINES: Duration = Duration::from_secs(2);

/// The proxy's command line, for `--help` and errors.
#[derive(Debug, Parser)]
#[command(
    name = "lateen proxy",
    about = "Run the proxy with an Envoy bootstrap file.",
    disable_version_flag = true
)]
struct CommandLine {
    #[command(flatten)]
    options: Options,
}

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

/// Clusters and listeners of the bootstrap itself.
#[derive(Default)]
struct Statics {
    clusters: Vec<convert::ConvertedCluster>,
    listeners: Vec<convert::ConvertedListener>,
    waits_for_secrets: convert::WaitsForSecrets,
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
/// Waits for the secrets of the bootstrap's own resources, except those that the control plane gives later.
async fn warm(context: &convert::Context, waits: &convert::WaitsForSecrets) {
    let mut waits = waits.clone();
    waits.retain(|(slot, _)| slot.source != Source::Ads);
    let mut arrivals = context.secrets.arrivals();
    let all = async {
        while !waits.iter().all(|(slot, _)| slot.is_settled()) {
            if arrivals.changed().await.is_err() {
                return;
            }
        }
    };
    // A bootstrap that waits for ever would never serve its own administration.
    let limit = Some(convert::longest_wait(&waits)).filter(|limit| !limit.is_zero());
    let _ = tokio::time::timeout(limit.unwrap_or(LONGEST_WARMING), all).await;
}

/// Longest wait for the secrets of the bootstrap's own resources, where they name none.
const LONGEST_WARMING: Duration = Duration::from_secs(15);

/// What puts updates in force, and tells workers of changed listeners.
fn applier(context: &Arc<convert::Context>, workers: &Arc<Workers>, plan: &Plan) -> Applier {
    let weak = Arc::downgrade(workers);
    let on_listeners = Arc::new(move || {
        for error in weak.upgrade().iter().flat_map(|workers| workers.sync_listeners()) {
            tracing::error!(%error, "a listener cannot be served");
        }
    });
    let wants_clusters =
        plan.ads.as_ref().is_some_and(|ads| ads.wants_clusters) || plan.clusters_file.is_some();
    let mut applier =
        Applier::new(context.clone(), Arc::default(), Arc::default(), wants_clusters, on_listeners);
    for (kind, file) in [(TypeUrl::Cluster, &plan.clusters_file), (TypeUrl::Listener, &plan.listeners_file)] {
        if let Some(path) = file {
            applier.read_all_from(kind, path.clone());
        }
    }
    applier
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn context(bootstrap: &Bootstrap, plan: &Plan, store: Arc<Store>) -> convert::Context {
    let node = bootstrap.node.as_ref();
    let node = IstioNode::new(node.map_or("", |node| &node.id), node.and_then(|node| node.metadata.as_ref()));
    let mut upstream_socket = plan.upstream_socket.clone();
    // Where the proxy cannot be exempted from redirection by its user, it is by this mark.
    if let Some(mark) = std::env::var("LATEEN_SOCKET_MARK").ok().and_then(|mark| mark.parse().ok()) {
        upstream_socket.mark = Some(mark);
    }
    convert::Context {
        store,
        secrets: Arc::default(),
        sinks: Arc::<Sinks>::default(),
        istio: Arc::new(IstioMetrics::new(node)),
        tracers: Arc::new(Tracers::new(bootstrap.node.as_ref(), default_tracer(bootstrap))),
        upstream_socket,
    }
}

/// The tracer of connection managers that name none.
#[allow(deprecated, reason = "Envoy takes the field, and so must we")]
fn default_tracer(bootstrap: &Bootstrap) -> Option<lateen_xds::pb::envoy::config::trace::v3::tracing::Http> {
    bootstrap.tracing.as_ref()?.http.clone()
}

/// Converts the static resources.
fn statics(bootstrap: &Bootstrap, context: &convert::Context) -> Result<Statics, BootstrapError> {
    let mut statics = Statics::default();
    let Some(resources) = &bootstrap.static_resources else { return Ok(statics) };
    let failed = |kind: &str, index: usize, name: &str, error| BootstrapError::Resource {
        resource: format!("static_resources.{kind}[{index}] ({name})"),
        error,
    };
    for (index, message) in resources.secrets.iter().enumerate() {
        let secret =
            convert::secret(message).map_err(|error| failed("secrets", index, &message.name, error))?;
        context.secrets.put_static(&message.name, secret);
    }
    for (index, message) in resources.clusters.iter().enumerate() {
        // The agent's sockets are for the proxy itself, which dials them as the plan says.
        if is_local(message) {
            continue;
        }
        let converted = convert::cluster(message, context)
            .map_err(|error| failed("clusters", index, &message.name, error))?;
        statics.waits_for_secrets.extend(converted.waits_for_secrets.iter().cloned());
        statics.clusters.push(converted);
    }
    for (index, message) in resources.listeners.iter().enumerate() {
        let converted = convert::listener(message, context)
            .map_err(|error| failed("listeners", index, &message.name, error))?;
        statics.waits_for_secrets.extend(converted.waits_for_secrets.iter().cloned());
        statics.listeners.push(converted);
    }
    Ok(statics)
}

/// Whether a cluster leads to unix sockets.
fn is_local(cluster: &lateen_xds::pb::envoy::config::cluster::v3::Cluster) -> bool {
    use lateen_xds::pb::envoy::config::core::v3::address::Address;
    use lateen_xds::pb::envoy::config::endpoint::v3::lb_endpoint::HostIdentifier;
    let groups = cluster.load_assignment.iter().flat_map(|assignment| &assignment.endpoints);
    groups.flat_map(|group| &group.lb_endpoints).any(|endpoint| match &endpoint.host_identifier {
        Some(HostIdentifier::Endpoint(endpoint)) => {
            let address = endpoint.address.as_ref().and_then(|address| address.address.as_ref());
            matches!(address, Some(Address::Pipe(_)))
        }
        _ => false,
    })
}

/// Checks a bootstrap as [`Server::start`] would, without starting anything.
///
/// # Errors
/// What cannot be used, with its path.
pub fn validate(bootstrap: &Bootstrap) -> Result<(), BootstrapError> {
    let plan = Plan::read(bootstrap)?;
    statics(bootstrap, &context(bootstrap, &plan, Store::new(1))).map(drop)
}

/// `lateen proxy ARGUMENTS`: runs until it is told to end. `arguments` do not hold the program's name. `reader` is a
/// program that with the same arguments comes to [`read_bootstrap`]; without one the bootstrap is read in process.
///
/// # Errors
/// Wrong arguments, a bootstrap that cannot be used, an address that cannot be bound.
pub fn main(arguments: Vec<OsString>, reader: Option<Command>) -> anyhow::Result<()> {
    let options = options(&arguments);
    let log_levels = init_log(&options.log_level)?;
    let bootstrap = match reader {
        Some(mut reader) => bootstrap::read_apart(reader.args(&arguments))?,
        None => bootstrap::load(&options)?,
    };
    run(&options, bootstrap, log_levels)
}

/// Writes the bootstrap that the arguments of [`main`] name to standard output, encoded.
///
/// # Errors
/// A bootstrap that cannot be read.
pub fn read_bootstrap(arguments: &[OsString]) -> anyhow::Result<()> {
    Ok(bootstrap::write_encoded(&options(arguments))?)
}

fn options(arguments: &[OsString]) -> Options {
    let program = OsString::from("lateen proxy");
    CommandLine::parse_from(std::iter::once(&program).chain(arguments)).options
}

/// Runs the proxy until it is told to end.
fn run(options: &Options, bootstrap: Bootstrap, log_levels: Option<LogLevels>) -> anyhow::Result<()> {
    if options.mode != Mode::Serve {
        validate(&bootstrap)?;
        let path =
            options.config_path.as_deref().map_or("--config-yaml".into(), |path| path.to_string_lossy());
        println!("configuration '{path}' OK");
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let settings = Settings {
            concurrency: options.concurrency.filter(|count| *count > 0),
            drain_time: Duration::from_secs(options.drain_time_s),
            handed: Vec::new(),
            log_levels,
        };
        let server = Server::start(bootstrap, settings).await?;
        if let (Some(path), Some(address)) = (&options.admin_address_path, server.admin) {
            std::fs::write(path, address.to_string())
                .with_context(|| format!("--admin-address-path {}", path.display()))?;
        }
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
            () = server.wanted_to_quit() => {}
        }
        // As Envoy: the signal ends the process at once; a drain is asked for over administration before.
        server.stop();
        Ok(())
    })
}

/// Starts the process's log on standard error, unless the process has one already.
///
/// # Errors
/// The level is none of Envoy's.
pub fn init_log(level: &str) -> anyhow::Result<Option<LogLevels>> {
    use tracing_subscriber::layer::SubscriberExt as _;
    use tracing_subscriber::util::SubscriberInitExt as _;
    use tracing_subscriber::{EnvFilter, fmt, reload};
    let directive =
        admin::log_directive(level).with_context(|| format!("--log-level: `{level}` is not a level"))?;
    let (filter, handle) = reload::Layer::new(EnvFilter::new(directive));
    let layer = fmt::layer().with_writer(std::io::stderr).with_target(false);
    if tracing_subscriber::registry().with(filter).with(layer).try_init().is_err() {
        return Ok(None);
    }
    Ok(Some(LogLevels::new(level, move |directive| {
        handle.reload(EnvFilter::new(directive)).map_err(|error| error.to_string())
    })))
}
