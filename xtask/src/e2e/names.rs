//! DNS capture: hosts that only the mesh knows, with redirection by the init container and by the CNI plugin, and while the
//! control plane is away.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::cluster::{Cluster, eventually, path};

const SAMPLE: &str = "samples/dns/names.yaml";
const PATIENCE: Duration = Duration::from_secs(30);

/// Walks through.
pub fn run(cluster: &Cluster) -> Result<()> {
    let (bin, conf) = cluster.cni_folders();
    let (bin, conf) = (format!("cni.cniBinDir={bin}"), format!("cni.cniConfDir={conf}"));
    let plugin = ["--set", "cni.enabled=true", "--set", &bin, "--set", &conf];
    let result = walk(cluster, &[]).and_then(|()| walk(cluster, &plugin));
    cluster.kubectl(&["delete", "-f", &path(SAMPLE), "--ignore-not-found"])?;
    result
}

fn walk(cluster: &Cluster, more: &[&str]) -> Result<()> {
    cluster.lateen(&[&["install", "-y", "--profile", "minimal"], more].concat())?;
    cluster.inject("default")?;
    eventually(PATIENCE, || cluster.apply(SAMPLE))?;
    cluster.wait_deployments("default")?;
    let init = "{.items[0].spec.initContainers[0].name}";
    println!("captured by {}", cluster.value(&["pods", "-l", "app=client"], init)?);
    called(cluster)?;
    let istiod = ["-n", "istio-system", "deployment/istiod"];
    cluster.kubectl(&[&["scale", "--replicas=0"], &istiod[..]].concat())?;
    cluster.kubectl(&[
        "wait",
        "--for=delete",
        "pod",
        "-n",
        "istio-system",
        "-l",
        "app=istiod",
        "--timeout=60s",
    ])?;
    called(cluster)?;
    cluster.kubectl(&[&["scale", "--replicas=1"], &istiod[..]].concat())?;
    cluster.kubectl(&["delete", "-f", &path(SAMPLE)])?;
    cluster.kubectl(&["wait", "--for=delete", "pod", "-l", "app=client", "--timeout=60s"])?;
    Ok(())
}

fn called(cluster: &Cluster) -> Result<()> {
    let get = |url: &str| {
        cluster.kubectl(&["exec", "deploy/client", "-c", "client", "--", "curl", "-sS", "-m", "8", url])
    };
    for host in ["address.internal", "some.wild.internal", "one.internal:9000", "httpbin:8000"] {
        eventually(PATIENCE, || {
            let answer = get(&format!("http://{host}/anything/named"))?;
            ensure!(answer.contains("/anything/named"), "{host}: {answer}");
            Ok(())
        })?;
    }
    // Another service, on which nobody listens; and a name that the cluster's own name server does not know.
    for host in ["two.internal:9000", "nosuch.default.svc.cluster.local"] {
        let answer = get(&format!("http://{host}/anything/named")).unwrap_or_default();
        ensure!(!answer.contains("/anything/named"), "{host}: {answer}");
    }
    Ok(())
}
