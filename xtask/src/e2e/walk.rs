//! The tutorial: Helm's template with NodePorts, injection by label and by hand, Bookinfo, and its routing.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::bookinfo::{Bookinfo, Stars};
use super::cluster::{Cluster, eventually, path};

const NODE_PORTS: [&str; 4] = [
    "--set",
    "gateways.istio-ingressgateway.type=NodePort",
    "--set",
    "gateways.istio-egressgateway.type=NodePort",
];

/// Walks through.
pub fn run(cluster: &Cluster) -> Result<()> {
    install(cluster)?;
    automatic(cluster)?;
    by_hand(cluster)?;
    cluster.apply("samples/bookinfo/bookinfo.yaml")?;
    cluster.wait_deployments("default")?;
    cluster.apply("samples/bookinfo/gateway.yaml")?;
    let address = cluster.node()?;
    let port = cluster.value(
        &["service", "istio-ingressgateway", "-n", "istio-system"],
        "{.spec.ports[?(@.name==\"http2\")].nodePort}",
    )?;
    let bookinfo = Bookinfo { cluster, address: format!("{address}:{port}") };
    eventually(Duration::from_secs(30), || bookinfo.has_title())?;
    routing(&bookinfo)?;
    faults(&bookinfo)?;
    weights(&bookinfo)?;
    cluster.nothing_was_refused()
}

fn install(cluster: &Cluster) -> Result<()> {
    let chart = path("charts/istio");
    let mut arguments = vec!["template", "istio", &*chart, "--namespace", "istio-system"];
    arguments.extend(NODE_PORTS);
    let proxy = cluster.proxy_values();
    proxy.iter().for_each(|value| arguments.extend(["--set", value]));
    let manifest = cluster.helm(&arguments)?;
    cluster.kubectl(&["create", "namespace", "istio-system"])?;
    cluster.apply_text(&manifest, &["--dry-run=server", "-n", "istio-system"])?;
    cluster.apply_text(&manifest, &[])?;
    cluster.wait_deployments("istio-system")
}

fn automatic(cluster: &Cluster) -> Result<()> {
    cluster.kubectl(&["label", "namespace", "default", "istio-injection=enabled"])?;
    eventually(Duration::from_secs(20), || cluster.apply("samples/sleep/sleep.yaml"))?;
    cluster.wait_deployments("default")?;
    let described = cluster.kubectl(&["describe", "pod", "-l", "app=sleep"])?;
    for part in
        ["istio-init", "istio-proxy", "-p", "15001", "15006", "ISTIO_META_WORKLOAD_NAME", "ISTIO_META_OWNER"]
    {
        ensure!(described.contains(part), "`kubectl describe` does not show {part}:\n{described}");
    }
    let ready = cluster.kubectl(&["get", "pods", "-l", "app=sleep", "--no-headers"])?;
    ensure!(ready.contains("2/2"), "{ready}");
    let own = "lateen/";
    let info = ["exec", "deploy/sleep", "-c", "sleep", "--", "curl", "-s", "localhost:15000/server_info"];
    let info = cluster.kubectl(&info)?;
    ensure!(
        info.contains(own) == cluster.proxy_values().is_empty(),
        "another proxy than was asked for: {info}"
    );
    Ok(())
}

fn by_hand(cluster: &Cluster) -> Result<()> {
    cluster.kubectl(&["create", "namespace", "by-hand"])?;
    let injected = cluster.lateen(&["kube-inject", "-f", &path("samples/sleep/sleep.yaml")])?;
    cluster.apply_text(&injected, &["-n", "by-hand"])?;
    cluster.wait_deployments("by-hand")?;
    let ready = cluster.kubectl(&["get", "pods", "-n", "by-hand", "--no-headers"])?;
    ensure!(ready.contains("2/2"), "{ready}");
    Ok(())
}

fn routing(bookinfo: &Bookinfo<'_>) -> Result<()> {
    let cluster = bookinfo.cluster;
    for stars in [Stars::None, Stars::Black, Stars::Red] {
        let seen = bookinfo.share(60, stars)?;
        ensure!((5..=40).contains(&seen), "{stars:?} stars {seen} times of 60 without rules");
    }
    cluster.apply("samples/bookinfo/destination-rule-all.yaml")?;
    cluster.apply("samples/bookinfo/virtual-service-all-v1.yaml")?;
    eventually(Duration::from_secs(15), || {
        ensure!(bookinfo.share(20, Stars::None)? == 20, "others than v1");
        Ok(())
    })?;
    ensure!(bookinfo.share(100, Stars::None)? == 100, "v1 alone does not answer");
    cluster.apply("samples/bookinfo/virtual-service-reviews-test-v2.yaml")?;
    bookinfo.sees(&bookinfo.sign_in("jason")?, Stars::Black)?;
    ensure!(bookinfo.share(20, Stars::None)? == 20, "others than jason see v2");
    Ok(())
}

fn faults(bookinfo: &Bookinfo<'_>) -> Result<()> {
    let session = bookinfo.sign_in("jason")?;
    bookinfo.cluster.apply("samples/bookinfo/virtual-service-ratings-test-delay.yaml")?;
    bookinfo.reads(&session, "Sorry, product reviews are currently unavailable for this book.")?;
    let (status, seconds) = bookinfo.call_ratings(&["end-user: jason"])?;
    ensure!(status == 200 && (6.5..8.0).contains(&seconds), "status {status} after {seconds} s");
    bookinfo.cluster.apply("samples/bookinfo/virtual-service-ratings-test-abort.yaml")?;
    bookinfo.reads(&session, "Ratings service is currently unavailable")?;
    let (status, _) = bookinfo.call_ratings(&["end-user: jason"])?;
    ensure!(status == 500, "status {status} instead of 500");
    let (status, _) = bookinfo.call_ratings(&[])?;
    ensure!(status == 200, "status {status} for others than jason");
    Ok(())
}

fn weights(bookinfo: &Bookinfo<'_>) -> Result<()> {
    let cases = [
        ("samples/bookinfo/virtual-service-reviews-50-v3.yaml", Stars::Red, 200..=300),
        ("samples/bookinfo/virtual-service-reviews-80-20.yaml", Stars::Black, 60..=140),
    ];
    for (sample, stars, range) in cases {
        bookinfo.cluster.apply(sample)?;
        eventually(Duration::from_secs(15), || {
            ensure!(bookinfo.share(30, stars)? > 0, "no {stars:?} stars yet");
            Ok(())
        })?;
        let seen = bookinfo.share(500, stars)?;
        println!("{sample}: {seen} of 500");
        ensure!(range.contains(&seen), "{stars:?} stars {seen} times of 500");
    }
    Ok(())
}
