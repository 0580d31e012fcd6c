use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Namespace, ServiceAccount};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams, PropagationPolicy};
use kube::runtime::wait::{await_condition, conditions};
use serde_json::{Value, json};

use crate::{refusal, start};

async fn gone<K>(api: &Api<K>, name: &str, uid: &str)
where
    K: kube::Resource + Clone + std::fmt::Debug + serde::de::DeserializeOwned + Send + 'static,
{
    let deleted = await_condition(api.clone(), name, conditions::is_deleted(uid));
    tokio::time::timeout(Duration::from_secs(10), deleted).await.expect("in time").expect("watches");
}

async fn make(maps: &Api<ConfigMap>, name: &str, owner: Option<(&str, &str)>) -> String {
    let owners: Vec<Value> = owner
        .map(|(name, uid)| {
            json!({"apiVersion": "v1", "kind": "ConfigMap", "name": name, "uid": uid, "blockOwnerDeletion": true})
        })
        .into_iter()
        .collect();
    let map = json!({"metadata": {"name": name, "ownerReferences": owners}});
    let made = maps.create(&PostParams::default(), &serde_json::from_value(map).unwrap()).await.unwrap();
    made.metadata.uid.unwrap()
}

#[tokio::test]
async fn what_is_owned_goes_with_its_owner() {
    let (_server, client) = start().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(client);
    for policy in [PropagationPolicy::Background, PropagationPolicy::Foreground] {
        let owner = make(&maps, "owner", None).await;
        let child = make(&maps, "child", Some(("owner", &owner))).await;
        let grandchild = make(&maps, "grandchild", Some(("child", &child))).await;
        let delete = DeleteParams { propagation_policy: Some(policy), ..DeleteParams::default() };
        maps.delete("owner", &delete).await.unwrap();
        gone(&maps, "grandchild", &grandchild).await;
        gone(&maps, "child", &child).await;
        gone(&maps, "owner", &owner).await;
    }
    let orphan = make(&maps, "late", Some(("owner", "no-such-uid"))).await;
    gone(&maps, "late", &orphan).await;
}

#[tokio::test]
async fn orphans_stay_when_they_are_to() {
    let (_server, client) = start().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(client);
    let owner = make(&maps, "owner", None).await;
    make(&maps, "child", Some(("owner", &owner))).await;
    let delete =
        DeleteParams { propagation_policy: Some(PropagationPolicy::Orphan), ..DeleteParams::default() };
    maps.delete("owner", &delete).await.unwrap();
    gone(&maps, "owner", &owner).await;
    assert!(maps.get("child").await.unwrap().metadata.owner_references.is_none());
}

#[tokio::test]
async fn a_finalizer_holds_an_object_until_it_is_taken_off() {
    let (_server, client) = start().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(client);
    let map = json!({"metadata": {"name": "held", "finalizers": ["example.com/hold"]}});
    let made = maps.create(&PostParams::default(), &serde_json::from_value(map).unwrap()).await.unwrap();
    let marked = maps.delete("held", &DeleteParams::default()).await.unwrap().left().expect("still there");
    assert!(marked.metadata.deletion_timestamp.is_some());
    let free = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    maps.patch("held", &PatchParams::default(), &free).await.unwrap();
    gone(&maps, "held", &made.metadata.uid.unwrap()).await;
}

#[tokio::test]
async fn a_namespace_takes_its_content_along() {
    let (_server, client) = start().await;
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let namespace = serde_json::from_value(json!({"metadata": {"name": "n"}})).unwrap();
    let made = namespaces.create(&PostParams::default(), &namespace).await.unwrap();
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), "n");
    assert!(accounts.get("default").await.is_ok(), "at once, so that pods may follow");
    let maps: Api<ConfigMap> = Api::namespaced(client, "n");
    assert!(
        maps.get("kube-root-ca.crt").await.unwrap().data.unwrap()["ca.crt"].contains("BEGIN CERTIFICATE")
    );
    let map = json!({"metadata": {"name": "held", "finalizers": ["example.com/hold"]}});
    maps.create(&PostParams::default(), &serde_json::from_value(map).unwrap()).await.unwrap();
    namespaces.delete("n", &DeleteParams::default()).await.unwrap();
    let terminating = namespaces.get("n").await.unwrap();
    assert_eq!(terminating.status.unwrap().phase.as_deref(), Some("Terminating"));
    let late = serde_json::from_value(json!({"metadata": {"name": "late"}})).unwrap();
    assert_eq!(refusal(maps.create(&PostParams::default(), &late).await).0, 403);
    let free = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    maps.patch("held", &PatchParams::default(), &free).await.unwrap();
    gone(&namespaces, "n", &made.metadata.uid.unwrap()).await;
}
