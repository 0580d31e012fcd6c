//! The daemon inside the mesh's namespaces: API server, controllers and node in one process.

mod api;
mod host_ports;
mod images;
mod install;
mod ready;
mod start;

use std::ffi::OsString;
use std::time::Instant;

use anyhow::{Context, Result};
use nix::sys::signal::SigSet;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::host::link::ToHost;
use crate::options::MeshOptions;
use host_ports::HostSide;
use start::Mesh;

/// Runs the daemon; `arguments` holds the options as JSON.
///
/// # Errors
/// The mesh cannot come up; the host side has been told why.
pub fn main(arguments: &[OsString]) -> Result<()> {
    let started = Instant::now();
    // This program's parents wait for signals with these blocked, and a blocked signal stays blocked in a child.
    SigSet::all().thread_unblock()?;
    let text =
        arguments.first().and_then(|a| a.to_str()).context("the daemon is started by `lateen up` alone")?;
    let options: MeshOptions = serde_json::from_str(text)?;
    let filter = tracing_subscriber::EnvFilter::try_from_env("LATEEN_LOG");
    let filter = filter.unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    tracing_subscriber::fmt().with_ansi(false).with_env_filter(filter).init();
    let host = HostSide::from_stdin()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let outcome = runtime.block_on(run(&options, &host, started));
    if let Err(error) = &outcome {
        tracing::error!("{error:#}");
        host.tell(&ToHost::Failed(format!("{error:#}")));
    }
    // Whatever still blocks has nothing left to do.
    runtime.shutdown_background();
    outcome
}

async fn run(options: &MeshOptions, host: &HostSide, started: Instant) -> Result<()> {
    let stop = stop_requests(host)?;
    let mut mesh = Mesh::default();
    let outcome = tokio::select! {
        outcome = bring_up(&mut mesh, options, host, started) => outcome,
        () = stop.cancelled() => Ok(()),
    };
    if outcome.is_ok() {
        stop.cancelled().await;
    }
    mesh.stop().await;
    outcome
}

async fn bring_up(mesh: &mut Mesh, options: &MeshOptions, host: &HostSide, started: Instant) -> Result<()> {
    let mut summary = mesh.start(options, host).await?;
    summary.took_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    host.tell(&ToHost::Ready(summary));
    Ok(())
}

/// Cancelled when the mesh is to end: by a signal, or because the host side is gone.
fn stop_requests(host: &HostSide) -> Result<CancellationToken> {
    let stop = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let by_signal = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        by_signal.cancel();
    });
    let (host, by_host) = (host.clone(), stop.clone());
    std::thread::spawn(move || {
        if let Err(error) = host.wait_until_gone() {
            tracing::warn!(%error, "the host side cannot be watched");
        }
        by_host.cancel();
    });
    Ok(stop)
}
