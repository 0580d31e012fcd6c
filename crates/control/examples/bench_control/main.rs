//! Measures the control plane: this process serves an in-memory mesh; simulated proxies run in a child process, so
//! that CPU time and memory here are the control plane's alone.
//!
//! `cargo run --release -p lateen-control --example bench_control -- [--services N] [--proxies N] [--envoy]`

mod measure;
mod simulator;
mod world;

use std::io::Write;
use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use lateen_control::source::Update;
use lateen_control::{Context, ads, queue, run_hub};
use lateen_mesh::Kind;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::net::TcpListener;
use tokio::process::{ChildStdout, Command};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::measure::{Usage, nanos, percentile};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How often each change is made.
const REPETITIONS: usize = 20;

/// Longest wait for the simulated proxies.
const PATIENCE: Duration = Duration::from_secs(120);

/// What is measured.
#[derive(Clone, Copy, Debug)]
struct Size {
    services: usize,
    proxies: usize,
    envoy: bool,
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut size = Size { services: 1000, proxies: 100, envoy: false };
    let mut simulate: Option<SocketAddr> = None;
    let mut rest = arguments.iter();
    while let Some(flag) = rest.next() {
        let mut value = || rest.next().with_context(|| format!("{flag} needs a value"));
        match flag.as_str() {
            "--services" => size.services = value()?.parse()?,
            "--proxies" => size.proxies = value()?.parse()?,
            "--envoy" => size.envoy = true,
            "--simulate" => simulate = Some(value()?.parse()?),
            other => bail!("unknown flag {other}: there are --services N, --proxies N and --envoy"),
        }
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    match simulate {
        Some(address) => runtime.block_on(simulator::run(address, size)),
        None => runtime.block_on(serve(size)),
    }
}

async fn serve(size: Size) -> Result<()> {
    let context = Context::new();
    let (updates, receiver) = queue();
    tokio::spawn(run_hub(Arc::clone(&context.hub), receiver, vec![Kind::Service]));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let shutdown = CancellationToken::new();
    tokio::spawn(ads::serve(listener, Arc::clone(&context), shutdown.clone()));
    let idle = Usage::now()?;
    for resource in world::all(size.services) {
        updates.send(Update::Upsert(resource)).await?;
    }
    updates.send(Update::Listed(Kind::Service)).await?;
    context.hub.subscribe().wait_for(|p| p.number > 0).await?;
    let loaded = Usage::now()?;
    println!(
        "{} services, {} proxies ({})",
        size.services,
        size.proxies,
        if size.envoy { "Envoy, whole route tables" } else { "Lateen's, routes by virtual host" }
    );
    report("mesh read", &idle, &loaded, None);

    let mut command = Command::new(std::env::current_exe()?);
    command.args(["--simulate", &address.to_string()]);
    command.args(["--services", &size.services.to_string(), "--proxies", &size.proxies.to_string()]);
    if size.envoy {
        command.arg("--envoy");
    }
    let mut child = command.stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
    let output = child.stdout.take().context("no output of the simulator")?;
    let mut lines = BufReader::new(output).lines();
    let ready = line(&mut lines, "ready").await?;
    let pushed = Usage::now()?;
    report("first push to all", &loaded, &pushed, Some(Duration::from_nanos(ready)));

    changes(&updates, &mut lines, size, "one VirtualService changes", world::route_change).await?;
    changes(&updates, &mut lines, size, "one endpoint changes", world::endpoint_change).await?;
    child.kill().await?;
    shutdown.cancel();
    Ok(())
}

/// Makes a change again and again, each when every proxy has the last one.
async fn changes(
    updates: &mpsc::Sender<Update>,
    lines: &mut Lines<BufReader<ChildStdout>>,
    size: Size,
    what: &str,
    change: fn(usize) -> lateen_mesh::Resource,
) -> Result<()> {
    let mut delays = Vec::with_capacity(REPETITIONS * size.proxies);
    let before = Usage::now()?;
    for round in 0..REPETITIONS {
        let start = nanos();
        updates.send(Update::Upsert(change(round))).await?;
        for _ in 0..size.proxies {
            let at = line(lines, "push").await?;
            delays.push(Duration::from_nanos(at.saturating_sub(start)));
        }
    }
    let after = Usage::now()?;
    let cpu = (after.cpu - before.cpu) / REPETITIONS as u32;
    delays.sort_unstable();
    println!(
        "{what:<28} cpu {:>8.4} s   p50 {:>7.2} ms   p99 {:>7.2} ms   peak {:>6.1} MiB",
        cpu.as_secs_f64(),
        percentile(&delays, 50).as_secs_f64() * 1e3,
        percentile(&delays, 99).as_secs_f64() * 1e3,
        after.peak_mib,
    );
    Ok(())
}

/// The next line of the simulator: a word and a number.
async fn line(lines: &mut Lines<BufReader<ChildStdout>>, word: &str) -> Result<u64> {
    let next = tokio::time::timeout(PATIENCE, lines.next_line()).await;
    let text = next.with_context(|| format!("no {word:?} of the simulator in time"))??;
    let text = text.context("the simulator ended")?;
    let number = text.strip_prefix(word).with_context(|| format!("expected {word:?}, got {text:?}"))?;
    Ok(number.trim().parse()?)
}

fn report(what: &str, before: &Usage, after: &Usage, took: Option<Duration>) {
    let took = took.map(|t| format!("   took {:>6.2} s", t.as_secs_f64())).unwrap_or_default();
    println!(
        "{what:<28} cpu {:>8.4} s   rss {:>6.1} MiB   peak {:>6.1} MiB{took}",
        (after.cpu - before.cpu).as_secs_f64(),
        after.rss_mib,
        after.peak_mib,
    );
    // The table appears as it grows, also through a pipe; nobody reading it is no error of the measurement.
    let _ = std::io::stdout().flush();
}
