use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::runtime::wait::{await_condition, conditions};
use lateen_identity::{Authority, LeafRequest};
use serde_json::{Value, json};

use crate::{builder, object, objects, refusal, start, start_with};

fn definition() -> Value {
    let spec = json!({
        "type": "object", "required": ["size"], "properties": {
            "size": {"type": "integer", "minimum": 1}, "mode": {"type": "string", "default": "A"},
        },
    });
    let status = json!({"type": "object", "properties": {"ok": {"type": "boolean"}}});
    let schema =
        json!({"openAPIV3Schema": {"type": "object", "properties": {"spec": spec, "status": status}}});
    let version = |name: &str, storage: bool| json!({"name": name, "served": true, "storage": storage, "schema": schema, "subresources": {"status": {}}});
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "foos.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced", "names": {"plural": "foos", "kind": "Foo"},
            "versions": [version("v1alpha1", false), version("v1", true)],
        },
    })
}

#[tokio::test]
async fn custom_resources_are_served_checked_and_removed() {
    let (_server, client) = start().await;
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    let made = serde_json::from_value(definition()).unwrap();
    let made = definitions.create(&PostParams::default(), &made).await.unwrap();
    let established =
        await_condition(definitions.clone(), "foos.example.com", conditions::is_crd_established());
    established.await.unwrap();
    let foos = objects(&client, "example.com", "v1", "Foo", "foos");
    let foo = |spec: Value| {
        object(
            json!({"apiVersion": "example.com/v1", "kind": "Foo", "metadata": {"name": "f"}, "spec": spec}),
        )
    };
    let refused = refusal(foos.create(&PostParams::default(), &foo(json!({"size": 0}))).await);
    let words = "Foo.example.com \"f\" is invalid: spec.size: Invalid value: 0: spec.size in body should be greater than \
        or equal to 1";
    assert_eq!(refused, (422, "Invalid".into(), words.into()));
    let stored = foos.create(&PostParams::default(), &foo(json!({"size": 1, "none": 1}))).await.unwrap();
    assert_eq!(stored.data["spec"], json!({"size": 1, "mode": "A"}));
    let olds = objects(&client, "example.com", "v1alpha1", "Foo", "foos");
    assert_eq!(olds.get("f").await.unwrap().types.unwrap().api_version, "example.com/v1alpha1");
    let status = Patch::Merge(json!({"status": {"ok": true}, "spec": {"size": 5}}));
    let patched = foos.patch_status("f", &PatchParams::default(), &status).await.unwrap();
    assert_eq!((&patched.data["status"]["ok"], &patched.data["spec"]["size"]), (&json!(true), &json!(1)));
    let strategic = foos.patch("f", &PatchParams::default(), &Patch::Strategic(json!({}))).await;
    assert_eq!(refusal(strategic).0, 415);
    definitions.delete("foos.example.com", &DeleteParams::default()).await.unwrap();
    let uid = made.metadata.uid.unwrap();
    await_condition(definitions, "foos.example.com", conditions::is_deleted(&uid)).await.unwrap();
    assert_eq!(refusal(foos.get("f").await).0, 404);
}

/// The clean-up of a definition without objects ends before the answer to the deletion is written.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_definition_that_is_gone_is_not_served_again() {
    let (_server, client) = start().await;
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    let foos = objects(&client, "example.com", "v1", "Foo", "foos");
    for _ in 0..50 {
        let made = serde_json::from_value(definition()).unwrap();
        let made = definitions.create(&PostParams::default(), &made).await.unwrap();
        definitions.delete("foos.example.com", &DeleteParams::default()).await.unwrap();
        let uid = made.metadata.uid.unwrap();
        await_condition(definitions.clone(), "foos.example.com", conditions::is_deleted(&uid)).await.unwrap();
        assert_eq!(refusal(foos.list(&ListParams::default()).await).0, 404);
    }
}

/// A webhook that adds a label to what is called `label`, refuses what is called `no`, and warns of everything.
async fn webhook() -> (SocketAddr, String) {
    let authority = Authority::create("test", std::time::Duration::from_secs(3600)).unwrap();
    let leaf = authority
        .issue(&LeafRequest::server(["hook.default.svc"], std::time::Duration::from_secs(3600)))
        .unwrap();
    let tls = tokio_rustls::TlsAcceptor::from(Arc::new(leaf.server_config(&["http/1.1"], None).unwrap()));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let tls = tls.clone();
            tokio::spawn(async move {
                let Ok(stream) = tls.accept(stream).await else { return };
                let service = hyper::service::service_fn(review);
                let _ = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
    (address, STANDARD.encode(authority.certificate_pem()))
}

async fn review(
    request: http::Request<hyper::body::Incoming>,
) -> Result<http::Response<Full<bytes::Bytes>>, Infallible> {
    let mutate = request.uri().path() == "/mutate";
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let review: Value = serde_json::from_slice(&body).unwrap();
    let name = review["request"]["name"].as_str().unwrap_or_default();
    let mut response =
        json!({"uid": review["request"]["uid"], "allowed": name != "no", "warnings": ["seen"]});
    if name == "no" {
        response["status"] = json!({"message": "it is called no", "code": 422});
    }
    if mutate && name == "label" {
        let patch = json!([{"op": "add", "path": "/metadata/labels", "value": {"hooked": "yes"}}]);
        response["patchType"] = "JSONPatch".into();
        response["patch"] = STANDARD.encode(patch.to_string()).into();
    }
    let answer =
        json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "response": response});
    Ok(http::Response::new(Full::from(answer.to_string())))
}

fn configuration(kind: &str, ca: &str, service: &str, policy: &str, path: &str) -> Value {
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {"name": "hook"},
        "webhooks": [{
            "name": "hook.example.com", "sideEffects": "None", "admissionReviewVersions": ["v1"], "failurePolicy": policy,
            "timeoutSeconds": 2,
            "clientConfig": {"caBundle": ca, "service": {"name": service, "namespace": "default", "path": path}},
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"], "operations": ["CREATE"]}],
            "objectSelector": {"matchExpressions": [{"key": "skip", "operator": "DoesNotExist"}]},
        }],
    })
}

#[tokio::test]
async fn webhooks_change_and_refuse_what_they_are_asked_about() {
    let (address, ca) = webhook().await;
    let resolver = Arc::new(move |_: &str, name: &str, _: u16| (name == "hook").then_some(address));
    let (_server, client) = start_with(builder().service_resolver(resolver)).await;
    let hooks = |kind: &str, plural: &str| {
        let resource = kube::core::GroupVersionKind::gvk("admissionregistration.k8s.io", "v1", kind);
        Api::<kube::api::DynamicObject>::all_with(
            client.clone(),
            &kube::core::ApiResource::from_gvk_with_plural(&resource, plural),
        )
    };
    let mutating = configuration("MutatingWebhookConfiguration", &ca, "hook", "Fail", "/mutate");
    let mutators = hooks("MutatingWebhookConfiguration", "mutatingwebhookconfigurations");
    mutators.create(&PostParams::default(), &object(mutating)).await.unwrap();
    let validating = configuration("ValidatingWebhookConfiguration", &ca, "hook", "Fail", "/validate");
    let validators = hooks("ValidatingWebhookConfiguration", "validatingwebhookconfigurations");
    validators.create(&PostParams::default(), &object(validating)).await.unwrap();
    let maps: Api<ConfigMap> = Api::default_namespaced(client.clone());
    let map = |name: &str, labels: Value| {
        serde_json::from_value(json!({"metadata": {"name": name, "labels": labels}})).unwrap()
    };
    let made = maps.create(&PostParams::default(), &map("label", Value::Null)).await.unwrap();
    assert_eq!(made.metadata.labels.unwrap()["hooked"], "yes");
    let refused = refusal(maps.create(&PostParams::default(), &map("no", Value::Null)).await);
    let words = "admission webhook \"hook.example.com\" denied the request: it is called no";
    assert_eq!((refused.0, refused.2.as_str()), (422, words));
    maps.create(&PostParams::default(), &map("no", json!({"skip": "me"}))).await.expect("not asked about");
    let broken = json!({"webhooks": [{"name": "hook.example.com", "clientConfig": {"caBundle": ca, "service":
        {"name": "none", "namespace": "default"}}, "sideEffects": "None", "admissionReviewVersions": ["v1"],
        "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"], "operations": ["CREATE"]}]}]});
    mutators.patch("hook", &PatchParams::default(), &Patch::Merge(&broken)).await.unwrap();
    let failed = refusal(maps.create(&PostParams::default(), &map("x", Value::Null)).await);
    assert_eq!(failed.0, 500);
    assert!(
        failed.2.contains("failed calling webhook \"hook.example.com\": service \"none\" not found"),
        "{}",
        failed.2
    );
    let ignore = json!({"webhooks": [{"name": "hook.example.com", "failurePolicy": "Ignore", "clientConfig": {"caBundle": ca,
        "service": {"name": "none", "namespace": "default"}}, "sideEffects": "None", "admissionReviewVersions": ["v1"],
        "rules": broken["webhooks"][0]["rules"]}]});
    mutators.patch("hook", &PatchParams::default(), &Patch::Merge(&ignore)).await.unwrap();
    maps.create(&PostParams::default(), &map("x", Value::Null)).await.expect("goes on without it");
}
