use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Service;
use serde_json::{Value, json};

use crate::Mesh;

fn reviews(image: &str, replicas: i32) -> Value {
    json!({
        "metadata": { "name": "reviews", "namespace": "default" },
        "spec": {
            "replicas": replicas, "selector": { "matchLabels": { "app": "reviews" } },
            "template": {
                "metadata": { "labels": { "app": "reviews" } },
                "spec": { "containers": [{ "name": "reviews", "image": image, "ports": [{ "containerPort": 9080 }] }] },
            },
        },
    })
}

async fn available(mesh: &Mesh, wanted: i64) {
    let what = format!("{wanted} available pods");
    mesh.api
        .until(&what, |api| {
            let status = &api.list("apps/v1/deployments")[0]["status"];
            let same =
                ["replicas", "updatedReplicas", "availableReplicas"].iter().all(|f| status[*f] == wanted);
            same.then_some(())
        })
        .await;
}

#[tokio::test]
async fn a_deployment_becomes_pods_behind_a_service() {
    let mesh = Mesh::start();
    let spec = json!({ "selector": { "app": "reviews" }, "ports": [{ "port": 9080 }] });
    mesh.create::<Service>(json!({ "metadata": { "name": "reviews" }, "spec": spec })).await;
    mesh.create::<Deployment>(reviews("reviews:1", 3)).await;
    available(&mesh, 3).await;
    assert_eq!(mesh.count("v1/pods"), 3, "no pod was created twice");
    mesh.api
        .until("endpoints", |api| {
            let slices = api.list("discovery.k8s.io/v1/endpointslices");
            let ready = slices.iter().flat_map(|slice| slice["endpoints"].as_array().into_iter().flatten());
            (ready.filter(|endpoint| endpoint["conditions"]["ready"] == true).count() == 3).then_some(())
        })
        .await;
    let reasons = |event: &Value| event["reason"].as_str().unwrap_or_default().to_owned();
    mesh.api
        .until("events", |api| {
            let events: Vec<_> = api.list("v1/events").iter().map(reasons).collect();
            (events.iter().filter(|r| *r == "SuccessfulCreate").count() == 3
                && events.iter().any(|r| r == "ScalingReplicaSet"))
            .then_some(())
        })
        .await;
}

#[tokio::test]
async fn a_new_image_rolls_out_and_a_lost_pod_is_replaced() {
    let mesh = Mesh::start();
    mesh.create::<Deployment>(reviews("reviews:1", 2)).await;
    available(&mesh, 2).await;
    mesh.api.edit("apps/v1/deployments", |deployment| {
        deployment["spec"]["template"]["spec"]["containers"][0]["image"] = json!("reviews:2");
        deployment["metadata"]["generation"] = json!(2);
        true
    });
    mesh.api
        .until("the new image everywhere", |api| {
            let pods = api.list("v1/pods");
            let new = pods.iter().all(|pod| pod["spec"]["containers"][0]["image"] == "reviews:2");
            (new && pods.len() == 2).then_some(())
        })
        .await;
    available(&mesh, 2).await;
    let revision = mesh.api.list("apps/v1/deployments")[0]["metadata"]["annotations"].clone();
    assert_eq!(revision["deployment.kubernetes.io/revision"], "2");

    let lost = mesh.api.list("v1/pods")[0]["metadata"]["name"].as_str().unwrap().to_owned();
    let pods: kube::Api<k8s_openapi::api::core::v1::Pod> =
        kube::Api::namespaced(mesh.api.client(), "default");
    pods.delete(&lost, &Default::default()).await.unwrap();
    mesh.api
        .until("a successor", |api| {
            let names: Vec<_> =
                api.list("v1/pods").iter().map(|pod| pod["metadata"]["name"].clone()).collect();
            (names.len() == 2 && !names.contains(&json!(lost))).then_some(())
        })
        .await;
}
