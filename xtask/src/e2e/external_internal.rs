//! `lateen install`, and an external and an internal ingress gateway side by side.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::bookinfo::Bookinfo;
use super::cluster::{Cluster, eventually};
use super::outside::Outside;

const NAMESPACE: &str = "aks-istio-ingress";
const EXTERNAL: &str = "aks-istio-ingressgateway-external";
const INTERNAL: &str = "aks-istio-ingressgateway-internal";

/// Walks through.
pub fn run(cluster: &Cluster) -> Result<()> {
    println!("{}", cluster.lateen(&["x", "precheck"])?);
    println!("{}", cluster.lateen(&["install", "-y", "--profile", "minimal"])?);
    cluster.kubectl(&["label", "namespace", "default", "istio-injection=enabled"])?;
    eventually(Duration::from_secs(20), || cluster.apply("samples/bookinfo/bookinfo.yaml"))?;
    cluster.apply("samples/sleep/sleep.yaml")?;
    cluster.wait_deployments("default")?;
    let outside = Outside::open()?;

    cluster.lateen(&["gateway", "enable", "external", "--set", "autoscaling.minReplicas=1"])?;
    cluster.apply("samples/bookinfo/gateway-external.yaml")?;
    let external = address(cluster, EXTERNAL)?;
    let bookinfo = Bookinfo { cluster, address: external.clone() };
    eventually(Duration::from_secs(30), || bookinfo.has_title())?;

    cluster.lateen(&["gateway", "enable", "internal", "--set", "autoscaling.minReplicas=1"])?;
    cluster.apply("samples/bookinfo/gateway-internal.yaml")?;
    let internal = address(cluster, INTERNAL)?;
    let annotations = cluster.value(&["service", INTERNAL, "-n", NAMESPACE], "{.metadata.annotations}")?;
    ensure!(annotations.contains("azure-load-balancer-internal"), "{annotations}");
    eventually(Duration::from_secs(30), || from_a_pod(cluster, &internal))?;
    if let Some(outside) = &outside {
        ensure!(outside.reaches(&external)?, "the external gateway does not answer from outside");
        ensure!(!outside.reaches(&internal)?, "the internal gateway answers from outside");
    }

    keeps_the_clients_address(cluster, &bookinfo)?;
    cluster.nothing_was_refused()?;
    cluster.lateen(&["gateway", "disable", "internal"])?;
    cluster.lateen(&["gateway", "disable", "external"])?;
    let left = cluster.kubectl(&["get", "svc,deploy,sa,hpa,pdb", "-n", NAMESPACE, "-o", "name"])?;
    ensure!(!left.contains("aks-istio"), "left behind: {left}");
    cluster.kubectl(&[
        "delete",
        "gateways.networking.istio.io,virtualservices.networking.istio.io",
        "--all",
    ])?;
    leaves_nothing(cluster)
}

/// The load balancer's address and port, as the tutorial reads them.
fn address(cluster: &Cluster, service: &str) -> Result<String> {
    let service = ["service", service, "-n", NAMESPACE];
    let ip = eventually(Duration::from_secs(60), || {
        let ip = cluster.value(&service, "{.status.loadBalancer.ingress[0].ip}")?;
        ensure!(!ip.is_empty(), "no load balancer's address");
        Ok(ip)
    })?;
    let port = cluster.value(&service, "{.spec.ports[?(@.name==\"http2\")].port}")?;
    Ok(format!("{ip}:{port}"))
}

fn from_a_pod(cluster: &Cluster, address: &str) -> Result<()> {
    let url = format!("http://{address}/productpage");
    let page = cluster.kubectl(&["exec", "deploy/sleep", "-c", "sleep", "--", "curl", "-sS", &url])?;
    ensure!(page.contains("<title>Simple Bookstore App</title>"), "no title from a pod: {page}");
    Ok(())
}

/// `externalTrafficPolicy: Local`, set as the tutorial does.
fn keeps_the_clients_address(cluster: &Cluster, bookinfo: &Bookinfo<'_>) -> Result<()> {
    let patch = r#"{"spec": {"externalTrafficPolicy": "Local"}}"#;
    cluster.kubectl(&["patch", "service", EXTERNAL, "-n", NAMESPACE, "--type", "merge", "--patch", patch])?;
    eventually(Duration::from_secs(20), || bookinfo.has_title())
}

fn leaves_nothing(cluster: &Cluster) -> Result<()> {
    cluster.lateen(&["uninstall", "-y", "--purge"])?;
    let kinds =
        "crd,clusterrole,clusterrolebinding,mutatingwebhookconfiguration,validatingwebhookconfiguration";
    eventually(Duration::from_secs(60), || {
        let left = cluster.kubectl(&["get", kinds, "-o", "name"])?;
        let left: Vec<&str> = left.lines().filter(|name| name.contains("istio")).collect();
        ensure!(left.is_empty(), "left behind: {}", left.join(", "));
        let maps = cluster.kubectl(&["get", "configmap", "-A", "-o", "name"])?;
        ensure!(!maps.contains("istio"), "left behind: {maps}");
        Ok(())
    })
}
