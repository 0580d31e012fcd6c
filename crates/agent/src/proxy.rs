//! The proxy that the agent looks after: Lateen's own in this process, or an Envoy as a child.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use lateen_proxy::run::{Server, Settings};
use lateen_xds::pb::envoy::config::bootstrap::v3::Bootstrap;
use tokio::process::Child;

use crate::arguments::Arguments;
use crate::environment::Environment;
use crate::envoy;

/// Worker threads unless something is said: a sidecar shares the machine with its application.
const WORKERS: usize = 2;

/// A running proxy.
#[derive(Debug)]
pub enum Proxy {
    /// Lateen's own.
    Own(Arc<Server>),
    /// An Envoy.
    Child(Child),
}

impl Proxy {
    /// Starts the proxy: the Envoy at `binary`, or Lateen's own on the current runtime.
    ///
    /// # Errors
    /// The program cannot be started, or a port of the bootstrap is taken.
    pub async fn start(
        binary: Option<&Path>,
        bootstrap: Bootstrap,
        arguments: &Arguments,
        environment: &Environment,
    ) -> Result<Proxy> {
        if let Some(binary) = binary {
            return Ok(Proxy::Child(envoy::start(binary, &bootstrap, arguments, environment)?));
        }
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let concurrency = match arguments.concurrency.or(environment.proxy_config.concurrency) {
            Some(0) => processors,
            Some(workers) => usize::try_from(workers).unwrap_or(processors),
            None => processors.min(WORKERS),
        };
        let settings = Settings {
            concurrency: Some(concurrency),
            drain_time: environment.drain(),
            ..Settings::default()
        };
        Ok(Proxy::Own(Server::start(bootstrap, settings).await?))
    }

    /// Resolves when the proxy has ended by itself, or was asked to over its administration.
    ///
    /// # Errors
    /// An Envoy that ended.
    pub async fn ended(&mut self) -> Result<()> {
        match self {
            Proxy::Own(server) => {
                server.wanted_to_quit().await;
                Ok(())
            }
            Proxy::Child(child) => {
                let status = child.wait().await?;
                bail!("ended: {status}");
            }
        }
    }

    /// Ends the proxy.
    ///
    /// # Errors
    /// An Envoy that cannot be waited for.
    pub async fn stop(&mut self) -> Result<()> {
        match self {
            Proxy::Own(server) => server.stop(),
            Proxy::Child(child) => {
                envoy::stop(child).await.context("ending the proxy")?;
            }
        }
        Ok(())
    }
}
