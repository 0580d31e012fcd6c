//! An Envoy in the place of Lateen's own proxy.

use std::fs;
use std::path::Path;
use std::process::ExitStatus;

use anyhow::{Context, Result};
use lateen_xds::json::Pool;
use lateen_xds::pb::envoy::config::bootstrap::v3::Bootstrap;
use tokio::process::{Child, Command};

use crate::arguments::Arguments;
use crate::environment::Environment;

/// Writes the bootstrap as JSON, where people look for it, and starts Envoy with it.
pub fn start(
    binary: &Path,
    bootstrap: &Bootstrap,
    arguments: &Arguments,
    environment: &Environment,
) -> Result<Child> {
    let file = arguments.config_path.join("envoy-rev.json");
    let json = Pool::load()?.write(bootstrap).context("bootstrap as JSON")?;
    fs::create_dir_all(&arguments.config_path)
        .and_then(|()| fs::write(&file, serde_json::to_vec_pretty(&json)?))
        .with_context(|| file.display().to_string())?;
    let drain = environment.termination_drain().as_secs().max(1).to_string();
    let mut command = Command::new(binary);
    command.arg("-c").arg(&file).args(["--drain-time-s", &drain, "--drain-strategy", "immediate"]);
    command.args(["--local-address-ip-version", "v4", "--use-dynamic-base-id", "-l", &arguments.log_level]);
    let concurrency = arguments.concurrency.or(environment.proxy_config.concurrency);
    if let Some(number) = concurrency.filter(|number| *number > 0) {
        command.args(["--concurrency", &number.to_string()]);
    }
    command.envs(tracing_variables(bootstrap, environment));
    command.kill_on_drop(true).spawn().with_context(|| binary.display().to_string())
}

/// What traces tell about the workload: Lateen's proxy finds it in its node, an Envoy in its environment.
fn tracing_variables(bootstrap: &Bootstrap, environment: &Environment) -> Vec<(&'static str, String)> {
    const RESOURCE: &str = "OTEL_RESOURCE_ATTRIBUTES";
    let node = bootstrap.node.as_ref();
    let peer = node.and_then(|node| node.metadata.as_ref()).map(lateen_proxy::stats::istio::read_peer);
    let peer = peer.unwrap_or_default();
    let known =
        [("CANONICAL_SERVICE", peer.canonical_service), ("CANONICAL_REVISION", peer.canonical_revision)];
    let unset = |(name, _): &(&str, _)| !environment.variables.contains_key(*name);
    let mut variables: Vec<_> = known
        .into_iter()
        .filter(unset)
        .filter_map(|(name, value)| Some((name, value?.to_string())))
        .collect();
    let attributes = environment.variables.get(RESOURCE).cloned().unwrap_or_default();
    if !attributes.contains("service.name=") {
        let service = format!("service.name={}", node.map_or("", |node| &node.cluster));
        let all = if attributes.is_empty() { service } else { format!("{attributes},{service}") };
        variables.push((RESOURCE, all));
    }
    variables
}

/// Ends Envoy and waits for it.
pub async fn stop(child: &mut Child) -> std::io::Result<ExitStatus> {
    if let Some(pid) = child.id() {
        let pid = nix::unistd::Pid::from_raw(pid.cast_signed());
        // It may have ended by itself.
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
    }
    child.wait().await
}
