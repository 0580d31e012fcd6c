//! Pods without privileges: the CNI plugin captures, checks, mends and goes; and pods that cannot be in the mesh.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::cluster::{Cluster, eventually};

const NAMESPACE: &str = "restricted";
const PATIENCE: Duration = Duration::from_secs(90);

/// A pod of the mesh that the plugin did not capture.
const EARLY: &str = "apiVersion: v1\nkind: Pod\nmetadata: {name: early, namespace: istio-system, \
    labels: {sidecar.istio.io/inject: 'true'}}\nspec: {containers: [{name: sleep, \
    image: 'docker.io/curlimages/curl:8.16.0', command: [/bin/sleep, infinity]}]}\n";

/// Walks through.
pub fn run(cluster: &Cluster) -> Result<()> {
    let (bin, conf) = cluster.cni_folders();
    let bin = format!("cni.cniBinDir={bin}");
    let conf = format!("cni.cniConfDir={conf}");
    let result =
        walk(cluster, &["install", "-y", "--set", "cni.enabled=true", "--set", &bin, "--set", &conf]);
    for namespace in [NAMESPACE, "outside"] {
        cluster.kubectl(&["delete", "namespace", namespace, "--ignore-not-found"])?;
    }
    result
}

fn walk(cluster: &Cluster, install: &[&str]) -> Result<()> {
    cluster.lateen(install)?;
    unprivileged(cluster)?;
    super::transparent::shown(cluster, "istio-validation istio-proxy")?;
    mended(cluster)?;
    marked_or_deleted(cluster, install)?;
    told(cluster)?;
    gone(cluster)
}

/// A namespace that enforces `restricted` takes pods with sidecars, and their traffic is captured.
fn unprivileged(cluster: &Cluster) -> Result<()> {
    cluster.kubectl(&["create", "namespace", NAMESPACE])?;
    let labels = ["istio-injection=enabled", "pod-security.kubernetes.io/enforce=restricted"];
    cluster.kubectl(&[&["label", "namespace", NAMESPACE], &labels[..]].concat())?;
    eventually(Duration::from_secs(20), || {
        cluster.kubectl(&["apply", "-n", NAMESPACE, "-f", &super::cluster::path("samples/cni/web.yaml")])
    })?;
    cluster.wait_deployments(NAMESPACE)?;
    let init = "{.items[0].spec.initContainers[*].name}";
    let names = cluster.value(&["pods", "-n", NAMESPACE, "-l", "app=web"], init)?;
    ensure!(names == "istio-validation istio-proxy", "init containers {names}");
    calls_itself(cluster, NAMESPACE)
}

/// The application's pod calls its own service: out through the sidecar and in again, with TLS between.
fn calls_itself(cluster: &Cluster, namespace: &str) -> Result<()> {
    eventually(Duration::from_secs(20), || {
        let curl = ["curl", "-sS", "-i", "http://web:8000/headers"];
        let exec = ["exec", "-n", namespace, "deploy/web", "-c", "web", "--"];
        let head = cluster.kubectl(&[&exec[..], &curl[..]].concat())?;
        ensure!(head.starts_with("HTTP/1.1 200") && head.to_lowercase().contains("x-envoy-"), "{head}");
        // The identity of the caller: the request went through two proxies and their TLS.
        ensure!(head.contains(&format!("spiffe://cluster.local/ns/{namespace}/sa/default")), "{head}");
        Ok(())
    })
}

/// The plugin passes over its own namespace: a pod of the mesh there is one that was faster than the plugin.
fn mended(cluster: &Cluster) -> Result<()> {
    cluster.apply_text(EARLY, &[])?;
    let ready = ["wait", "-n", "istio-system", "pod/early", "--for=condition=Ready", "--timeout=90s"];
    let waited = cluster.kubectl(&ready);
    let events = told_of_early(cluster, "RepairBrokenPod")?;
    cluster.kubectl(&["delete", "pod", "-n", "istio-system", "early"])?;
    waited?;
    ensure!(events.contains("its traffic is captured now"), "{events}");
    Ok(())
}

/// Who does not want pods mended has them labelled, or deleted so that their owner makes new ones.
fn marked_or_deleted(cluster: &Cluster, install: &[&str]) -> Result<()> {
    let reinstall = |way: &str| {
        let way = format!("cni.repair.{way}=true");
        cluster.lateen(&[install, &["--set", "cni.repair.repairPods=false", "--set", &way]].concat())
    };
    reinstall("labelPods")?;
    cluster.apply_text(EARLY, &[])?;
    eventually(PATIENCE, || {
        let label = cluster.value(
            &["pod", "early", "-n", "istio-system"],
            "{.metadata.labels.cni\\.istio\\.io/uninitialized}",
        )?;
        ensure!(label == "true", "the broken pod bears no label");
        Ok(())
    })?;
    ensure!(told_of_early(cluster, "LabelBrokenPod")?.contains("it is labelled"), "no event of the label");
    reinstall("deletePods")?;
    eventually(PATIENCE, || {
        let left = cluster.kubectl(&["get", "pod", "early", "-n", "istio-system", "--ignore-not-found"])?;
        ensure!(left.is_empty(), "the broken pod is still there: {left}");
        Ok(())
    })?;
    ensure!(told_of_early(cluster, "DeleteBrokenPod")?.contains("it is deleted"), "no event of the deletion");
    cluster.lateen(install)?;
    Ok(())
}

fn told_of_early(cluster: &Cluster, reason: &str) -> Result<String> {
    let about = format!("involvedObject.name=early,reason={reason}");
    cluster.kubectl(&["get", "events", "-n", "istio-system", "--field-selector", &about])
}

/// A pod on the host's network is left alone, and its owner is told.
fn told(cluster: &Cluster) -> Result<()> {
    cluster.kubectl(&["create", "namespace", "outside"])?;
    cluster.kubectl(&["label", "namespace", "outside", "istio-injection=enabled"])?;
    let pod = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: host, namespace: outside}\nspec: {selector: \
        {matchLabels: {app: host}}, template: {metadata: {labels: {app: host}}, spec: {hostNetwork: true, \
        containers: [{name: sleep, image: 'docker.io/curlimages/curl:8.16.0', command: [/bin/sleep, infinity]}]}}}\n";
    cluster.apply_text(pod, &[])?;
    cluster.wait_deployments("outside")?;
    let containers = cluster.value(&["pods", "-n", "outside"], "{.items[0].spec.containers[*].name}")?;
    ensure!(containers == "sleep", "{containers}");
    eventually(Duration::from_secs(20), || {
        let reason = "reason=SidecarInjectionSkipped";
        let events = cluster.kubectl(&["get", "events", "-n", "outside", "--field-selector", reason])?;
        ensure!(events.contains("host's network") && events.contains("replicaset/host-"), "{events}");
        Ok(())
    })
}

/// Without the mesh the node makes pods as before.
fn gone(cluster: &Cluster) -> Result<()> {
    cluster.kubectl(&["label", "namespace", "outside", "istio-injection-"])?;
    cluster.lateen(&["uninstall", "--purge", "-y"])?;
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: plain, namespace: outside}\nspec: {containers: \
        [{name: sleep, image: 'docker.io/curlimages/curl:8.16.0', command: [/bin/sleep, infinity]}]}\n";
    cluster.apply_text(pod, &[])?;
    eventually(PATIENCE, || {
        let phase = cluster.value(&["pod", "plain", "-n", "outside"], "{.status.phase}")?;
        ensure!(phase == "Running", "{phase}");
        Ok(())
    })
}
