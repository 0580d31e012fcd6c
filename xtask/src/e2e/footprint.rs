//! What a sidecar costs a pod: the time until it is ready, and memory.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::cluster::{Cluster, eventually};

/// Longest time from the agent's start until the proxy is ready, in seconds.
const READY: f64 = 1.0;
/// Most memory (working set) that a sidecar adds to a pod, in MiB.
const MEMORY: f64 = 15.0;
const ROUNDS: usize = 5;
const STARTUP: &str = "istio_agent_startup_duration_seconds";

/// Measures, and holds the figures against what is promised.
pub fn run(cluster: &Cluster) -> Result<()> {
    cluster.install(&[])?;
    cluster.inject("default")?;
    eventually(Duration::from_secs(20), || cluster.apply("samples/bookinfo/bookinfo.yaml"))?;
    cluster.apply("samples/sleep/sleep.yaml")?;
    cluster.wait_deployments("default")?;
    let mut times = (0..ROUNDS).map(|_| start(cluster)).collect::<Result<Vec<f64>>>()?;
    times.sort_by(f64::total_cmp);
    println!("sidecar ready after {times:.3?} s");
    // A busy machine may hold one of them up.
    let median = times[ROUNDS / 2];
    ensure!(median <= READY, "sidecars are ready after {median:.3} s only");
    let most = eventually(Duration::from_secs(60), || memory(cluster))?;
    ensure!(most <= MEMORY, "a sidecar takes {most:.1} MiB");
    Ok(())
}

/// Seconds that the sidecar of a new pod took, by its own account.
fn start(cluster: &Cluster) -> Result<f64> {
    cluster.kubectl(&["rollout", "restart", "deployment/sleep"])?;
    cluster.kubectl(&["rollout", "status", "deployment/sleep", "--timeout=90s"])?;
    cluster.kubectl(&["wait", "pod", "-l", "app=sleep", "--for=condition=Ready", "--timeout=60s"])?;
    let ask = ["exec", "deploy/sleep", "-c", "sleep", "--", "curl", "-s", "localhost:15020/stats/prometheus"];
    eventually(Duration::from_secs(10), || {
        let metrics = cluster.kubectl(&ask)?;
        let line =
            metrics.lines().find(|line| line.starts_with(STARTUP)).context("no figure of the start")?;
        Ok(line.rsplit(' ').next().unwrap_or_default().parse()?)
    })
}

/// The most that any sidecar in the mesh takes, in MiB, as the kubelet counts it.
fn memory(cluster: &Cluster) -> Result<f64> {
    let nodes = cluster.value(&["nodes"], "{.items[*].metadata.name}")?;
    let mut most = 0.0_f64;
    let mut seen = 0;
    for node in nodes.split_whitespace() {
        let summary =
            cluster.kubectl(&["get", "--raw", &format!("/api/v1/nodes/{node}/proxy/stats/summary")])?;
        let summary: Value = serde_json::from_str(&summary)?;
        for pod in summary["pods"].as_array().into_iter().flatten() {
            for container in pod["containers"].as_array().into_iter().flatten() {
                let used = container["memory"]["workingSetBytes"].as_f64();
                let (true, Some(used)) = (container["name"] == "istio-proxy", used) else { continue };
                seen += 1;
                most = most.max(used / f64::from(1 << 20));
            }
        }
    }
    if seen < 8 {
        bail!("figures of {seen} sidecars only");
    }
    println!("{seen} sidecars take at most {most:.1} MiB");
    Ok(most)
}
