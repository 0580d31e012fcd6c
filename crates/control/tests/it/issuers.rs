//! Who else proves workloads, and who else signs: OIDC issuers, and Kubernetes' signers.

use std::sync::Arc;
use std::time::Duration;

use lateen_control::ca::{CaOptions, ExternalOptions};
use lateen_identity::{Authority, SpiffeId, identities};
use serde_json::json;

use crate::certificates::{CONFIG_MAPS, HOUR, connect, create, leaf, request, sleep, start_with, verifies};
use crate::fake_api::FakeApi;

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_an_oidc_issuer_proves_a_workload() {
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let make = || EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let (key, other) = (make(), make());
    let point = key.public_key().as_ref();
    let jwks = json!({"keys": [{
        "kty": "EC", "crv": "P-256", "kid": "one", "alg": "ES256",
        "x": URL_SAFE_NO_PAD.encode(&point[1..33]), "y": URL_SAFE_NO_PAD.encode(&point[33..65]),
    }]});
    // The issuer: discovery, then keys, over HTTP.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let issuer = format!("http://{}", listener.local_addr().unwrap());
    let document = json!({"issuer": issuer, "jwks_uri": format!("{issuer}/keys")});
    let router = axum::Router::new()
        .route("/.well-known/openid-configuration", axum::routing::get(async move || axum::Json(document)))
        .route("/keys", axum::routing::get(async move || axum::Json(jwks)));
    tokio::spawn(async move { axum::serve(listener, router).await });
    let rule = json!({"issuer": issuer, "audiences": ["istio-ca"]});
    let oidc = Some(serde_json::from_value(rule).unwrap());
    let running = start_with(CaOptions { oidc, ..CaOptions::default() }).await;

    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let sign = |key: &EcdsaKeyPair, claims: serde_json::Value| {
        let header = json!({"alg": "ES256", "kid": "one"}).to_string();
        let signed =
            format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims.to_string()));
        let signature = key.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    };
    let good = json!({
        "iss": issuer, "aud": ["istio-ca"], "exp": now + 600, "sub": "system:serviceaccount:default:sleep",
    });
    let with = |name: &str, value: serde_json::Value| {
        let mut claims = good.clone();
        claims[name] = value;
        sign(&key, claims)
    };
    let mut client = connect(&running, &running.ca_pem, None).await.unwrap();
    let (_, asked) = request(&sleep());
    let chain = create(&mut client, Some(&sign(&key, good.clone())), &asked).await.unwrap();
    assert_eq!(identities(&leaf(&chain)), [sleep()]);
    let mut without_end = good.clone();
    without_end.as_object_mut().unwrap().remove("exp");
    for (what, token) in [
        ("another key", sign(&other, good.clone())),
        ("another audience", with("aud", json!(["somebody"]))),
        ("expired", with("exp", json!(now - 3600))),
        ("not yet valid", with("nbf", json!(now + 3600))),
        ("no service account", with("sub", json!("admin"))),
        ("another issuer", with("iss", json!("https://other.example"))),
        ("no end", sign(&key, without_end)),
    ] {
        assert_eq!(create(&mut client, Some(&token), &asked).await, Err(16), "{what}");
    }
    running.stop().await;
}

/// Signs what is approved, as a signer's controller does: for the identity that the CSR names, or for `instead`.
async fn signer(api: FakeApi, authority: Arc<Authority>, instead: Option<SpiffeId>) {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    const REQUESTS: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
    loop {
        for mut object in api.all(REQUESTS) {
            let approved = object["status"]["conditions"][0]["type"] == "Approved";
            if !approved || object["status"]["certificate"].is_string() {
                continue;
            }
            assert_eq!(object["spec"]["signerName"], "example.com/mesh");
            let csr = STANDARD.decode(object["spec"]["request"].as_str().unwrap()).unwrap();
            let csr = lateen_identity::SigningRequest::parse(&String::from_utf8(csr).unwrap()).unwrap();
            let id = instead.clone().unwrap_or_else(|| csr.uris()[0].parse().unwrap());
            let chain = authority.sign(&csr, &[id], HOUR, std::time::SystemTime::now()).unwrap();
            object["status"]["certificate"] = json!(STANDARD.encode(chain.concat()));
            api.put(REQUESTS, object);
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kubernetes_signer_signs_in_our_place() {
    let external = ExternalOptions {
        signer: Some("example.com/mesh".to_owned()),
        domain: Some("example.com".to_owned()),
    };
    let running = start_with(CaOptions { external: Some(external), ..CaOptions::default() }).await;
    let outside = Arc::new(Authority::create("outside", 10 * HOUR).unwrap());
    let (_, mut asked) = request(&sleep());
    let mut client = connect(&running, &running.ca_pem, None).await.unwrap();
    // Without a root for the signer nobody could verify what it signs.
    assert_eq!(create(&mut client, Some("sleep-token"), &asked).await, Err(13));
    let indented = outside.certificate_pem().replace('\n', "\n    ");
    let mesh = format!("caCertificates:\n- certSigners: [example.com/mesh]\n  pem: |\n    {indented}\n");
    let map = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "istio", "namespace": "istio-system"},
        "data": {"mesh": mesh},
    });
    running.api.put(CONFIG_MAPS, map);
    let signing = tokio::spawn(signer(running.api.clone(), Arc::clone(&outside), None));
    let mut chain = create(&mut client, Some("sleep-token"), &asked).await;
    for _ in 0..500 {
        if chain.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        chain = create(&mut client, Some("sleep-token"), &asked).await;
    }
    let chain = chain.unwrap();
    assert_eq!(identities(&leaf(&chain)), [sleep()]);
    assert!(verifies(&chain, outside.certificate_pem()));
    asked.set_cert_signer("mesh");
    assert!(create(&mut client, Some("sleep-token"), &asked).await.is_ok());
    assert!(running.api.all("/apis/certificates.k8s.io/v1/certificatesigningrequests").is_empty());

    // A signer that signs for somebody else is not believed.
    signing.abort();
    let admin = SpiffeId::new("cluster.local", "default", "admin").unwrap();
    let signing = tokio::spawn(signer(running.api.clone(), outside, Some(admin)));
    assert_eq!(create(&mut client, Some("sleep-token"), &asked).await, Err(13));
    signing.abort();
    running.stop().await;
}
