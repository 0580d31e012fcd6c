//! The agent's life: start, serve, drain, end.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result};
use lateen_xds::istio::NameTable;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::arguments::Arguments;
use crate::bootstrap::{self, AGENT_PORT};
use crate::drain::drain;
use crate::environment::Environment;
use crate::names::Resolver;
use crate::prober::Probers;
use crate::proxy::Proxy;
use crate::security::{self, Security, SecurityOptions};
use crate::startup::Startup;
use crate::status::{self, Status};
use crate::wait::wait;

/// Runs `lateen agent` with the words after it.
///
/// # Errors
/// The command line or the environment cannot be understood, a port is taken, or the proxy fails.
pub fn main(words: &[String]) -> Result<()> {
    let started = Instant::now();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    if words == ["wait"] {
        return runtime.block_on(wait());
    }
    let arguments = Arguments::parse(words)?;
    let environment = Environment::read()?;
    runtime.block_on(run(arguments, environment, started))
}

async fn run(arguments: Arguments, mut environment: Environment, started: Instant) -> Result<()> {
    let application = match &environment.prometheus {
        Some(json) => {
            Some(serde_json::from_str(json).context("environment variable ISTIO_PROMETHEUS_ANNOTATIONS")?)
        }
        None => None,
    };
    // First: the control plane's own name may be captured.
    let resolver = Resolver::start(&arguments, &environment).await?;
    if resolver.is_some() {
        // In the proxy's node as well: both streams are those of one proxy.
        environment.metadata.insert(NameTable::BY_HOST.to_owned(), "true".into());
    }
    let discovery = bootstrap::discovery_address(&arguments, &environment);
    let security = Security::start(SecurityOptions::read(&environment.variables, discovery)?)?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let binary = arguments.binary.clone().or_else(|| environment.binary.clone().map(Into::into));
    let mut bootstrap = bootstrap::build(&arguments, &environment, binary.is_some());
    if let Some(file) = environment.variables.get("ISTIO_BOOTSTRAP_OVERRIDE").filter(|file| !file.is_empty())
    {
        bootstrap = security::overridden(&bootstrap, file)?;
    }
    if environment.variables.get("BOOTSTRAP_XDS_AGENT").is_some_and(|value| value == "true") {
        match security.patched(&bootstrap).await {
            Ok(patched) => bootstrap = patched,
            Err(error) => tracing::warn!(error = format!("{error:#}"), "the bootstrap stays as it is"),
        }
    }
    if let (Some(resolver), Some(node)) = (&resolver, &bootstrap.node) {
        resolver.follow(&security, node.clone());
    }
    let status = Arc::new(Status {
        probers: Probers::parse(environment.probers.as_deref(), environment.address)?,
        application,
        quit: CancellationToken::new(),
        draining: CancellationToken::new(),
        security,
        resolver,
        startup: Startup::default(),
    });
    let mut proxy = Proxy::start(binary.as_deref(), bootstrap, &arguments, &environment).await?;
    let starting = status.clone();
    tokio::spawn(async move { starting.startup.watch(started).await });
    let server = status::serve(AGENT_PORT, status.clone());
    tokio::pin!(server);
    tokio::select! {
        ended = proxy.ended() => return ended.context("the proxy"),
        served = &mut server => return served.with_context(|| format!("port {AGENT_PORT}")),
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    status.draining.cancel();
    tokio::select! {
        () = drain(environment.termination_drain()) => {}
        _ = &mut server => {}
        ended = proxy.ended() => return ended.context("the proxy"),
    }
    proxy.stop().await
}
