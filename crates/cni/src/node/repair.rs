//! Pods that were made before the plugin was there: their check fails (see `lateen capture --run-validation`), and by
//! that they are known.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use clap::Args;
use futures::StreamExt;
use k8s_openapi::api::core::v1::{ContainerState, Pod};
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::runtime::watcher;
use kube::{Api, Client, Resource, ResourceExt};
use lateen_inject::VALIDATION_CONTAINER;
use serde_json::json;

use crate::plugin::in_namespace;

/// Time between attempts when the API does not answer.
const WAIT: Duration = Duration::from_secs(1);

/// What is done with such pods: the first of these that is set.
#[derive(Debug, Args)]
pub struct Repair {
    /// Capture their traffic where they are
    #[arg(long)]
    repair_pods: bool,
    /// Delete them, so that they are made again
    #[arg(long)]
    repair_delete_pods: bool,
    /// Label them
    #[arg(long)]
    repair_label_pods: bool,
    /// Name of that label
    #[arg(long, default_value = "cni.istio.io/uninitialized", value_name = "NAME")]
    broken_pod_label_key: String,
    /// Its value
    #[arg(long, default_value = "true", value_name = "VALUE")]
    broken_pod_label_value: String,
    /// The node's processes, as they are mounted here
    #[arg(long, default_value = "/host/proc", value_name = "DIR")]
    proc_dir: PathBuf,
    /// This node
    #[arg(long, env = "NODE_NAME", default_value = "", value_name = "NAME")]
    node: String,
}

/// Mends pods for ever.
pub async fn run(client: Client, repair: &Repair) -> Result<()> {
    if !(repair.repair_pods || repair.repair_delete_pods || repair.repair_label_pods) {
        return std::future::pending().await;
    }
    anyhow::ensure!(!repair.node.is_empty(), "repair has to know its node: set NODE_NAME");
    let reporter = Reporter { controller: "istio-cni-repair".into(), instance: Some(repair.node.clone()) };
    let mut mender = Mender {
        repair,
        recorder: Recorder::new(client.clone(), reporter),
        client: client.clone(),
        mended: BTreeSet::new(),
    };
    let mine = watcher::Config::default().fields(&format!("spec.nodeName={}", repair.node));
    let mut events = lateen_watch::typed::<Pod>(lateen_watch::all::<Pod>(client), mine);
    while let Some(event) = events.next().await {
        match event {
            Ok(watcher::Event::Apply(pod) | watcher::Event::InitApply(pod)) if is_broken(&pod) => {
                mender.mend(&pod).await;
            }
            Ok(watcher::Event::Delete(pod)) => drop(mender.mended.remove(&pod.uid().unwrap_or_default())),
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot watch the node's pods");
                tokio::time::sleep(WAIT).await;
            }
        }
    }
    Ok(())
}

/// Whether the pod's check has failed and has not passed since.
fn is_broken(pod: &Pod) -> bool {
    let statuses = pod.status.iter().flat_map(|status| status.init_container_statuses.iter().flatten());
    let check = statuses.into_iter().find(|status| status.name == VALIDATION_CONTAINER);
    let Some(check) = check else { return false };
    let code = |state: &Option<ContainerState>| Some(state.as_ref()?.terminated.as_ref()?.exit_code);
    let failed = Some(i32::from(lateen_capture::NOT_CAPTURED));
    match code(&check.state) {
        Some(0) => false,
        now => now == failed || code(&check.last_state) == failed,
    }
}

struct Mender<'a> {
    repair: &'a Repair,
    recorder: Recorder,
    client: Client,
    /// Pods that wait for their check to run again.
    mended: BTreeSet<String>,
}

impl Mender<'_> {
    async fn mend(&mut self, pod: &Pod) {
        let uid = pod.uid().unwrap_or_default();
        if self.mended.contains(&uid) {
            return;
        }
        let (namespace, name) = (pod.namespace().unwrap_or_default(), pod.name_any());
        let (action, done, outcome) = if self.repair.repair_pods {
            ("RepairBrokenPod", "its traffic is captured now", self.capture(pod).await)
        } else if self.repair.repair_delete_pods {
            ("DeleteBrokenPod", "it is deleted, to be made again", self.delete(pod).await)
        } else {
            ("LabelBrokenPod", "it is labelled", self.label(pod).await)
        };
        if outcome.is_ok() {
            self.mended.insert(uid);
        }
        let (kind, note) = match &outcome {
            Ok(()) => {
                (EventType::Normal, format!("the pod was made before the CNI plugin was ready: {done}"))
            }
            Err(error) => (
                EventType::Warning,
                format!(
                    "the pod was made before the CNI plugin was ready, and that cannot be mended: {error:#}"
                ),
            ),
        };
        tracing::info!(namespace, pod = name, action, note);
        let event = Event {
            type_: kind,
            reason: action.into(),
            note: Some(note),
            action: action.into(),
            secondary: None,
        };
        if let Err(error) = self.recorder.publish(&event, &pod.object_ref(&())).await {
            tracing::debug!(namespace, pod = name, %error, "cannot write the event");
        }
    }

    /// Does what the plugin would have done, in the pod's network namespace.
    async fn capture(&self, pod: &Pod) -> Result<()> {
        let Some(arguments) = lateen_inject::capture_arguments(pod)? else { return Ok(()) };
        let uid = pod.uid().context("the pod has no identity")?;
        let processes = self.repair.proc_dir.clone();
        // A thread of its own: whoever enters a network namespace stays there.
        let (sender, receiver) = tokio::sync::oneshot::channel();
        std::thread::Builder::new().name("repair".into()).spawn(move || {
            let done = namespace_of(&processes, &uid)
                .context("no process of the pod is there")
                .and_then(|file| in_namespace(&file, &arguments).map_err(|error| anyhow!(error)));
            drop(sender.send(done));
        })?;
        receiver.await.context("the repair was cut short")?
    }

    async fn delete(&self, pod: &Pod) -> Result<()> {
        let preconditions = Preconditions { uid: pod.uid(), resource_version: pod.resource_version() };
        let parameters = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        self.api(pod).delete(&pod.name_any(), &parameters).await?;
        Ok(())
    }

    /// The label goes by the pod's status, which takes fewer rights.
    async fn label(&self, pod: &Pod) -> Result<()> {
        let labels = json!({ &self.repair.broken_pod_label_key: self.repair.broken_pod_label_value });
        if pod.labels().contains_key(&self.repair.broken_pod_label_key) {
            return Ok(());
        }
        let patch = Patch::Merge(json!({ "metadata": { "labels": labels } }));
        self.api(pod).patch_status(&pod.name_any(), &PatchParams::default(), &patch).await?;
        Ok(())
    }

    fn api(&self, pod: &Pod) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &pod.namespace().unwrap_or_default())
    }
}

/// The network namespace of a pod, by one of its processes: their control groups bear the pod's identity, as it is or
/// (in systemd's names) with underscores.
fn namespace_of(processes: &Path, uid: &str) -> Option<PathBuf> {
    let names = [format!("pod{uid}"), format!("pod{}", uid.replace('-', "_"))];
    let is_process = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_digit())
    };
    let paths =
        std::fs::read_dir(processes).ok()?.filter_map(|entry| Some(entry.ok()?.path())).filter(is_process);
    paths
        .filter(|path| {
            let groups = std::fs::read_to_string(path.join("cgroup")).unwrap_or_default();
            names.iter().any(|name| groups.contains(name.as_str()))
        })
        .map(|path| path.join("ns/net"))
        .find(|file| file.symlink_metadata().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(state: serde_json::Value, last: serde_json::Value) -> Pod {
        serde_json::from_value(json!({ "status": { "initContainerStatuses": [{
            "name": "istio-validation", "image": "", "imageID": "", "ready": false, "restartCount": 1,
            "state": state, "lastState": last,
        }] } }))
        .unwrap()
    }

    #[test]
    fn a_pod_is_broken_while_its_check_fails() {
        let ended = |code: i32| json!({ "terminated": { "exitCode": code } });
        let waiting = json!({ "waiting": { "reason": "CrashLoopBackOff" } });
        for (state, last, broken) in [
            (ended(126), json!({}), true),
            (waiting.clone(), ended(126), true),
            (json!({ "running": {} }), ended(126), true),
            (ended(0), ended(126), false),
            (waiting, ended(1), false),
            (json!({ "running": {} }), json!({}), false),
        ] {
            assert_eq!(is_broken(&pod(state.clone(), last.clone())), broken, "{state} {last}");
        }
        assert!(!is_broken(&Pod::default()));
    }

    #[test]
    fn a_pods_process_is_found_by_its_control_group() {
        let folder = std::env::temp_dir().join(format!("lateen-cni-proc-{}", std::process::id()));
        for (process, group) in [
            ("7", "0::/init.scope"),
            ("8", "0::/kubepods.slice/kubepods-besteffort-podaa_bb.slice/cri-containerd-1.scope"),
            ("9", "4:memory:/kubepods/besteffort/podcc-dd/3"),
            ("self", "0::/podee"),
        ] {
            let path = folder.join(process);
            std::fs::create_dir_all(path.join("ns")).unwrap();
            std::fs::write(path.join("cgroup"), group).unwrap();
            std::fs::write(path.join("ns/net"), "").unwrap();
        }
        assert_eq!(namespace_of(&folder, "aa-bb"), Some(folder.join("8/ns/net")));
        assert_eq!(namespace_of(&folder, "cc-dd"), Some(folder.join("9/ns/net")));
        assert_eq!(namespace_of(&folder, "ee"), None);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
