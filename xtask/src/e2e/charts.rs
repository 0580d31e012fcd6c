//! Helm's own life of a release: install, upgrade, uninstall; the chart of everything, and the charts one by one.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::cluster::{Cluster, eventually, path};

const WAIT: [&str; 5] = ["-n", "istio-system", "--wait", "--timeout", "3m"];

/// Walks through.
pub fn run(cluster: &Cluster) -> Result<()> {
    everything(cluster)?;
    // What Helm leaves belongs to its release: another would have to say --take-ownership.
    cluster.clean()?;
    one_by_one(cluster)
}

fn helm(cluster: &Cluster, verb: &str, release: &str, chart: &str, more: &[&str]) -> Result<String> {
    let chart = path(&format!("charts/{chart}"));
    cluster.helm(&[&[verb, release, &*chart], &WAIT[..], more].concat())
}

fn everything(cluster: &Cluster) -> Result<()> {
    helm(cluster, "install", "istio", "istio", &["--create-namespace"])?;
    eventually(Duration::from_secs(30), || closed(cluster))?;
    let more =
        ["--set", "pilot.autoscaleEnabled=false,pilot.replicaCount=2,meshConfig.accessLogFile=/dev/stdout"];
    helm(cluster, "upgrade", "istio", "istio", &more)?;
    let ready = cluster.value(&["deployment", "istiod", "-n", "istio-system"], "{.status.readyReplicas}")?;
    ensure!(ready == "2", "{ready} control planes are ready after the upgrade");
    let holder = cluster.value(&["lease", "istio-leader", "-n", "istio-system"], "{.spec.holderIdentity}")?;
    ensure!(holder.starts_with("istiod-"), "nobody leads: {holder:?}");
    eventually(Duration::from_secs(30), || closed(cluster))?;
    refuses_nonsense(cluster)?;
    may_do_no_more_than_it_does(cluster)?;
    cluster.nothing_was_refused()?;
    uninstall(cluster, &["istio"])
}

/// What the control plane's account is asked for when somebody has stolen it: it has no right to any of this.
fn may_do_no_more_than_it_does(cluster: &Cluster) -> Result<()> {
    let account = "--as=system:serviceaccount:istio-system:istiod";
    for (verb, resource, namespace) in [
        ("create", "pods", "default"),
        ("delete", "pods", "istio-system"),
        ("patch", "deployments.apps", "istio-system"),
        ("create", "secrets", "default"),
        ("patch", "secrets/cacerts", "istio-system"),
        ("delete", "secrets/istio-ca-secret", "istio-system"),
        ("patch", "configmaps/kube-root-ca.crt", "default"),
        ("delete", "configmaps/istio-ca-root-cert", "default"),
        ("create", "clusterroles.rbac.authorization.k8s.io", "default"),
        ("delete", "mutatingwebhookconfigurations.admissionregistration.k8s.io", "default"),
        ("patch", "virtualservices.networking.istio.io", "default"),
        ("create", "certificatesigningrequests.certificates.k8s.io", "default"),
        ("impersonate", "users", "default"),
    ] {
        let asked = cluster.kubectl(&["auth", "can-i", verb, resource, "-n", namespace, account]);
        ensure!(asked.is_err(), "the control plane may {verb} {resource}");
    }
    let own = cluster.kubectl(&[
        "auth",
        "can-i",
        "patch",
        "configmaps/istio-ca-root-cert",
        "-n",
        "default",
        account,
    ])?;
    ensure!(own.trim() == "yes", "the control plane may not keep the root certificate: {own}");
    Ok(())
}

fn one_by_one(cluster: &Cluster) -> Result<()> {
    helm(cluster, "install", "base", "base", &["--create-namespace"])?;
    helm(cluster, "install", "istiod", "istiod", &[])?;
    helm(cluster, "install", "istio-eastwest", "gateway", &["--set", "service.type=ClusterIP"])?;
    let label =
        cluster.value(&["deployment", "istio-eastwest", "-n", "istio-system"], "{.metadata.labels.istio}")?;
    ensure!(label == "eastwest", "{label}");
    uninstall(cluster, &["istio-eastwest", "istiod", "base"])
}

/// The control plane closes validation once it answers, and puts its CA into every webhook.
fn closed(cluster: &Cluster) -> Result<()> {
    let policies =
        cluster.value(&["validatingwebhookconfigurations"], "{.items[*].webhooks[*].failurePolicy}")?;
    ensure!(!policies.contains("Ignore"), "validation is open");
    for kind in ["mutatingwebhookconfigurations", "validatingwebhookconfigurations"] {
        let path = "{range .items[*].webhooks[*]}[{.clientConfig.caBundle}]{end}";
        ensure!(!cluster.value(&[kind], path)?.contains("[]"), "a webhook of {kind} has no CA");
    }
    Ok(())
}

fn refuses_nonsense(cluster: &Cluster) -> Result<()> {
    let nonsense = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: nonsense}\n\
        spec: {hosts: [a], http: [{route: [{destination: {host: a}, weight: -1}]}]}\n";
    ensure!(
        cluster.apply_text(nonsense, &[]).is_err(),
        "a VirtualService with a negative weight is accepted"
    );
    Ok(())
}

fn uninstall(cluster: &Cluster, releases: &[&str]) -> Result<()> {
    for release in releases {
        cluster.helm(&[&["uninstall", release], &WAIT[..]].concat())?;
    }
    let kinds = "clusterrole,clusterrolebinding,mutatingwebhookconfiguration,validatingwebhookconfiguration";
    let left = cluster.kubectl(&["get", kinds, "-l", "app.kubernetes.io/part-of=istio", "-o", "name"])?;
    ensure!(left.is_empty(), "left behind: {left}");
    let definitions =
        cluster.kubectl(&["get", "crd", "-l", "app.kubernetes.io/part-of=istio", "-o", "name"])?;
    ensure!(!definitions.is_empty(), "the definitions went with the release, and users' resources with them");
    Ok(())
}
