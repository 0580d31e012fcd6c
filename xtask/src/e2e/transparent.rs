//! Applications that see their clients' addresses: `sidecar.istio.io/interceptionMode: TPROXY`.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::cluster::{Cluster, eventually};

const NAMESPACE: &str = "transparent";
const CURL: &str = "docker.io/curlimages/curl:8.16.0";

/// Walks through.
pub fn run(cluster: &Cluster) -> Result<()> {
    cluster.install(&[])?;
    shown(cluster, "istio-init istio-proxy")
}

/// Shows it on a mesh that is installed; pods of this namespace get these init containers.
pub fn shown(cluster: &Cluster, init: &str) -> Result<()> {
    let result = walk(cluster, init);
    cluster.kubectl(&["delete", "namespace", NAMESPACE, "--ignore-not-found"])?;
    result
}

fn walk(cluster: &Cluster, init: &str) -> Result<()> {
    cluster.kubectl(&["create", "namespace", NAMESPACE])?;
    cluster.inject(NAMESPACE)?;
    let istiod = ["deployment", "istiod", "-n", "istio-system"];
    let image = cluster.value(&istiod, "{.spec.template.spec.containers[0].image}")?;
    let modes = ["REDIRECT", "TPROXY"];
    let mut items = vec![client("one"), client("two"), strict()];
    items.extend(modes.iter().flat_map(|mode| application(mode, &image)));
    cluster.apply_text(&json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string(), &[])?;
    cluster.wait_deployments(NAMESPACE)?;
    cluster.kubectl(&["wait", "--for=condition=Ready", "pod", "--all", "-n", NAMESPACE, "--timeout=90s"])?;
    let names = cluster
        .value(&["pods", "-n", NAMESPACE, "-l", "app=tproxy"], "{.items[0].spec.initContainers[*].name}")?;
    ensure!(names == init, "init containers {names}");
    for client in ["one", "two", "one"] {
        let own = cluster.value(&["pod", client, "-n", NAMESPACE], "{.status.podIP}")?;
        for (mode, expected) in [("redirect", "127.0.0.6"), ("tproxy", own.as_str())] {
            let seen = eventually(Duration::from_secs(20), || peer(cluster, client, mode))?;
            ensure!(seen == expected, "{mode}: {client} is seen as {seen}, and has {own}");
        }
    }
    cluster.nothing_was_refused()
}

/// Who calls, as the application's socket tells it.
fn peer(cluster: &Cluster, client: &str, service: &str) -> Result<String> {
    let url = format!("http://{service}:8080/");
    let exec = ["exec", "-n", NAMESPACE, client, "-c", "curl", "--", "curl", "-sS", "-m", "5", &url];
    let text = cluster.kubectl(&exec)?;
    let answer: Value = serde_json::from_str(&text).with_context(|| text.clone())?;
    Ok(answer["client"].as_str().unwrap_or_default().to_owned())
}

fn client(name: &str) -> Value {
    let container = json!({"name": "curl", "image": CURL, "command": ["/bin/sleep", "infinity"]});
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"containers": [container]},
    })
}

/// The mesh's own image knows an application that tells what it sees.
fn application(mode: &str, image: &str) -> [Value; 2] {
    let name = mode.to_lowercase();
    let container = json!({
        "name": "app", "image": image, "args": ["demo", "echo", "--port", "8080"],
        "ports": [{"containerPort": 8080}],
        "readinessProbe": {"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 1},
        "securityContext": {"runAsUser": 1000, "runAsGroup": 1000},
    });
    let annotations = json!({"sidecar.istio.io/interceptionMode": mode});
    let template = json!({
        "metadata": {"labels": {"app": name}, "annotations": annotations},
        "spec": {"containers": [container]},
    });
    let metadata = json!({"name": name, "namespace": NAMESPACE});
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata,
        "spec": {"selector": {"matchLabels": {"app": name}}, "template": template},
    });
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": metadata,
        "spec": {"selector": {"app": name}, "ports": [{"name": "http", "port": 8080}]},
    });
    [deployment, service]
}

fn strict() -> Value {
    json!({
        "apiVersion": "security.istio.io/v1", "kind": "PeerAuthentication",
        "metadata": {"name": "default", "namespace": NAMESPACE}, "spec": {"mtls": {"mode": "STRICT"}},
    })
}
