use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, ServiceAccount};
use kube::api::{Api, PostParams, WatchEvent, WatchParams};
use serde_json::json;

use crate::{Scratch, builder, client, start_with};

#[tokio::test]
async fn everything_is_where_it_was_after_a_restart() {
    let scratch = Scratch::new();
    let (server, first) = start_with(builder().state_dir(scratch.path())).await;
    let maps: Api<ConfigMap> = Api::default_namespaced(first.clone());
    let map = serde_json::from_value(json!({"metadata": {"name": "kept"}, "data": {"a": "b"}})).unwrap();
    let made = maps.create(&PostParams::default(), &map).await.unwrap();
    let accounts: Api<ServiceAccount> = Api::default_namespaced(first.clone());
    let request = serde_json::from_value(json!({"spec": {"audiences": []}})).unwrap();
    let token = accounts.create_token_request("default", &PostParams::default(), &request).await.unwrap();
    let ca = server.ca_pem().to_owned();
    server.shutdown().await;

    let (server, again) = start_with(builder().state_dir(scratch.path())).await;
    assert_eq!(server.ca_pem(), ca, "a kubeconfig stays good");
    let maps: Api<ConfigMap> = Api::default_namespaced(again.clone());
    assert_eq!(maps.get("kept").await.unwrap(), made);
    assert!(Api::<Namespace>::all(again.clone()).get("kube-system").await.is_ok());
    let review = json!({"kind": "TokenReview", "apiVersion": "authentication.k8s.io/v1",
        "spec": {"token": token.status.unwrap().token}});
    let request = http::Request::post("/apis/authentication.k8s.io/v1/tokenreviews");
    let answer: serde_json::Value =
        client(&server).await.request(request.body(review.to_string().into_bytes()).unwrap()).await.unwrap();
    assert_eq!(answer["status"]["authenticated"], true, "{answer}");
    let version = made.metadata.resource_version.unwrap();
    let mut stream = maps.watch(&WatchParams::default(), &version).await.unwrap().boxed();
    match stream.try_next().await.unwrap() {
        Some(WatchEvent::Error(status)) => {
            assert_eq!(status.code, 410, "what happened meanwhile is not known")
        }
        other => panic!("{other:?}"),
    }
}
