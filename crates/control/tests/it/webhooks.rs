use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::Running;
use crate::fake_api::FakeApi;
use crate::objects::{LEASES, MUTATING, NAMESPACES, meta};

/// Posts to a webhook as the API server does: over TLS, by the service's name, trusting the bundle.
async fn post(running: &Running, path: &str, body: String) -> (u16, String) {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(running.ca_pem.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(running.addresses.webhooks).await.unwrap();
    let name = ServerName::try_from("istiod.istio-system.svc").unwrap();
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::post(path)
        .header("host", "istiod.istio-system.svc")
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(body)))
        .unwrap();
    let response = sender.send_request(request).await.unwrap();
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

async fn review(running: &Running, path: &str, version: &str, object: Value) -> Value {
    let body = json!({
        "apiVersion": version, "kind": "AdmissionReview",
        "request": {"uid": "u1", "namespace": "default", "name": "x", "operation": "CREATE", "object": object},
    });
    let (status, body) = post(running, path, body.to_string()).await;
    assert_eq!(status, 200, "{body}");
    let answer: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(answer["apiVersion"], version);
    assert_eq!(answer["response"]["uid"], "u1");
    answer["response"].clone()
}

fn pod() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"generateName": "sleep-", "labels": {"app": "sleep"}},
        "spec": {"containers": [{"name": "sleep", "image": "curl"}]},
    })
}

fn namespace(injection: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default", "labels": {"istio-injection": injection}}})
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_of_labelled_namespaces_get_a_sidecar_in_both_review_versions() {
    let api = FakeApi::start().await;
    api.put(NAMESPACES, namespace("enabled"));
    let running = Running::start(api).await;
    for version in ["admission.k8s.io/v1", "admission.k8s.io/v1beta1"] {
        let answer = review(&running, "/inject", version, pod()).await;
        assert_eq!((&answer["allowed"], &answer["patchType"]), (&json!(true), &json!("JSONPatch")));
        let patch = STANDARD.decode(answer["patch"].as_str().unwrap()).unwrap();
        let patch: json_patch::Patch = serde_json::from_slice(&patch).unwrap();
        let mut injected = pod();
        json_patch::patch(&mut injected, &patch).unwrap();
        let names: Vec<&str> = injected["spec"]["containers"]
            .as_array()
            .unwrap()
            .iter()
            .map(|c| c["name"].as_str().unwrap())
            .collect();
        assert!(names.contains(&"istio-proxy") && names.contains(&"sleep"), "{names:?}");
    }
    running.api.put(NAMESPACES, namespace("disabled"));
    let answer = review(&running, "/inject", "admission.k8s.io/v1", pod()).await;
    assert_eq!((answer["allowed"].as_bool(), answer.get("patch")), (Some(true), None));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_resource_is_refused_with_every_error() {
    let running = Running::start(FakeApi::start().await).await;
    let object = json!({
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": meta("default", "x"),
        "spec": {
            "hosts": ["reviews"],
            "http": [{
                "timeout": "soon",
                "route": [{"destination": {"host": "reviews"}, "weight": -1}],
                "nonsense": true,
            }],
        },
    });
    let answer = review(&running, "/validate", "admission.k8s.io/v1", object).await;
    assert_eq!(answer["allowed"], false);
    let message = answer["status"]["message"].as_str().unwrap();
    for field in ["spec.http[0].timeout", "spec.http[0].nonsense", "spec.http[0].route[0].weight"] {
        assert!(message.contains(field), "{field} in {message}");
    }
    assert_eq!(answer["status"]["code"], 400);
    assert!(answer["status"]["details"]["causes"].as_array().unwrap().len() >= 3);
    let valid = crate::objects::split(10);
    assert_eq!(review(&running, "/validate", "admission.k8s.io/v1", valid).await["allowed"], true);
    assert_eq!(review(&running, "/validate", "admission.k8s.io/v1", pod()).await["allowed"], true);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_review_is_refused_and_what_is_too_large_is_cut_off() {
    let running = Running::start(FakeApi::start().await).await;
    for body in ["", "{}", "{\"apiVersion\":\"v1\",\"kind\":\"Pod\"}", "nonsense"] {
        let (status, text) = post(&running, "/validate", body.to_owned()).await;
        assert_eq!(status, 400, "{text}");
        assert!(text.contains("AdmissionReview"), "{text}");
    }
    let (status, _) = post(&running, "/inject", " ".repeat(9 << 20)).await;
    assert_eq!(status, 413);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ca_bundle_is_put_into_the_webhook_configurations_and_kept_there() {
    let api = FakeApi::start().await;
    let configuration = |name: &str, service: &str| {
        let hook = |name: &str| {
            json!({"name": name, "clientConfig": {"service": {"name": service, "namespace": "istio-system"}},
                   "sideEffects": "None", "admissionReviewVersions": ["v1"]})
        };
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
            "metadata": {"name": name},
            "webhooks": [hook("a.istio.io"), hook("b.istio.io")],
        })
    };
    api.put(MUTATING, configuration("istio-sidecar-injector", "istiod"));
    api.put(MUTATING, configuration("istio-sidecar-injector-canary", "istiod-canary"));
    let running = Running::start(api).await;
    let expected = json!(STANDARD.encode(&running.ca_pem));
    for _ in 0..2 {
        running
            .api
            .changed(MUTATING, "istio-sidecar-injector", |object| {
                (0..2).all(|at| object["webhooks"][at]["clientConfig"]["caBundle"] == expected)
            })
            .await;
        // Somebody applies the manifest again.
        running.api.put(MUTATING, configuration("istio-sidecar-injector", "istiod"));
    }
    let other = running.api.get(MUTATING, "istio-sidecar-injector-canary").unwrap();
    assert!(other["webhooks"][0]["clientConfig"].get("caBundle").is_none());
    let lease = |api: &FakeApi| {
        api.get(LEASES, "istio-system/istio-leader").unwrap()["spec"]["holderIdentity"].clone()
    };
    let api = running.api.clone();
    assert_eq!(lease(&api), "istiod");
    running.stop().await;
    assert_eq!(lease(&api), Value::Null, "the lease is given back at the end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revision_tag_leads_its_namespaces_here() {
    let api = FakeApi::start().await;
    let mut tagged = namespace("enabled");
    tagged["metadata"]["labels"] = json!({"istio.io/rev": "prod"});
    api.put(NAMESPACES, tagged);
    let running = Running::start(api).await;
    let answer = review(&running, "/inject", "admission.k8s.io/v1", pod()).await;
    assert_eq!(
        (&answer["allowed"], &answer["patch"]),
        (&json!(true), &Value::Null),
        "no such tag leads here"
    );
    let mut tag = meta("", "istio-revision-tag-prod");
    tag["labels"] = json!({"istio.io/rev": "default", "istio.io/tag": "prod"});
    running.api.put(
        MUTATING,
        json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration", "metadata": tag}),
    );
    // Without a moment between: a pod may be made right after its tag.
    let answer = review(&running, "/inject", "admission.k8s.io/v1", pod()).await;
    assert!(answer["patch"].is_string(), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_owner_of_a_pod_that_cannot_be_injected_is_told_unless_it_is_a_dry_run() {
    const EVENTS: &str = "/apis/events.k8s.io/v1/events";
    let api = FakeApi::start().await;
    api.put(NAMESPACES, namespace("enabled"));
    let running = Running::start(api).await;
    let mut host = pod();
    host["spec"]["hostNetwork"] = json!(true);
    host["metadata"]["ownerReferences"] = json!([
        {"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "agent", "uid": "d1", "controller": true},
    ]);
    let request = |dry_run: bool| {
        json!({
            "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
            "request": {
                "uid": "u1", "namespace": "default", "operation": "CREATE", "dryRun": dry_run, "object": host,
            },
        })
        .to_string()
    };
    for dry_run in [true, false] {
        let (status, body) = post(&running, "/inject", request(dry_run)).await;
        let answer: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(status, 200);
        assert_eq!(
            (&answer["response"]["allowed"], &answer["response"]["patch"]),
            (&json!(true), &Value::Null)
        );
    }
    let told = tokio::time::timeout(std::time::Duration::from_secs(10), async {
        loop {
            if let [event, ..] = &running.api.all(EVENTS)[..] {
                break event.clone();
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    });
    let event = told.await.unwrap();
    assert_eq!(
        (&event["reason"], &event["regarding"]["name"]),
        (&json!("SidecarInjectionSkipped"), &json!("agent"))
    );
    assert!(event["note"].as_str().unwrap().contains("host's network"), "{event}");
    assert_eq!(running.api.all(EVENTS).len(), 1, "the dry run told nobody");
}
