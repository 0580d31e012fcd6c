//! The controllers against the one-machine mode's own API server, over TLS as in real life.

use std::net::TcpListener;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Endpoints, Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, Config, ResourceExt};
use lateen_apiserver::{ApiServer, Handle};
use serde_json::{Value, json};

async fn server() -> (Handle, Client) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = ApiServer::builder().listener(listener).start().await.unwrap();
    let kubeconfig = Kubeconfig::from_yaml(server.kubeconfig()).unwrap();
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
    (server, Client::try_from(config).unwrap())
}

/// Plays the node: pods become ready, those of Jobs succeed, those that shall end are gone.
async fn node(client: Client) {
    let pods: Api<Pod> = Api::all(client.clone());
    let mut changes =
        std::pin::pin!(watcher(pods, watcher::Config::default()).default_backoff().applied_objects());
    let mut number = 1;
    while let Some(Ok(pod)) = changes.next().await {
        let api: Api<Pod> = Api::namespaced(client.clone(), &pod.namespace().unwrap());
        if pod.metadata.deletion_timestamp.is_some() {
            let at_once = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
            drop(api.delete(&pod.name_any(), &at_once).await);
            continue;
        }
        let phase = if pod.labels().contains_key("job-name") { "Succeeded" } else { "Running" };
        if pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some(phase) {
            continue;
        }
        number += 1;
        let status = json!({ "status": {
            "phase": phase, "podIP": format!("10.244.0.{number}"),
            "conditions": [{ "type": "Ready", "status": "True", "lastTransitionTime": "2024-01-01T00:00:00Z" }],
        } });
        drop(api.patch_status(&pod.name_any(), &PatchParams::default(), &Patch::Merge(status)).await);
    }
}

/// Waits until one object of a kind is as wished.
async fn until<K>(client: &Client, what: &str, wished: impl Fn(&K) -> bool) -> K
where
    K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned
        + Send
        + Sync
        + 'static,
{
    let api: Api<K> = Api::namespaced(client.clone(), "default");
    let objects = watcher(api.clone(), watcher::Config::default()).default_backoff().applied_objects();
    let found = objects.try_filter(|object| std::future::ready(wished(object)));
    let mut found = std::pin::pin!(found);
    match tokio::time::timeout(Duration::from_secs(20), found.next()).await {
        Ok(object) => object.unwrap().unwrap(),
        Err(_) => {
            panic!("waited in vain for {what}: {:#?}", api.list(&ListParams::default()).await.unwrap().items)
        }
    }
}

async fn create<K>(client: &Client, object: Value)
where
    K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + serde::Serialize
        + serde::de::DeserializeOwned,
{
    let api: Api<K> = Api::namespaced(client.clone(), "default");
    api.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
}

fn workload(name: &str, spec: Value) -> Value {
    let mut spec = spec;
    if spec["selector"].is_null() {
        spec["selector"] = json!({ "matchLabels": { "app": name } });
    }
    spec["template"] = json!({
        "metadata": { "labels": { "app": name } },
        "spec": { "containers": [{ "name": "c", "image": "c:1", "ports": [{ "containerPort": 80 }] }] },
    });
    json!({ "metadata": { "name": name }, "spec": spec })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workloads_run_on_the_real_api_server_and_come_to_rest() {
    let (server, client) = server().await;
    let nodes: Api<Node> = Api::all(client.clone());
    let lateen = serde_json::from_value(json!({ "metadata": { "name": "lateen" } })).unwrap();
    nodes.create(&PostParams::default(), &lateen).await.unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let controllers = tokio::spawn(lateen_controllers::run(client.clone(), async { drop(stopped.await) }));
    let node = tokio::spawn(node(client.clone()));

    let service = json!({ "selector": { "app": "web" }, "ports": [{ "name": "http", "port": 80 }] });
    create::<Service>(&client, json!({ "metadata": { "name": "web" }, "spec": service })).await;
    create::<Deployment>(&client, workload("web", json!({ "replicas": 3 }))).await;
    create::<StatefulSet>(&client, workload("db", json!({ "replicas": 2, "serviceName": "db" }))).await;
    create::<DaemonSet>(&client, workload("agent", json!({}))).await;
    let mut job = workload("sum", json!({ "completions": 2, "selector": {} }));
    job["spec"].as_object_mut().unwrap().remove("selector");
    job["spec"]["template"]["spec"]["restartPolicy"] = json!("Never");
    create::<Job>(&client, job).await;

    let ready = |d: &Deployment| d.status.as_ref().is_some_and(|s| s.available_replicas == Some(3));
    until(&client, "the Deployment", ready).await;
    let ready = |s: &StatefulSet| s.status.as_ref().is_some_and(|s| s.ready_replicas == Some(2));
    until(&client, "the StatefulSet", ready).await;
    until(&client, "the DaemonSet", |s: &DaemonSet| s.status.as_ref().is_some_and(|s| s.number_ready == 1))
        .await;
    until(&client, "the Job", |j: &Job| j.status.as_ref().is_some_and(|s| s.completion_time.is_some())).await;
    let full = |slice: &EndpointSlice| {
        let ready = |e: &&k8s_openapi::api::discovery::v1::Endpoint| {
            e.conditions.as_ref().is_some_and(|c| c.ready == Some(true))
        };
        slice.name_any().starts_with("web-") && slice.endpoints.iter().filter(ready).count() == 3
    };
    until(&client, "the slice", full).await;
    let full = |endpoints: &Endpoints| {
        let subsets = endpoints.subsets.iter().flatten();
        endpoints.name_any() == "web" && subsets.flat_map(|s| s.addresses.iter().flatten()).count() == 3
    };
    until(&client, "the Endpoints", full).await;

    let image =
        json!({ "spec": { "template": { "spec": { "containers": [{ "name": "c", "image": "c:2" }] } } } });
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), "default");
    deployments.patch("web", &PatchParams::default(), &Patch::Strategic(image)).await.unwrap();
    let rolled = |d: &Deployment| {
        let s = d.status.clone().unwrap_or_default();
        s.observed_generation == d.metadata.generation
            && s.updated_replicas == Some(3)
            && s.replicas == Some(3)
            && s.available_replicas == Some(3)
    };
    let generation = |d: &Deployment| d.metadata.generation >= Some(2) && rolled(d);
    until(&client, "the rollout", generation).await;
    at_rest(&client).await;

    stop.send(()).unwrap();
    controllers.await.unwrap();
    node.abort();
    server.shutdown().await;
}

/// Nothing may write on for ever: what the controllers say must be what comes back.
async fn at_rest(client: &Client) {
    let versions = async || {
        let sets: Api<ReplicaSet> = Api::namespaced(client.clone(), "default");
        let deployments: Api<Deployment> = Api::namespaced(client.clone(), "default");
        let slices: Api<EndpointSlice> = Api::namespaced(client.clone(), "default");
        let all = ListParams::default();
        let mut versions: Vec<_> =
            sets.list(&all).await.unwrap().iter().map(ResourceExt::resource_version).collect();
        versions.extend(deployments.list(&all).await.unwrap().iter().map(ResourceExt::resource_version));
        versions.extend(slices.list(&all).await.unwrap().iter().map(ResourceExt::resource_version));
        versions
    };
    // Rest cannot be waited for, only looked for: it must come within a few looks.
    for _ in 0..20 {
        let before = versions().await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        if versions().await == before {
            return;
        }
    }
    panic!("the controllers never come to rest");
}
