//! The controllers together, against an API in memory and a node that is made up.

mod deployments;
mod fake_api;
mod real_api;
mod workloads;

use fake_api::FakeApi;
use kube::api::{Api, PostParams};
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// The controllers at work; they stop when this is dropped.
pub(crate) struct Mesh {
    pub(crate) api: FakeApi,
    _stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
    node: JoinHandle<()>,
}

impl Mesh {
    pub(crate) fn start() -> Self {
        let api = FakeApi::new();
        let (stop, stopped) = oneshot::channel::<()>();
        let client = api.client();
        let task =
            tokio::spawn(async move { lateen_controllers::run(client, async { drop(stopped.await) }).await });
        let node = tokio::spawn(node(api.clone()));
        Self { api, _stop: stop, task, node }
    }

    pub(crate) async fn create<K>(&self, object: Value) -> K
    where
        K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
            + Clone
            + std::fmt::Debug
            + serde::Serialize
            + serde::de::DeserializeOwned,
    {
        let api: Api<K> = Api::namespaced(self.api.client(), "default");
        api.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap()
    }

    pub(crate) fn count(&self, resource: &str) -> usize {
        self.api.list(resource).len()
    }
}

impl Drop for Mesh {
    fn drop(&mut self) {
        self.task.abort();
        self.node.abort();
    }
}

/// Gives each new pod an address and makes it ready.
async fn node(api: FakeApi) {
    let fresh = |pod: &Value| pod["status"]["phase"].is_null();
    loop {
        api.until("pods", |api| api.list("v1/pods").iter().any(fresh).then_some(())).await;
        let number = std::cell::Cell::new(0);
        api.edit("v1/pods", |pod| {
            number.set(number.get() + 1);
            let is_fresh = fresh(pod);
            if is_fresh {
                let phase = if pod["metadata"]["labels"]["job-name"].is_null() { "Running" } else { "Succeeded" };
                pod["spec"]["nodeName"] = json!("lateen");
                pod["status"] = json!({
                    "phase": phase, "podIP": format!("10.244.0.{}", number.get() + 1),
                    "conditions": [{ "type": "Ready", "status": "True", "lastTransitionTime": "2024-01-01T00:00:00Z" }],
                });
            }
            is_fresh
        });
    }
}
