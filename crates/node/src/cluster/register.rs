//! The Node object and its heartbeat.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};

use super::NODE_NAME;
use crate::network::NODE_IP;
use crate::pod::{node_cpus, node_memory};

const LEASE_SECONDS: u64 = 40;
const RENEW: Duration = Duration::from_secs(10);
/// kubelet's default is 110; nothing here depends on a limit.
const MAX_PODS: u32 = 1000;

/// The node's labels.
pub(crate) fn labels() -> BTreeMap<String, String> {
    let arch = architecture();
    [
        ("kubernetes.io/hostname", NODE_NAME),
        ("kubernetes.io/os", "linux"),
        ("kubernetes.io/arch", arch),
        ("beta.kubernetes.io/os", "linux"),
        ("beta.kubernetes.io/arch", arch),
        ("topology.kubernetes.io/region", "local"),
        ("topology.kubernetes.io/zone", "local"),
    ]
    .map(|(k, v)| (k.to_owned(), v.to_owned()))
    .into()
}

/// Go's name of the architecture.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// Registers the node.
///
/// # Errors
/// The API server's refusal.
pub(crate) async fn register(client: &Client) -> Result<()> {
    let api: Api<Node> = Api::all(client.clone());
    let node: Node = serde_json::from_value(json!({
        "metadata": {"name": NODE_NAME, "labels": labels(), "annotations": {
            "node.alpha.kubernetes.io/ttl": "0",
            "volumes.kubernetes.io/controller-managed-attach-detach": "true",
        }},
        "spec": {"podCIDR": "10.244.0.0/16", "podCIDRs": ["10.244.0.0/16"]},
    }))?;
    match api.create(&PostParams::default(), &node).await {
        Err(kube::Error::Api(answer)) if answer.code == 409 => {
            let patch = Patch::Merge(json!({"metadata": {"labels": labels()}}));
            api.patch(NODE_NAME, &PatchParams::default(), &patch).await.context("update the Node")?;
        }
        outcome => drop(outcome.context("create the Node")?),
    }
    let patch = Patch::Merge(json!({"status": status()}));
    api.patch_status(NODE_NAME, &PatchParams::default(), &patch).await.context("set the Node's status")?;
    Ok(())
}

fn status() -> Value {
    let now = Timestamp::now();
    let condition = |kind: &str, is: bool, reason: &str, message: &str| {
        json!({"type": kind, "status": if is { "True" } else { "False" }, "reason": reason, "message": message,
            "lastHeartbeatTime": now, "lastTransitionTime": now})
    };
    let resources = json!({"cpu": format!("{}", node_cpus()),
        "memory": format!("{}Ki", (node_memory() / 1024.0) as u64), "pods": MAX_PODS.to_string()});
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    json!({
        "capacity": resources,
        "allocatable": resources,
        "addresses": [
            {"type": "InternalIP", "address": NODE_IP.to_string()},
            {"type": "Hostname", "address": NODE_NAME},
        ],
        "conditions": [
            condition("MemoryPressure", false, "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
            condition("DiskPressure", false, "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
            condition("PIDPressure", false, "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
            condition("Ready", true, "KubeletReady", "kubelet is posting ready status"),
        ],
        "nodeInfo": {
            "machineID": "", "systemUUID": "", "bootID": "",
            "kernelVersion": release.trim(),
            "osImage": os_name(),
            "containerRuntimeVersion": format!("lateen://{}", env!("CARGO_PKG_VERSION")),
            "kubeletVersion": format!("v1.34.0-lateen.{}", env!("CARGO_PKG_VERSION")),
            "kubeProxyVersion": "",
            "operatingSystem": "linux",
            "architecture": architecture(),
        },
    })
}

fn os_name() -> String {
    let text = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    name.map_or_else(|| "Linux".to_owned(), |name| name.trim_matches('"').to_owned())
}

/// Renews the node's lease for as long as the task lives.
pub(crate) async fn heartbeat(client: Client) {
    use k8s_openapi::api::coordination::v1::Lease;
    let api: Api<Lease> = Api::namespaced(client, "kube-node-lease");
    loop {
        let now = Timestamp::now();
        let spec = json!({"holderIdentity": NODE_NAME, "leaseDurationSeconds": LEASE_SECONDS,
            "renewTime": format!("{now:.6}")});
        let renewed =
            api.patch(NODE_NAME, &PatchParams::default(), &Patch::Merge(json!({"spec": spec}))).await;
        if let Err(kube::Error::Api(answer)) = &renewed
            && answer.code == 404
        {
            let lease = json!({"metadata": {"name": NODE_NAME}, "spec": spec});
            let created = match serde_json::from_value::<Lease>(lease) {
                Ok(lease) => api.create(&PostParams::default(), &lease).await.map(drop),
                Err(error) => Err(kube::Error::SerdeError(error)),
            };
            if let Err(error) = created {
                tracing::debug!(%error, "no heartbeat");
            }
        }
        tokio::time::sleep(RENEW).await;
    }
}
