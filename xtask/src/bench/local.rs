//! `cargo xtask bench local`: the mesh on one machine: time to the first answer, memory, and changes under load.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use lateen_testkit::http::{self, Connection};
use serde_json::json;

const CHANGES: u64 = 100;
/// Between two changes, so that the load meets them spread over 10 s.
const CHANGE_EVERY: Duration = Duration::from_millis(100);
const REQUESTS_PER_SECOND: u64 = 1000;
const LOAD_THREADS: u64 = 20;
/// What a request through the gateway asks for: Istio makes whole names of hosts in a virtual service's namespace.
const GATEWAY_HOST: &str = "Host: reviews.default.svc.cluster.local";
/// Failures that are shown; all are counted.
const SHOWN_FAILURES: u64 = 5;
/// Response header by which a prober sees which change a sidecar uses.
const GENERATION: &str = "x-generation";

/// Runs the benchmark with a built binary.
pub fn run(lateen: &Path) -> Result<()> {
    let folder = std::env::temp_dir().join(format!("lateen-bench-local-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let outcome = measure(lateen, &folder);
    let _ = Command::new(lateen)
        .args(["down", "--purge", "--name", "bench", "--state-dir"])
        .arg(folder.join("mesh"))
        .status();
    fs::remove_dir_all(&folder)?;
    outcome
}

fn measure(lateen: &Path, folder: &Path) -> Result<()> {
    let mesh = folder.join("mesh");
    let started = Instant::now();
    let status = Command::new(lateen)
        .args(["up", "--demo", "bookinfo", "--detach", "--name", "bench", "--state-dir"])
        .arg(&mesh)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()?;
    if !status.success() {
        bail!("up failed: {}", fs::read_to_string(mesh.join("lateen.log")).unwrap_or_default());
    }
    let summary: serde_json::Value = serde_json::from_slice(&fs::read(mesh.join("summary.json"))?)?;
    let gateway = summary["gateway"].as_str().context("no gateway")?.to_owned();
    while !http::get(&gateway, "/productpage").is_ok_and(|a| a.body.contains("Simple Bookstore App")) {
        std::thread::park_timeout(Duration::from_millis(5));
    }
    println!("first good answer through the gateway: {:.2} s", started.elapsed().as_secs_f64());
    let pids = family(fs::read_to_string(mesh.join("lock"))?.trim().parse()?)?;
    print_memory(&pids)?;
    changes_under_load(&gateway, &mesh.join("kubeconfig"), &pids)?;
    print_memory(&pids)
}

fn print_memory(pids: &[u32]) -> Result<()> {
    let mut parts: HashMap<String, (u64, u32)> = HashMap::new();
    for pid in pids {
        let Ok(rollup) = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")) else { continue };
        let pss = rollup.lines().find_map(|l| l.strip_prefix("Pss:")).context("no Pss")?;
        let part = parts.entry(role(*pid)).or_default();
        part.0 += pss.trim().trim_end_matches(" kB").parse::<u64>()?;
        part.1 += 1;
    }
    let total: u64 = parts.values().map(|(kib, _)| kib).sum();
    println!("memory (PSS) of all {} processes: {:.0} MiB", pids.len(), total as f64 / 1024.0);
    let mut parts: Vec<_> = parts.into_iter().collect();
    parts.sort_by_key(|(_, (kib, _))| std::cmp::Reverse(*kib));
    for (role, (kib, count)) in parts {
        println!("  {:>6.1} MiB  {count:>2} x {role}", kib as f64 / 1024.0);
    }
    Ok(())
}

fn arguments(pid: u32) -> Vec<String> {
    let text = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    text.split(|b| *b == 0).map(|a| String::from_utf8_lossy(a).into_owned()).collect()
}

fn role(pid: u32) -> String {
    let arguments = arguments(pid);
    let words: Vec<&str> = arguments.iter().skip(1).take(2).map(String::as_str).collect();
    words.join(" ").chars().take(40).collect()
}

/// A process and all that descend from it.
fn family(root: u32) -> Result<Vec<u32>> {
    let mut parents = HashMap::new();
    for entry in fs::read_dir("/proc")? {
        let Ok(pid) = entry?.file_name().to_string_lossy().parse::<u32>() else { continue };
        let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
        let parent = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1)?.parse().ok());
        parents.insert(pid, parent.unwrap_or(0));
    }
    let mut family = vec![root];
    let mut at = 0;
    while at < family.len() {
        let parent = family[at];
        family.extend(parents.iter().filter(|(_, of)| **of == parent).map(|(pid, _)| *pid));
        at += 1;
    }
    Ok(family)
}

fn changes_under_load(gateway: &str, kubeconfig: &Path, pids: &[u32]) -> Result<()> {
    let api = KubeProxy::start(kubeconfig)?;
    api.put("destinationrules", "bench", &json!({
        "host": "reviews",
        "subsets": [{"name": "v1", "labels": {"version": "v1"}}, {"name": "v3", "labels": {"version": "v3"}}],
    }))?;
    api.put("virtualservices", "bench", &change(0))?;
    let (probes, sightings) = start_probes(pids, &api.cluster_address("reviews", 9080)?)?;
    if probes.is_empty() {
        bail!("no sidecar was found to look at");
    }
    wait_for(&sightings, probes.len(), 0, Duration::from_secs(20))?;

    let stop = Arc::new(AtomicBool::new(false));
    let (sent, failed) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let threads: Vec<_> = (0..LOAD_THREADS)
        .map(|_| {
            let (gateway, stop, sent, failed) =
                (gateway.to_owned(), stop.clone(), sent.clone(), failed.clone());
            std::thread::spawn(move || load(&gateway, &stop, &sent, &failed))
        })
        .collect();
    let mut latencies = Vec::new();
    let started = Instant::now();
    for generation in 1..=CHANGES {
        let next = started + CHANGE_EVERY * u32::try_from(generation)?;
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
        let applied = now();
        api.put("virtualservices", "bench", &change(generation))?;
        let last = wait_for(&sightings, probes.len(), generation, Duration::from_secs(10))?;
        latencies.push(last.saturating_sub(applied).as_secs_f64() * 1000.0);
    }
    let seconds = started.elapsed().as_secs_f64();
    stop.store(true, Ordering::Relaxed);
    threads.into_iter().for_each(|thread| drop(thread.join()));
    latencies.sort_by(f64::total_cmp);
    println!(
        "{CHANGES} changes of weights under {:.0} requests/s: {} of {} requests failed",
        sent.load(Ordering::Relaxed) as f64 / seconds,
        failed.load(Ordering::Relaxed),
        sent.load(Ordering::Relaxed)
    );
    println!(
        "from the change's request to its use by the last of {} sidecars: median {:.0} ms, p99 {:.0} ms",
        probes.len(),
        latencies[latencies.len() / 2],
        latencies[latencies.len() * 99 / 100]
    );
    Ok(())
}

fn change(generation: u64) -> serde_json::Value {
    let weight = generation % 101;
    json!({
        "hosts": ["reviews"],
        "gateways": ["mesh", "bookinfo-gateway"],
        "http": [{
            "headers": {"response": {"set": {GENERATION: generation.to_string()}}},
            "route": [
                {"destination": {"host": "reviews", "subset": "v1"}, "weight": weight},
                {"destination": {"host": "reviews", "subset": "v3"}, "weight": 100 - weight},
            ],
        }],
    })
}

/// One thread's share of the load, at an even pace.
fn load(gateway: &str, stop: &AtomicBool, sent: &AtomicU64, failed: &AtomicU64) {
    let address = gateway.trim_start_matches("http://");
    let pace = Duration::from_micros(1_000_000 * LOAD_THREADS / REQUESTS_PER_SECOND);
    let mut connection = None;
    let mut next = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
        next += pace;
        let answer = match connection.take().map_or_else(|| Connection::open(address), Ok) {
            Ok(mut open) => open.request("GET", "/reviews/0", &[GATEWAY_HOST], "").map(|a| (open, a)),
            Err(error) => Err(error),
        };
        sent.fetch_add(1, Ordering::Relaxed);
        match answer {
            Ok((open, answer)) if answer.status == 200 => {
                let closes = answer.header("connection").is_some_and(|v| v.eq_ignore_ascii_case("close"));
                connection = (!closes).then_some(open);
            }
            other => {
                if failed.fetch_add(1, Ordering::Relaxed) < SHOWN_FAILURES {
                    eprintln!("failed: {:?}", other.map(|(_, answer)| answer));
                }
            }
        }
    }
}

/// What a prober saw: its number, the generation, and when.
type Sighting = (usize, u64, Duration);

/// Starts a prober in the network namespace of every sidecar.
fn start_probes(pids: &[u32], service: &str) -> Result<(Vec<Probe>, mpsc::Receiver<Sighting>)> {
    let (sender, receiver) = mpsc::channel();
    let mut probes: Vec<Probe> = Vec::new();
    let mut seen = Vec::new();
    for pid in pids {
        let arguments = arguments(*pid);
        let network = PathBuf::from(format!("/proc/{pid}/ns/net"));
        let Ok(id) = fs::read_link(&network) else { continue };
        if !arguments.windows(2).any(|w| w == ["agent", "sidecar"]) || seen.contains(&id) {
            continue;
        }
        seen.push(id);
        let number = probes.len();
        let mut child = Command::new("nsenter")
            .arg(format!("--net={}", network.display()))
            .arg(std::env::current_exe()?)
            .args(["probe", service])
            .stdout(Stdio::piped())
            .spawn()?;
        let lines = BufReader::new(child.stdout.take().context("a prober without output")?).lines();
        let sender = sender.clone();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let mut words = line.split(' ').filter_map(|word| word.parse().ok());
                if let (Some(generation), Some(nanos)) = (words.next(), words.next()) {
                    let _ = sender.send((number, generation, Duration::from_nanos(nanos)));
                }
            }
        });
        probes.push(Probe(child));
    }
    Ok((probes, receiver))
}

struct Probe(Child);

impl Drop for Probe {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// When the last of `count` probers saw the generation.
fn wait_for(
    sightings: &mpsc::Receiver<Sighting>,
    count: usize,
    generation: u64,
    limit: Duration,
) -> Result<Duration> {
    let mut when = vec![None; count];
    let deadline = Instant::now() + limit;
    while when.contains(&None) {
        let left = deadline.saturating_duration_since(Instant::now());
        let (number, seen, at) = sightings
            .recv_timeout(left)
            .map_err(|_| anyhow::anyhow!("change {generation} was seen by {:?} only", when))?;
        if seen == generation {
            when[number].get_or_insert(at);
        }
    }
    Ok(when.into_iter().flatten().max().unwrap_or_default())
}

/// Runs in a pod's network: asks `reviews` through the pod's sidecar, and tells each new generation that it sees.
pub fn probe(address: &str) -> Result<()> {
    let mut last = None;
    loop {
        let Ok(mut connection) = Connection::open(address) else {
            std::thread::sleep(Duration::from_millis(20));
            continue;
        };
        while let Ok(answer) = connection.request("GET", "/health", &["Host: reviews:9080"], "") {
            let generation = answer.header(GENERATION).map(str::to_owned);
            if generation != last
                && let Some(generation) = &generation
            {
                println!("{generation} {}", now().as_nanos());
            }
            last = generation;
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// `kubectl proxy`: the API over plain HTTP, so that a change costs no process start.
struct KubeProxy {
    child: Child,
    address: String,
}

impl KubeProxy {
    fn start(kubeconfig: &Path) -> Result<KubeProxy> {
        let mut child = Command::new("kubectl")
            .args(["proxy", "--port=0"])
            .env("KUBECONFIG", kubeconfig)
            .stdout(Stdio::piped())
            .spawn()
            .context("kubectl")?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("kubectl has no output")?).read_line(&mut line)?;
        let address = line.trim().rsplit(' ').next().context("kubectl said nothing")?.to_owned();
        Ok(KubeProxy { child, address })
    }

    /// A service's virtual address.
    fn cluster_address(&self, service: &str, port: u16) -> Result<String> {
        let answer = http::get(&self.address, &format!("/api/v1/namespaces/default/services/{service}"))?;
        let object: serde_json::Value = serde_json::from_str(&answer.body)?;
        let address =
            object["spec"]["clusterIP"].as_str().with_context(|| format!("no service {service}"))?;
        Ok(format!("{address}:{port}"))
    }

    /// Creates or replaces the spec of an Istio networking resource (server-side apply).
    fn put(&self, plural: &str, name: &str, spec: &serde_json::Value) -> Result<()> {
        let kind = if plural == "virtualservices" { "VirtualService" } else { "DestinationRule" };
        let path = format!(
            "/apis/networking.istio.io/v1/namespaces/default/{plural}/{name}?fieldManager=bench&force=true"
        );
        let body = json!({"apiVersion": "networking.istio.io/v1", "kind": kind, "metadata": {"name": name}, "spec": spec});
        let headers = ["Content-Type: application/apply-patch+yaml"];
        let answer = http::request("PATCH", &self.address, &path, &headers, &body.to_string())?;
        if !(200..300).contains(&answer.status) {
            bail!("{plural} {name}: {} {}", answer.status, answer.body);
        }
        Ok(())
    }
}

impl Drop for KubeProxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
