//! `lateen control`.

use anyhow::Result;
use lateen_control::ControlOptions;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::logging;
use crate::memory;

/// Runs the control plane until it is told to end.
pub fn run() -> Result<()> {
    logging::start("info");
    memory::give_back_when_idle();
    let options = ControlOptions::from_environment(|name| std::env::var(name).ok())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let shutdown = CancellationToken::new();
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let stop = shutdown.clone();
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            stop.cancel();
        });
        lateen_control::run(options, shutdown).await
    })
}
