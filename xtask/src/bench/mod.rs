//! `cargo xtask bench`: Lateen beside its field, on the same work, in one run.

mod configs;
pub mod forward;
mod load;
pub mod local;
mod mtls;
mod process;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use clap::Args;

use configs::Ports;
use process::{Pinned, free_port};

/// What to measure.
#[derive(Args)]
pub struct Options {
    /// `proxy` (the default), `control`, `local` or `mtls`.
    #[arg(default_value = "proxy")]
    what: String,
    /// Seconds a measurement.
    #[arg(long, default_value_t = 5)]
    seconds: u32,
    /// Envoy's program [default: LATEEN_ENVOY, or envoy on the path]
    #[arg(long, env = "LATEEN_ENVOY", default_value = "envoy")]
    envoy: PathBuf,
    /// Lateen's program [default: built from this tree, with --release]
    #[arg(long)]
    lateen: Option<PathBuf>,
    /// Measure these only: lateen, envoy, haproxy, nginx.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
}

/// The proxy's core; load and upstream share the other.
const PROXY_CORE: usize = 0;
const LOAD_CORE: usize = 1;
const CLUSTERS: usize = 1000;

/// One row of the table.
#[derive(Clone, Debug, Default)]
struct Row {
    name: String,
    http1: f64,
    http2: f64,
    tcp: f64,
    added_latency_us: f64,
    rss_idle_mib: f64,
    cluster_kib: Option<f64>,
}

/// Runs the benchmark that was asked for.
pub fn run(options: &Options) -> Result<()> {
    match options.what.as_str() {
        "proxy" => proxies(options),
        "control" => control(),
        "local" => local::run(&lateen(options)?),
        "mtls" => mtls::run(options, &lateen(options)?),
        other => bail!("there is no benchmark {other:?}: use proxy, control, local or mtls"),
    }
}

fn control() -> Result<()> {
    let status = Command::new(env!("CARGO"))
        .args(["run", "--release", "-p", "lateen-control", "--example", "bench_control"])
        .status()?;
    if !status.success() {
        bail!("the benchmark ended with {status}");
    }
    Ok(())
}

fn proxies(options: &Options) -> Result<()> {
    let wanted = |name: &str| options.only.is_empty() || options.only.iter().any(|only| only == name);
    let lateen = if wanted("lateen") { lateen(options)? } else { PathBuf::new() };
    let folder = std::env::temp_dir().join(format!("lateen-bench-{}", std::process::id()));
    fs::create_dir_all(folder.join("upstream"))?;
    let (up1, up2) = (free_port()?, free_port()?);
    let base = Ports { http1: 0, http2: 0, tcp: 0, admin: 0, upstream_http1: up1, upstream_http2: up2 };
    let config = folder.join("upstream/nginx.conf");
    fs::write(&config, configs::upstream(&base, &path(&folder.join("upstream"))))?;
    let log = folder.join("upstream.log");
    let mut upstream = Pinned::start(LOAD_CORE, Path::new("nginx"), &["-c", &path(&config)], &log)?;
    upstream.wait_for(loopback(up1), &log)?;

    let floor = floor_latency(up1, &folder, options.seconds)?;
    println!("plain forwarder: median latency {floor:.0} us at one connection\n");
    let mut rows = Vec::new();
    for name in ["envoy", "lateen", "haproxy", "nginx"] {
        if wanted(name) {
            eprintln!("measuring {name} ...");
            let program = match name {
                "lateen" => lateen.as_path(),
                "envoy" => options.envoy.as_path(),
                other => Path::new(other),
            };
            rows.push(measure(name, program, base, &folder, floor, options.seconds).context(name)?);
        }
    }
    fs::remove_dir_all(&folder)?;
    print_table(&rows);
    Ok(())
}

/// The program to measure, built if need be.
fn lateen(options: &Options) -> Result<PathBuf> {
    if let Some(program) = &options.lateen {
        return program.canonicalize().with_context(|| format!("--lateen {}", program.display()));
    }
    let status = Command::new(env!("CARGO")).args(["build", "--release", "-p", "lateen"]).status()?;
    if !status.success() {
        bail!("cargo build ended with {status}");
    }
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
    Ok(target.join("release/lateen"))
}

fn floor_latency(upstream: u16, folder: &Path, seconds: u32) -> Result<f64> {
    let port = free_port()?;
    let log = folder.join("forward.log");
    let program = std::env::current_exe()?;
    let arguments = ["forward", &loopback(port).to_string(), &loopback(upstream).to_string()];
    let mut forwarder = Pinned::start(PROXY_CORE, &program, &arguments, &log)?;
    forwarder.wait_for(loopback(port), &log)?;
    Ok(load::wrk(LOAD_CORE, port, 1, seconds)?.median_us)
}

fn measure(name: &str, program: &Path, base: Ports, folder: &Path, floor: f64, seconds: u32) -> Result<Row> {
    let ports =
        Ports { http1: free_port()?, http2: free_port()?, tcp: free_port()?, admin: free_port()?, ..base };
    let mut row = Row { name: name.to_owned(), ..Row::default() };
    forget_copy(program)?;
    let started = start(name, program, &ports, 0, folder)?;
    row.rss_idle_mib = started.settled_rss_kib()? as f64 / 1024.0;
    let latency = load::wrk(LOAD_CORE, ports.http1, 1, seconds)?.median_us;
    row.added_latency_us = latency - floor;
    row.http1 = per_cpu_second(&started, || load::wrk(LOAD_CORE, ports.http1, 64, seconds))?;
    row.http2 = per_cpu_second(&started, || load::h2load(LOAD_CORE, ports.http2, seconds))?;
    row.tcp = per_cpu_second(&started, || load::wrk(LOAD_CORE, ports.tcp, 64, seconds))?;
    drop(started);
    if matches!(name, "lateen" | "envoy") {
        let many = start(name, program, &ports, CLUSTERS, folder)?;
        row.cluster_kib =
            Some((many.settled_rss_kib()? as f64 - row.rss_idle_mib * 1024.0) / CLUSTERS as f64);
    }
    Ok(row)
}

/// Has the kernel drop its copy of a program's file. What the linker has just written lies there in large pieces, each of
/// which counts as memory of a process that uses one page of it; an installed program was read from disk.
fn forget_copy(program: &Path) -> Result<()> {
    if program.is_file() {
        fs::File::open(program)?.sync_all()?;
        let file = format!("if={}", path(program));
        Command::new("dd")
            .args([file.as_str(), "iflag=nocache", "count=0"])
            .stderr(Stdio::null())
            .status()?;
    }
    Ok(())
}

fn start(name: &str, program: &Path, ports: &Ports, extra: usize, folder: &Path) -> Result<Pinned> {
    let file = folder.join(format!("{name}-{extra}.yaml"));
    let (text, arguments) = match name {
        "lateen" => {
            (configs::envoy(ports, extra), vec!["proxy", "-c", "FILE", "--concurrency", "1", "-l", "warning"])
        }
        "envoy" => (
            configs::envoy(ports, extra),
            vec!["-c", "FILE", "--concurrency", "1", "-l", "warning", "--use-dynamic-base-id"],
        ),
        "haproxy" => (configs::haproxy(ports), vec!["-f", "FILE"]),
        _ => (configs::nginx(ports, &path(folder)), vec!["-c", "FILE"]),
    };
    fs::write(&file, text)?;
    let file = path(&file);
    let arguments: Vec<&str> =
        arguments.into_iter().map(|a| if a == "FILE" { file.as_str() } else { a }).collect();
    let log = folder.join(format!("{name}.log"));
    let mut started = Pinned::start(PROXY_CORE, program, &arguments, &log)?;
    for port in [ports.http1, ports.http2, ports.tcp] {
        started.wait_for(loopback(port), &log)?;
    }
    Ok(started)
}

fn per_cpu_second(proxy: &Pinned, load: impl Fn() -> Result<load::Outcome>) -> Result<f64> {
    let before = proxy.cpu_seconds()?;
    let outcome = load()?;
    Ok(outcome.requests / (proxy.cpu_seconds()? - before))
}

fn print_table(rows: &[Row]) {
    println!("requests per CPU-second of the proxy (times Envoy's)");
    println!(
        "{:<8} {:>18} {:>18} {:>18} {:>14} {:>10} {:>12}",
        "", "HTTP/1.1", "h2c", "TCP", "added latency", "RSS idle", "KiB/cluster"
    );
    let envoy = rows.iter().find(|row| row.name == "envoy").cloned().unwrap_or_default();
    for row in rows {
        let cell = |value: f64, envoy: f64| format!("{value:.0} ({:.2}x)", value / envoy);
        println!(
            "{:<8} {:>18} {:>18} {:>18} {:>11.0} us {:>6.1} MiB {:>12}",
            row.name,
            cell(row.http1, envoy.http1),
            cell(row.http2, envoy.http2),
            cell(row.tcp, envoy.tcp),
            row.added_latency_us,
            row.rss_idle_mib,
            row.cluster_kib.map_or_else(|| "-".to_owned(), |kib| format!("{kib:.1}")),
        );
    }
}

fn loopback(port: u16) -> SocketAddr {
    ([127, 0, 0, 1], port).into()
}

fn path(path: &Path) -> String {
    path.display().to_string()
}
