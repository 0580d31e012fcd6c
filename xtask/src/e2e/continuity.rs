//! Nothing that happens to the control plane, and no rollout of an application, costs a request; pods outside of the mesh
//! do not need the control plane.

use std::time::Duration;

use anyhow::{Result, ensure};
use lateen_testkit::http;

use super::bookinfo::{Bookinfo, Stars};
use super::cluster::{Cluster, eventually};
use super::load::Load;

/// By way of the gateway, the product page and ratings: three proxies.
const LIGHT: &str = "/api/v1/products/0/ratings";
/// And details, reviews.
const PAGE: &str = "/productpage";
const INSTALL: [&str; 4] = ["install", "-y", "--profile", "demo"];
const CONTROL: [&str; 4] = ["-n", "istio-system", "-l", "app=istiod"];

/// Kills, scales and upgrades the control plane, restarts Bookinfo, and runs a Job.
pub fn run(cluster: &Cluster) -> Result<()> {
    cluster.install(&[])?;
    cluster.inject("default")?;
    eventually(Duration::from_secs(20), || cluster.apply("samples/bookinfo/bookinfo.yaml"))?;
    cluster.wait_deployments("default")?;
    cluster.apply("samples/bookinfo/gateway.yaml")?;
    cluster.apply("samples/bookinfo/destination-rule-all.yaml")?;
    let bookinfo = Bookinfo { cluster, address: cluster.gateway("istio-system", "istio-ingressgateway")? };
    for path in [PAGE, LIGHT] {
        eventually(Duration::from_secs(30), || {
            let status = http::get(&bookinfo.address, path)?.status;
            ensure!(status == 200, "{path}: status {status}");
            Ok(())
        })?;
    }
    under_load(&bookinfo, "control plane killed", LIGHT, || killed(&bookinfo))?;
    under_load(&bookinfo, "control plane away", LIGHT, || away(&bookinfo))?;
    under_load(&bookinfo, "control plane scaled 1-3-1", LIGHT, || scaled(&bookinfo))?;
    under_load(&bookinfo, "Bookinfo restarted", PAGE, || restart(cluster, "default"))?;
    under_load(&bookinfo, "upgraded by revision", LIGHT, || upgraded(&bookinfo))?;
    job(cluster)?;
    under_load(&bookinfo, "went back to the first revision", LIGHT, || went_back(&bookinfo))?;
    cluster.nothing_was_refused()
}

fn under_load(
    bookinfo: &Bookinfo<'_>,
    what: &str,
    path: &str,
    work: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let rate = if path == PAGE { bookinfo.cluster.rate / 5 } else { bookinfo.cluster.rate };
    let load = Load::start(&bookinfo.address, path, rate);
    let worked = work();
    let loaded = load.finish(what, rate);
    worked.and(loaded)
}

/// Configuration reaches the proxies: everybody sees the version that is asked for.
fn is_led(bookinfo: &Bookinfo<'_>, sample: &str, stars: Stars) -> Result<()> {
    eventually(Duration::from_secs(60), || bookinfo.cluster.apply(sample))?;
    eventually(Duration::from_secs(60), || {
        let seen = bookinfo.share(10, stars)?;
        ensure!(seen == 10, "{seen} of 10 pages have {stars:?} stars");
        Ok(())
    })
}

const ALL_V1: &str = "samples/bookinfo/virtual-service-all-v1.yaml";
const ALL_V3: &str = "samples/bookinfo/virtual-service-reviews-v3.yaml";

fn killed(bookinfo: &Bookinfo<'_>) -> Result<()> {
    let cluster = bookinfo.cluster;
    cluster.kubectl(&[&["delete", "pod", "--grace-period=0", "--force"], &CONTROL[..]].concat())?;
    cluster.kubectl(&["rollout", "status", "deployment/istiod", "-n", "istio-system", "--timeout=90s"])?;
    is_led(bookinfo, ALL_V1, Stars::None)
}

/// Nobody answers the webhooks: pods outside of the mesh start all the same, pods inside wait for their sidecar.
fn away(bookinfo: &Bookinfo<'_>) -> Result<()> {
    let cluster = bookinfo.cluster;
    cluster.kubectl(&["scale", "deployment/istiod", "-n", "istio-system", "--replicas=0"])?;
    cluster.kubectl(&[&["wait", "pod", "--for=delete", "--timeout=60s"], &CONTROL[..]].concat())?;
    cluster.kubectl(&["create", "namespace", "by-hand"])?;
    let pod = |namespace: &str| {
        let image = "--image=docker.io/curlimages/curl:8.16.0";
        cluster.kubectl(&["run", "idle", "-n", namespace, image, "--command", "--", "sleep", "infinity"])
    };
    eventually(Duration::from_secs(20), || pod("by-hand"))?;
    cluster.kubectl(&["wait", "pod/idle", "-n", "by-hand", "--for=condition=Ready", "--timeout=60s"])?;
    let refused = pod("default");
    ensure!(
        refused.as_ref().is_err_and(|error| error.to_string().contains("webhook")),
        "a pod of the mesh without a sidecar: {refused:?}"
    );
    cluster.kubectl(&["scale", "deployment/istiod", "-n", "istio-system", "--replicas=1"])?;
    cluster.kubectl(&["rollout", "status", "deployment/istiod", "-n", "istio-system", "--timeout=90s"])?;
    is_led(bookinfo, ALL_V3, Stars::Red)
}

fn scaled(bookinfo: &Bookinfo<'_>) -> Result<()> {
    for (replicas, sample, stars) in [("3", ALL_V3, Stars::Red), ("1", ALL_V1, Stars::None)] {
        let to = format!("--replicas={replicas}");
        let istiod = ["deployment/istiod", "-n", "istio-system"];
        bookinfo.cluster.kubectl(&[&["scale", &*to], &istiod[..]].concat())?;
        bookinfo.cluster.kubectl(&[&["rollout", "status", "--timeout=90s"], &istiod[..]].concat())?;
        is_led(bookinfo, sample, stars)?;
    }
    Ok(())
}

/// Every Deployment of a namespace, one after another.
fn restart(cluster: &Cluster, namespace: &str) -> Result<()> {
    let listed = cluster.kubectl(&["get", "deployments", "-n", namespace, "-o", "name"])?;
    for deployment in listed.lines() {
        cluster.kubectl(&["rollout", "restart", deployment, "-n", namespace])?;
        cluster.kubectl(&["rollout", "status", deployment, "-n", namespace, "--timeout=120s"])?;
    }
    Ok(())
}

/// A second control plane beside the first; gateways and applications move over; the first goes.
fn upgraded(bookinfo: &Bookinfo<'_>) -> Result<()> {
    bookinfo
        .cluster
        .lateen(&[&INSTALL[..], &["--revision", "canary", "--set", "defaultRevision=canary"]].concat())?;
    moved(bookinfo, ["istio-injection-", "istio.io/rev=canary"], "default")?;
    is_led(bookinfo, ALL_V3, Stars::Red)
}

/// Back to the first, which takes its gateways back.
fn went_back(bookinfo: &Bookinfo<'_>) -> Result<()> {
    bookinfo.cluster.lateen(&INSTALL)?;
    moved(bookinfo, ["istio.io/rev-", "istio-injection=enabled"], "canary")?;
    is_led(bookinfo, ALL_V1, Stars::None)
}

/// The applications of the namespace go over to the revision that its new labels select; the old one goes.
fn moved(bookinfo: &Bookinfo<'_>, labels: [&str; 2], old: &str) -> Result<()> {
    let cluster = bookinfo.cluster;
    cluster.kubectl(&[&["label", "namespace", "default", "--overwrite"], &labels[..]].concat())?;
    restart(cluster, "default")?;
    cluster.lateen(&["uninstall", "-y", "--revision", old])?;
    let of_the_old = format!("istio.io/rev={old}");
    eventually(Duration::from_secs(60), || {
        let left =
            cluster.kubectl(&["get", "pods", "-n", "istio-system", "-l", &of_the_old, "-o", "name"])?;
        ensure!(left.is_empty(), "of the old revision: {left}");
        Ok(())
    })
}

/// A Job in the mesh ends, and was in the mesh.
fn job(cluster: &Cluster) -> Result<()> {
    let job = "apiVersion: batch/v1\nkind: Job\nmetadata: {name: caller}\nspec:\n  backoffLimit: 0\n  template:\n    \
        metadata: {labels: {istio.io/rev: canary, sidecar.istio.io/inject: \"true\"}}\n    spec:\n      \
        restartPolicy: Never\n      containers:\n      - name: caller\n        \
        image: docker.io/curlimages/curl:8.16.0\n        \
        args: [-sS, --fail, -o, /dev/null, -w, \"%{http_code}\", \"http://productpage:9080/productpage\"]\n";
    cluster.apply_text(job, &[])?;
    cluster.kubectl(&["wait", "--for=condition=Complete", "job/caller", "--timeout=90s"])?;
    let said = cluster.kubectl(&["logs", "job/caller", "-c", "caller"])?;
    ensure!(said.trim() == "200", "the Job was answered {said:?}");
    let pod = cluster.value(&["pods", "-l", "job-name=caller"], "{.items[0].spec.initContainers[*].name}")?;
    ensure!(pod.contains("istio-proxy"), "the Job ran without a sidecar: {pod}");
    cluster.kubectl(&["delete", "job", "caller"]).map(drop)
}
