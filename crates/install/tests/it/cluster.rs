//! Installation against the one-machine mode's own API server, over TLS as in real life.

use std::net::TcpListener;
use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Service};
use k8s_openapi::api::rbac::v1::ClusterRole;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use lateen_apiserver::{ApiServer, Handle};
use lateen_install::{
    Chart, Cluster, GATEWAY_NAMESPACE, GatewayKind, Level, Manifest, Profile, Release, Traffic,
};
use serde_json::json;

async fn server() -> (Handle, Client) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = ApiServer::builder().listener(listener).start().await.unwrap();
    server.ready().await;
    let kubeconfig = Kubeconfig::from_yaml(server.kubeconfig()).unwrap();
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
    (server, Client::try_from(config).unwrap())
}

fn minimal() -> Manifest {
    let mut release = Release::new(Chart::istio(), "istio", "istio-system").unwrap();
    release.values().overlay(&Profile::Minimal.values().unwrap());
    release.manifest().unwrap().with_namespace()
}

fn gateway(traffic: Traffic) -> Manifest {
    let kind = GatewayKind(traffic);
    let mut release = Release::new(Chart::gateway(), kind.name(), GATEWAY_NAMESPACE).unwrap();
    release.values().overlay(&kind.values().unwrap());
    release.manifest().unwrap().with_namespace()
}

#[tokio::test]
async fn what_is_installed_is_removed_again_and_nothing_else() {
    let (_server, client) = server().await;
    let cluster = Cluster::new(client.clone());
    let mut steps = Vec::new();
    let mut progress = |line: &str| steps.push(line.to_owned());
    let applied = cluster.apply(&minimal(), false, &mut progress).await.unwrap();
    assert_eq!(applied.deployments, [("istio-system".to_owned(), "istiod".to_owned())]);
    assert!(steps.iter().any(|step| step == "Deployment istiod"), "{steps:?}");

    let quiet = &mut |_: &str| {};
    cluster.apply(&gateway(Traffic::External), true, quiet).await.unwrap();
    cluster.apply(&gateway(Traffic::Internal), true, quiet).await.unwrap();
    let services: Api<Service> = Api::namespaced(client.clone(), GATEWAY_NAMESPACE);
    cluster.remove_release(GatewayKind(Traffic::Internal).name(), quiet).await.unwrap();
    assert!(services.get_opt(GatewayKind(Traffic::Internal).name()).await.unwrap().is_none());
    assert!(services.get_opt(GatewayKind(Traffic::External).name()).await.unwrap().is_some());

    // Again is as good as once, and what the mesh itself made goes with it.
    cluster.apply(&minimal(), false, quiet).await.unwrap();
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "default");
    for name in ["istio-ca-root-cert", "mine"] {
        let map: ConfigMap = serde_json::from_value(json!({ "metadata": { "name": name } })).unwrap();
        maps.create(&PostParams::default(), &map).await.unwrap();
    }
    cluster.uninstall("istio-system", false, quiet).await.unwrap();
    assert!(services.get_opt(GatewayKind(Traffic::External).name()).await.unwrap().is_none());
    let deployments: Api<Deployment> = Api::all(client.clone());
    assert!(deployments.list(&Default::default()).await.unwrap().items.is_empty());
    let roles: Api<ClusterRole> = Api::all(client.clone());
    let left = roles.list(&Default::default()).await.unwrap().items;
    assert!(!left.iter().any(|role| role.metadata.name.as_deref().unwrap().contains("istio")));
    assert!(maps.get_opt("istio-ca-root-cert").await.unwrap().is_none());
    assert!(maps.get_opt("mine").await.unwrap().is_some());
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    assert!(definitions.get_opt("gateways.networking.istio.io").await.unwrap().is_some(), "resources stay");
    cluster.uninstall("istio-system", true, quiet).await.unwrap();
    assert!(definitions.get_opt("gateways.networking.istio.io").await.unwrap().is_none());
}

#[tokio::test]
async fn another_istios_definitions_are_replaced_by_force_only() {
    let (_server, client) = server().await;
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    let foreign: CustomResourceDefinition = serde_json::from_value(json!({
        "metadata": { "name": "gateways.networking.istio.io", "labels": { "app": "istio-pilot" } },
        "spec": {
            "group": "networking.istio.io", "scope": "Namespaced",
            "names": { "kind": "Gateway", "plural": "gateways", "singular": "gateway" },
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "schema": { "openAPIV3Schema": {
                    "type": "object", "x-kubernetes-preserve-unknown-fields": true,
                } },
            }],
        },
    }))
    .unwrap();
    definitions.create(&PostParams::default(), &foreign).await.unwrap();
    let cluster = Cluster::new(client.clone());
    let error = cluster.apply(&minimal(), false, &mut |_| {}).await.unwrap_err().to_string();
    assert!(error.contains("gateways.networking.istio.io") && error.contains("--force"), "{error}");
    let namespaces: Api<Namespace> = Api::all(client.clone());
    assert!(namespaces.get_opt("istio-system").await.unwrap().is_none(), "nothing may be written");
    let findings = cluster.precheck("istio-system").await.unwrap();
    assert!(
        findings.iter().any(|f| f.level == Level::Error && f.message.contains("another Istio")),
        "{findings:?}"
    );
    cluster.apply(&minimal(), true, &mut |_| {}).await.unwrap();
    assert!(cluster.foreign_definitions().await.unwrap().is_empty());
}

#[tokio::test]
async fn readiness_is_waited_for_and_what_holds_it_up_is_told() {
    let (_server, client) = server().await;
    let cluster = Cluster::new(client.clone());
    let applied = cluster.apply(&minimal(), false, &mut |_| {}).await.unwrap();
    let short = Duration::from_millis(200);
    let error = cluster.wait(&applied.deployments, short, &mut |_| {}).await.unwrap_err().to_string();
    assert!(error.contains("istio-system/istiod: no pod is there yet"), "{error}");

    let deployments: Api<Deployment> = Api::namespaced(client.clone(), "istio-system");
    let generation = deployments.get("istiod").await.unwrap().metadata.generation;
    let status = json!({ "status": {
        "observedGeneration": generation, "replicas": 1, "updatedReplicas": 1, "availableReplicas": 1,
    } });
    deployments.patch_status("istiod", &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
    cluster.wait(&applied.deployments, Duration::from_secs(20), &mut |_| {}).await.unwrap();
}
