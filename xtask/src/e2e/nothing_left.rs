//! Uninstalling leaves nothing: every object of every kind, before and after.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::cluster::{Cluster, eventually, path};

/// What a cluster makes of itself all the time.
const RESTLESS: [&str; 6] = [
    "events",
    "events.events.k8s.io",
    "leases.coordination.k8s.io",
    "endpointslices.discovery.k8s.io",
    "pods",
    "componentstatuses",
];

/// Installs everything that can be installed, uses it, removes it and looks.
pub fn run(cluster: &Cluster) -> Result<()> {
    let before = everything(cluster)?;
    let (bin, conf) = cluster.cni_folders();
    let (bin, conf) = (format!("cni.cniBinDir={bin}"), format!("cni.cniConfDir={conf}"));
    cluster.lateen(&[
        "install",
        "-y",
        "--set",
        "profile=demo",
        "--set",
        "cni.enabled=true",
        "--set",
        &bin,
        "--set",
        &conf,
    ])?;
    for gateway in ["external", "internal"] {
        cluster.lateen(&["gateway", "enable", gateway])?;
    }
    cluster.lateen(&["install", "-y", "--set", "profile=minimal", "--revision", "canary"])?;
    cluster.lateen(&["tag", "set", "prod", "--revision", "canary"])?;
    let used = tagged(cluster);
    cluster.kubectl(&["delete", "namespace", "tagged", "--ignore-not-found"])?;
    used?;
    let tags = cluster.lateen(&["tag", "list"])?;
    ensure!(tags.contains("prod") && tags.contains("canary"), "{tags}");
    let missing = cluster.lateen(&["tag", "set", "next", "--revision", "never"]).unwrap_err().to_string();
    ensure!(missing.contains("there is: canary, default"), "{missing}");
    cluster.lateen(&["uninstall", "--purge", "-y"])?;
    let after = everything(cluster)?;
    let left: Vec<&String> = after.difference(&before).collect();
    ensure!(left.is_empty(), "left behind: {left:#?}");
    let lost: Vec<&String> = before.difference(&after).collect();
    ensure!(lost.is_empty(), "gone, and not ours: {lost:#?}");
    let leases = cluster.kubectl(&["get", "leases", "-A", "-o", "name"])?;
    ensure!(!leases.contains("istio"), "{leases}");
    Ok(())
}

/// A namespace that selects the tag gets its sidecars from the revision that the tag leads to.
fn tagged(cluster: &Cluster) -> Result<()> {
    cluster.kubectl(&["create", "namespace", "tagged"])?;
    cluster.kubectl(&["label", "namespace", "tagged", "istio.io/rev=prod"])?;
    eventually(Duration::from_secs(20), || {
        cluster.kubectl(&["apply", "-n", "tagged", "-f", &path("samples/sleep/sleep.yaml")])
    })?;
    cluster.wait_deployments("tagged")?;
    let revision =
        cluster.value(&["pods", "-n", "tagged"], "{.items[0].metadata.annotations.istio\\.io/rev}")?;
    ensure!(revision == "canary", "the sidecar is of revision {revision:?}");
    Ok(())
}

/// Every object by kind, namespace and name.
fn everything(cluster: &Cluster) -> Result<BTreeSet<String>> {
    let kinds = cluster.kubectl(&["api-resources", "--verbs=list", "-o", "name"])?;
    let kinds: Vec<&str> = kinds.lines().filter(|kind| !RESTLESS.contains(kind)).collect();
    let columns = "custom-columns=A:.apiVersion,K:.kind,NS:.metadata.namespace,N:.metadata.name";
    let all = cluster.kubectl(&["get", &kinds.join(","), "-A", "--no-headers", "-o", columns])?;
    Ok(all.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect())
}
