//! `lateen install`, and an external and an internal ingress gateway side by side.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::bookinfo::Bookinfo;
use super::cluster::{Cluster, eventually};
use super::outside::Outside;

const NAMESPACE: &str = "aks-istio-ingress";
const EXTERNAL: &str = "aks-istio-ingressgateway-external";
const INTERNAL: &str = "aks-istio-ingressgateway-internal";
const LOGGED: &str = "meshConfig.accessLogFile=/dev/stdout";

/// Walks through.
pub fn run(cluster: &Cluster) -> Result<()> {
    println!("{}", cluster.lateen(&["x", "precheck"])?);
    println!("{}", cluster.lateen(&["install", "-y", "--profile", "minimal", "--set", LOGGED])?);
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

    keeps_the_clients_address(cluster, &bookinfo, outside.as_ref())?;
    if let Some(outside) = &outside {
        lets_in_ranges(cluster, outside, &external)?;
    }
    is_placed_and_revised(cluster)?;
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

/// `externalTrafficPolicy: Local`, set as the tutorial does: the gateway's log tells the client's own address.
fn keeps_the_clients_address(
    cluster: &Cluster,
    bookinfo: &Bookinfo<'_>,
    outside: Option<&Outside>,
) -> Result<()> {
    let patch = r#"{"spec": {"externalTrafficPolicy": "Local"}}"#;
    cluster.kubectl(&["patch", "service", EXTERNAL, "-n", NAMESPACE, "--type", "merge", "--patch", patch])?;
    eventually(Duration::from_secs(20), || bookinfo.has_title())?;
    let Some(outside) = outside else { return Ok(()) };
    ensure!(outside.reaches(&bookinfo.address)?, "the external gateway does not answer from outside");
    eventually(Duration::from_secs(20), || {
        let log = cluster.kubectl(&["logs", "-n", NAMESPACE, &format!("deploy/{EXTERNAL}")])?;
        ensure!(
            log.contains(&format!("{}:", Outside::ADDRESS)),
            "the client's address is not in the log: {log}"
        );
        Ok(())
    })
}

/// `loadBalancerSourceRanges`: who is in none of them gets no answer.
fn lets_in_ranges(cluster: &Cluster, outside: &Outside, external: &str) -> Result<()> {
    for (range, reached) in [("198.51.100.0/24", false), ("203.0.113.0/24", true)] {
        enable_external(cluster, &[&format!("service.loadBalancerSourceRanges[0]={range}")])?;
        eventually(Duration::from_secs(30), || {
            ensure!(outside.reaches(external)? == reached, "source range {range}: reached is not {reached}");
            Ok(())
        })?;
    }
    Ok(())
}

/// Node affinity, and the Deployments of two revisions side by side behind one Service.
fn is_placed_and_revised(cluster: &Cluster) -> Result<()> {
    let terms = "affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0]";
    let expression = format!("{terms}.matchExpressions[0]");
    enable_external(
        cluster,
        &[
            &format!("{expression}.key=kubernetes.io/os"),
            &format!("{expression}.operator=In"),
            &format!("{expression}.values[0]=linux"),
        ],
    )?;
    let deployment = ["deployment", EXTERNAL, "-n", NAMESPACE];
    let affinity = cluster.value(&deployment, "{.spec.template.spec.affinity.nodeAffinity}")?;
    ensure!(affinity.contains("kubernetes.io/os"), "{affinity}");
    cluster.lateen(&["install", "-y", "--profile", "minimal", "--revision", "next", "--set", LOGGED])?;
    let next = ["gateway", "enable", "external", "--revision", "next", "--set", "autoscaling.minReplicas=1"];
    cluster.lateen(&next)?;
    let deployments = cluster.kubectl(&["get", "deployment", "-n", NAMESPACE, "-o", "name"])?;
    ensure!(
        deployments.contains(&format!("{EXTERNAL}-next")),
        "no Deployment of the revision: {deployments}"
    );
    eventually(Duration::from_secs(60), || {
        let label = format!("kubernetes.io/service-name={EXTERNAL}");
        let slices = ["endpointslices", "-n", NAMESPACE, "-l", &label];
        let ready =
            cluster.value(&slices, "{.items[*].endpoints[?(@.conditions.ready==true)].targetRef.name}")?;
        ensure!(ready.split_whitespace().count() == 2, "the Service has endpoints {ready}");
        Ok(())
    })
}

fn enable_external(cluster: &Cluster, sets: &[&str]) -> Result<()> {
    let mut arguments = vec!["gateway", "enable", "external", "--set", "autoscaling.minReplicas=1"];
    arguments.extend(sets.iter().flat_map(|set| ["--set", *set]));
    cluster.lateen(&arguments)?;
    Ok(())
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
