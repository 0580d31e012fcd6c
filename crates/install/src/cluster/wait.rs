use std::time::Duration;

use anyhow::{Result, bail};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::ListParams;
use kube::runtime::wait::await_condition;

use super::{Cluster, Progress};

impl Cluster {
    /// Waits until every pod of the Deployments (namespace, name) is the newest and available.
    ///
    /// # Errors
    /// Some are not within the time; what holds their pods up is told.
    pub async fn wait(
        &self,
        deployments: &[(String, String)],
        patience: Duration,
        progress: Progress<'_>,
    ) -> Result<()> {
        let mut waiting: FuturesUnordered<_> = deployments
            .iter()
            .map(|(namespace, name)| async move {
                let api: Api<Deployment> = Api::namespaced(self.client.clone(), namespace);
                (namespace, name, await_condition(api, name, is_rolled_out).await)
            })
            .collect();
        let mut done = Vec::new();
        let all = async {
            while let Some((namespace, name, outcome)) = waiting.next().await {
                outcome?;
                progress(&format!("{namespace}/{name} is ready"));
                done.push((namespace.clone(), name.clone()));
            }
            anyhow::Ok(())
        };
        if let Ok(outcome) = tokio::time::timeout(patience, all).await {
            return outcome;
        }
        let mut reasons = Vec::new();
        for (namespace, name) in deployments.iter().filter(|one| !done.contains(one)) {
            reasons.push(format!("- {namespace}/{name}: {}", self.reason(namespace, name).await));
        }
        bail!("not ready after {}s:\n{}", patience.as_secs(), reasons.join("\n"))
    }

    /// Waits until the DaemonSets (namespace, name) run on every node that they are for.
    ///
    /// # Errors
    /// Some do not within the time.
    pub async fn wait_daemon_sets(
        &self,
        sets: &[(String, String)],
        patience: Duration,
        progress: Progress<'_>,
    ) -> Result<()> {
        for (namespace, name) in sets {
            let api: Api<DaemonSet> = Api::namespaced(self.client.clone(), namespace);
            let waited = tokio::time::timeout(patience, await_condition(api, name, is_everywhere)).await;
            let Ok(waited) = waited else {
                bail!(
                    "not ready after {}s: DaemonSet {namespace}/{name}; see: kubectl describe pods -n {namespace}",
                    patience.as_secs()
                );
            };
            waited?;
            progress(&format!("{namespace}/{name} is ready"));
        }
        Ok(())
    }

    /// What holds a Deployment up, as far as its pods and conditions tell.
    async fn reason(&self, namespace: &str, name: &str) -> String {
        let api: Api<Deployment> = Api::namespaced(self.client.clone(), namespace);
        let Ok(deployment) = api.get(name).await else { return "it cannot be read".to_owned() };
        let labels = deployment.spec.and_then(|spec| spec.selector.match_labels).unwrap_or_default();
        let selector: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let listed = pods.list(&ListParams::default().labels(&selector.join(","))).await;
        let reasons: Vec<String> =
            listed.map(|pods| pods.items.iter().filter_map(pod_reason).collect()).unwrap_or_default();
        if !reasons.is_empty() {
            return reasons.join("; ");
        }
        let conditions = deployment.status.and_then(|status| status.conditions).unwrap_or_default();
        let failing = conditions.into_iter().filter(|c| c.type_ == "ReplicaFailure" || c.status == "False");
        let messages: Vec<String> = failing.filter_map(|condition| condition.message).collect();
        if messages.is_empty() { "no pod is there yet".to_owned() } else { messages.join("; ") }
    }
}

fn pod_reason(pod: &Pod) -> Option<String> {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let status = pod.status.as_ref()?;
    let waiting = status.container_statuses.iter().flatten().find_map(|container| {
        let waiting = container.state.as_ref()?.waiting.as_ref()?;
        let message = waiting.message.as_deref().unwrap_or_default();
        Some(format!("{} {message}", waiting.reason.as_deref().unwrap_or("waiting")))
    });
    let condition = || {
        let conditions = status.conditions.iter().flatten();
        conditions.filter(|c| c.status == "False").find_map(|c| c.message.clone())
    };
    Some(format!("pod {name}: {}", waiting.or_else(condition)?.trim()))
}

fn is_everywhere(set: Option<&DaemonSet>) -> bool {
    let Some((set, status)) = set.and_then(|set| Some((set, set.status.as_ref()?))) else { return false };
    let wanted = status.desired_number_scheduled;
    status.observed_generation >= set.metadata.generation
        && status.updated_number_scheduled.unwrap_or(0) >= wanted
        && status.number_available.unwrap_or(0) >= wanted
}

fn is_rolled_out(deployment: Option<&Deployment>) -> bool {
    let Some(deployment) = deployment else { return false };
    let wanted = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    deployment.status.as_ref().is_some_and(|status| {
        status.observed_generation >= deployment.metadata.generation
            && status.updated_replicas.unwrap_or(0) >= wanted
            && status.available_replicas.unwrap_or(0) >= wanted
            && status.replicas.unwrap_or(0) == status.updated_replicas.unwrap_or(0)
    })
}
