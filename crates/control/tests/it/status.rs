//! What resources say about themselves in the API: seen, sound, and applied by how many proxies.

use lateen_xds::TypeUrl;
use serde_json::{Value, json};

use crate::Running;
use crate::ads_client::AdsClient;
use crate::fake_api::FakeApi;
use crate::objects::{VIRTUAL_SERVICES, deploy, meta};

const NODE: &str = "sidecar~10.244.9.1~productpage-v1.default~default.svc.cluster.local";

fn rule(generation: i64, timeout: &str, subset: &str) -> Value {
    let mut metadata = meta("default", "reviews");
    metadata["generation"] = json!(generation);
    json!({
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": metadata,
        "spec": { "hosts": ["reviews"], "http": [{
            "timeout": timeout, "route": [{"destination": {"host": "reviews", "subset": subset}}] }] },
    })
}

fn condition<'a>(object: &'a Value, kind: &str) -> &'a Value {
    let conditions = object["status"]["conditions"].as_array();
    conditions.and_then(|all| all.iter().find(|c| c["type"] == kind)).unwrap_or(&Value::Null)
}

/// Waits until the status speaks of a generation with this progress; the object then.
async fn told(running: &Running, generation: i64, progress: &str) -> Value {
    let there = |object: &Value| {
        object["status"]["observedGeneration"] == generation
            && condition(object, "Reconciled")["message"] == progress
    };
    running.api.changed(VIRTUAL_SERVICES, "default/reviews", there).await;
    running.api.get(VIRTUAL_SERVICES, "default/reviews").unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resource_tells_its_findings_and_how_many_proxies_have_applied_it() {
    let api = FakeApi::start().await;
    deploy(&api, 1, "reviews", &["v1"]);
    let running = Running::start(api).await;
    let mut proxy = AdsClient::connect(running.addresses.xds, NODE, "envoy").await;
    proxy.subscribe(TypeUrl::Route, &["9080"]).await;
    proxy.receive(None).await;

    running.api.put(VIRTUAL_SERVICES, rule(1, "1s", "nosuch"));
    let object = told(&running, 1, "0/1 proxies up to date.").await;
    assert_eq!(condition(&object, "Reconciled")["status"], "False");
    let message = &object["status"]["validationMessages"][0];
    assert_eq!((&message["type"]["code"], &message["level"]), (&json!("IST0101"), &json!("ERROR")));
    let text = message["message"].as_str().unwrap();
    assert!(text.starts_with("spec.http[0].route[0].destination.subset: "), "{text}");
    assert_eq!(condition(&object, "PassedValidation")["status"], "False");
    proxy.receive(None).await;
    told(&running, 1, "1/1 proxies up to date.").await;

    // A proxy that refuses has not applied; what is mended is no longer told.
    running.api.put(VIRTUAL_SERVICES, rule(2, "2s", ""));
    proxy.receive(Some("no")).await;
    let object = told(&running, 2, "0/1 proxies up to date.").await;
    assert!(object["status"].get("validationMessages").is_none(), "{object}");
    assert_eq!(condition(&object, "PassedValidation")["status"], "True");
    running.api.put(VIRTUAL_SERVICES, rule(3, "3s", ""));
    proxy.receive(None).await;
    told(&running, 3, "1/1 proxies up to date.").await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resource_that_cannot_be_read_says_so() {
    let api = FakeApi::start().await;
    deploy(&api, 1, "reviews", &["v1"]);
    let running = Running::start(api).await;
    let mut object = rule(1, "1s", "");
    object["spec"]["http"] = json!("not a list");
    running.api.put(VIRTUAL_SERVICES, object);
    let object = told(&running, 1, "It cannot be read; the last good one stays.").await;
    let text = condition(&object, "PassedValidation")["message"].as_str().unwrap();
    assert!(text.contains("spec.http"), "{text}");
    running.stop().await;
}
