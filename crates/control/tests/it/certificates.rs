//! The certificate authority on the secure port: who gets which certificate, and who does not.

use std::sync::Arc;
use std::time::Duration;

use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper_util::rt::{TokioExecutor, TokioIo};
use lateen_control::ca::CaOptions;
use lateen_identity::{Authority, KeyKind, KeyRequest, Lifetimes, SpiffeId, TrustBundle, identities};
use lateen_xds::certificates::{CREATE_CERTIFICATE, CertificateRequest, CertificateResponse};
use lateen_xds::pb::google::protobuf::{Struct, Value, value::Kind};
use prost::Message;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::json;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::Running;
use crate::debug::{get, get_with};
use crate::fake_api::FakeApi;
use crate::objects::NAMESPACES;

const SECRETS: &str = "/api/v1/secrets";
pub const CONFIG_MAPS: &str = "/api/v1/configmaps";
const OWN: &str = "istio-system/istio-ca-secret";
pub const HOUR: Duration = Duration::from_secs(3600);

pub fn sleep() -> SpiffeId {
    SpiffeId::new("cluster.local", "default", "sleep").unwrap()
}

async fn start() -> Running {
    start_with(CaOptions::default()).await
}

pub async fn start_with(ca: CaOptions) -> Running {
    let api = FakeApi::start().await;
    let pod = Some(("sleep-1", "uid-1"));
    api.accept_token("sleep-token", "istio-ca", "system:serviceaccount:default:sleep", pod);
    api.accept_token("api-token", "https://kubernetes.default", "system:serviceaccount:default:sleep", pod);
    Running::with_ca(api, ca).await
}

pub type Client = hyper::client::conn::http2::SendRequest<Full<Bytes>>;

/// Connects as an agent does, trusting `roots`, with a client certificate if one is given.
pub async fn connect(running: &Running, roots: &str, own: Option<(&str, &str)>) -> std::io::Result<Client> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(TrustBundle::from_pem(roots).unwrap().roots().unwrap());
    let mut config = match own {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => {
            let chain = CertificateDer::pem_slice_iter(chain.as_bytes()).map(Result::unwrap).collect();
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
            builder.with_client_auth_cert(chain, key).unwrap()
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    let stream = TcpStream::connect(running.addresses.secure).await?;
    let name = ServerName::try_from("istiod.istio-system.svc").unwrap();
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .map_err(std::io::Error::other)?;
    tokio::spawn(connection);
    Ok(sender)
}

/// Calls `CreateCertificate`; gRPC's status code if it is refused.
pub async fn create(
    client: &mut Client,
    token: Option<&str>,
    request: &CertificateRequest,
) -> Result<Vec<String>, i32> {
    let message = request.encode_to_vec();
    let mut body = vec![0];
    body.extend_from_slice(&u32::try_from(message.len()).unwrap().to_be_bytes());
    body.extend_from_slice(&message);
    call(client, token, body).await
}

async fn call(client: &mut Client, token: Option<&str>, body: Vec<u8>) -> Result<Vec<String>, i32> {
    let mut request = Request::post(format!("https://istiod.istio-system.svc{CREATE_CERTIFICATE}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let response = client.send_request(request.body(Full::new(body.into())).unwrap()).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let status = |headers: &http::HeaderMap| {
        headers.get("grpc-status").map(|code| code.to_str().unwrap().parse::<i32>().unwrap())
    };
    if let Some(code) = status(response.headers()) {
        return Err(code);
    }
    let collected = response.into_body().collect().await.unwrap();
    let code = collected.trailers().and_then(status).unwrap();
    assert_eq!(code, 0);
    let bytes = collected.to_bytes();
    Ok(CertificateResponse::decode(&bytes[5..]).unwrap().cert_chain)
}

pub fn request(identity: &SpiffeId) -> (KeyRequest, CertificateRequest) {
    let made = KeyRequest::create(KeyKind::P256, identity).unwrap();
    let request = CertificateRequest { csr: made.csr_pem().to_owned(), ..CertificateRequest::default() };
    (made, request)
}

fn metadata(key: &str, value: &str) -> Option<Struct> {
    let value = Value { kind: Some(Kind::StringValue(value.to_owned())) };
    Some(Struct { fields: [(key.to_owned(), value)].into() })
}

pub fn leaf(chain: &[String]) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(chain[0].as_bytes()).unwrap()
}

/// The value of a counter on the metrics page.
async fn metric(running: &Running, name: &str) -> i64 {
    let (_, text) = get(running.addresses.monitoring, "/metrics").await;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("{name} in {text}")).trim().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_gets_a_certificate_and_the_certificate_the_next_one() {
    let running = start().await;
    let mut client = connect(&running, &running.ca_pem, None).await.unwrap();
    // The CSR may leave the name out, as ztunnel's does, or say it.
    let (made, asked) = request(&sleep());
    let chain = create(&mut client, Some("sleep-token"), &asked).await.unwrap();
    assert_eq!(chain.len(), 2, "leaf and root");
    assert_eq!(chain[1], running.ca_pem);
    assert_eq!(identities(&leaf(&chain)), [sleep()]);
    assert!(made.is_certified_by(&chain[0]).unwrap());
    let (from, to) = lateen_identity::pem_validity(&chain[0]).unwrap();
    let life = to.duration_since(from).unwrap();
    assert!(life >= 24 * HOUR && life < 25 * HOUR, "{life:?}");

    let own = (chain[0].as_str(), made.key_pem());
    let mut client = connect(&running, &running.ca_pem, Some((own.0, &own.1))).await.unwrap();
    let (_, mut asked) = request(&sleep());
    asked.validity_duration = 30;
    let next = create(&mut client, None, &asked).await.unwrap();
    assert_eq!(identities(&leaf(&next)), [sleep()]);
    let (from, to) = lateen_identity::pem_validity(&next[0]).unwrap();
    assert_eq!(to.duration_since(from).unwrap(), Duration::from_secs(30 + 120));
    assert_eq!(metric(&running, "citadel_server_csr_count").await, 2);
    assert_eq!(metric(&running, "citadel_server_success_cert_issuance_count").await, 2);
    assert!(metric(&running, "citadel_server_root_cert_expiry_seconds").await > 300_000_000);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_proves_nothing_gets_nothing() {
    let running = start().await;
    let mut client = connect(&running, &running.ca_pem, None).await.unwrap();
    let (_, asked) = request(&sleep());
    const UNAUTHENTICATED: i32 = 16;
    for token in [None, Some("nonsense"), Some("api-token")] {
        assert_eq!(create(&mut client, token, &asked).await, Err(UNAUTHENTICATED), "{token:?}");
    }
    assert_eq!(metric(&running, "citadel_server_authentication_failure_count").await, 3);
    assert_eq!(metric(&running, "citadel_server_success_cert_issuance_count").await, 0);

    // A certificate of another authority does not even get through TLS.
    let stranger = Authority::create("cluster.local", HOUR).unwrap();
    let (made, _) = request(&sleep());
    let csr = lateen_identity::SigningRequest::parse(made.csr_pem()).unwrap();
    let chain = stranger.sign(&csr, &[sleep()], HOUR, std::time::SystemTime::now()).unwrap();
    let key = made.key_pem();
    let outcome = async {
        let mut client = connect(&running, &running.ca_pem, Some((&chain[0], &key))).await.ok()?;
        client.ready().await.ok()?;
        let request = Request::post(format!("https://istiod.istio-system.svc{CREATE_CERTIFICATE}"));
        client.send_request(request.body(Full::new(Bytes::new())).unwrap()).await.ok()
    };
    assert!(outcome.await.is_none());
    assert_eq!(metric(&running, "lateen_refusals_total{what=\"handshake\",reason=\"tls\"}").await, 1);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_csr_for_somebody_else_is_refused_and_counted() {
    let running = start().await;
    let mut client = connect(&running, &running.ca_pem, None).await.unwrap();
    const PERMISSION_DENIED: i32 = 7;
    for other in [
        SpiffeId::new("cluster.local", "default", "admin").unwrap(),
        SpiffeId::new("cluster.local", "bank", "sleep").unwrap(),
        SpiffeId::new("evil.example", "default", "sleep").unwrap(),
    ] {
        let (_, asked) = request(&other);
        let refused = create(&mut client, Some("sleep-token"), &asked).await;
        assert_eq!(refused, Err(PERMISSION_DENIED), "{other}");
    }
    assert_eq!(metric(&running, "citadel_server_id_extraction_err_count").await, 3);

    // Nobody may ask for others unless the operator trusts it.
    let (_, mut asked) = request(&sleep());
    asked.metadata = metadata("ImpersonatedIdentity", "spiffe://cluster.local/ns/default/sa/admin");
    assert_eq!(create(&mut client, Some("sleep-token"), &asked).await, Err(16));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_requests_are_refused_and_counted() {
    let running = start().await;
    let mut client = connect(&running, &running.ca_pem, None).await.unwrap();
    let token = Some("sleep-token");
    const INVALID_ARGUMENT: i32 = 3;
    let (_, good) = request(&sleep());
    for csr in ["", "nonsense", &"x".repeat(20_000), &good.csr.replace("MII", "AAA").replace("MIH", "AAA")] {
        let asked = CertificateRequest { csr: csr.to_owned(), ..CertificateRequest::default() };
        assert_eq!(create(&mut client, token, &asked).await, Err(INVALID_ARGUMENT), "{csr:.20}");
    }
    // Truncated, compressed, and longer than the limit.
    assert_eq!(call(&mut client, token, vec![0, 0]).await, Err(INVALID_ARGUMENT));
    assert_eq!(call(&mut client, token, vec![0, 0, 0, 0, 9, 1]).await, Err(INVALID_ARGUMENT));
    assert_eq!(call(&mut client, token, vec![1, 0, 0, 0, 0]).await, Err(12));
    assert_eq!(call(&mut client, token, vec![0; 100_000]).await, Err(8));
    let asked = CertificateRequest { validity_duration: i64::MAX, ..good };
    assert_eq!(create(&mut client, token, &asked).await, Err(INVALID_ARGUMENT));
    assert_eq!(metric(&running, "citadel_server_csr_parsing_err_count").await, 8);
    assert_eq!(metric(&running, "citadel_server_csr_sign_err_count{error=\"TTL_ERROR\"}").await, 1);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_proxy_may_ask_for_pods_of_its_node_only() {
    let trusted = vec![("istio-system".to_owned(), "ztunnel".to_owned())];
    let running = start_with(CaOptions { trusted_nodes: trusted, ..CaOptions::default() }).await;
    let pod = |name: &str, namespace: &str, account: &str, node: &str, uid: &str| {
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": namespace, "uid": uid},
            "spec": {"nodeName": node, "serviceAccountName": account, "containers": []},
        })
    };
    running.api.put("/api/v1/pods", pod("ztunnel-1", "istio-system", "ztunnel", "node-1", "z1"));
    running.api.put("/api/v1/pods", pod("near", "default", "near", "node-1", "a"));
    running.api.put("/api/v1/pods", pod("far", "default", "far", "node-2", "b"));
    let user = "system:serviceaccount:istio-system:ztunnel";
    running.api.accept_token("ztunnel", "istio-ca", user, Some(("ztunnel-1", "z1")));
    running.api.accept_token("stale", "istio-ca", user, Some(("ztunnel-1", "older")));
    let mut client = connect(&running, &running.ca_pem, None).await.unwrap();
    let mut ask = async |token: &str, account: &str| {
        let wanted = SpiffeId::new("cluster.local", "default", account).unwrap();
        let (_, mut asked) = request(&wanted);
        asked.metadata = metadata("ImpersonatedIdentity", &wanted.to_string());
        create(&mut client, Some(token), &asked).await
    };
    // The pods are seen a moment after they are written.
    let mut chain = ask("ztunnel", "near").await;
    for _ in 0..100 {
        if chain.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        chain = ask("ztunnel", "near").await;
    }
    assert_eq!(identities(&leaf(&chain.unwrap()))[0].service_account(), "near");
    assert_eq!(ask("ztunnel", "far").await, Err(16), "another node's pod");
    assert_eq!(ask("ztunnel", "nobody").await, Err(16));
    assert_eq!(ask("stale", "near").await, Err(16), "a pod of the same name, long gone");
    assert_eq!(ask("sleep-token", "near").await, Err(16), "not a node proxy");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_root_is_made_once_and_stands_in_every_namespace() {
    let api = FakeApi::start().await;
    let namespace = |name: &str| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
    for name in ["default", "kube-system"] {
        api.put(NAMESPACES, namespace(name));
    }
    let running = Running::start(api).await;
    let root = running.ca_pem.clone();
    let holds = |map: &serde_json::Value| map["data"]["root-cert.pem"] == *root;
    running.api.changed(CONFIG_MAPS, "default/istio-ca-root-cert", holds).await;
    running.api.put(NAMESPACES, namespace("shop"));
    running.api.changed(CONFIG_MAPS, "shop/istio-ca-root-cert", holds).await;
    // Whoever tampers with it or deletes it is corrected.
    let forged = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "data": {"root-cert.pem": "forged"},
        "metadata": {"name": "istio-ca-root-cert", "namespace": "shop"},
    });
    running.api.put(CONFIG_MAPS, forged);
    running.api.changed(CONFIG_MAPS, "shop/istio-ca-root-cert", holds).await;
    running.api.delete(CONFIG_MAPS, "shop/istio-ca-root-cert", true);
    running.api.changed(CONFIG_MAPS, "shop/istio-ca-root-cert", holds).await;
    assert!(running.api.get(CONFIG_MAPS, "kube-system/istio-ca-root-cert").is_none());

    // A new process signs with the same root.
    let api = running.api.clone();
    let key = api.secret(OWN, "ca-key.pem").unwrap();
    running.stop().await;
    api.accept_token("sleep-token", "istio-ca", "system:serviceaccount:default:sleep", None);
    let running = Running::start(api).await;
    assert_eq!(running.ca_pem, root);
    assert_eq!(running.api.secret(OWN, "ca-key.pem").unwrap(), key);
    let mut client = connect(&running, &root, None).await.unwrap();
    let chain = create(&mut client, Some("sleep-token"), &request(&sleep()).1).await.unwrap();
    assert_eq!(chain[1], root);
    running.stop().await;
}

fn cacerts(authority: &Authority, key: &str, roots: &str) -> serde_json::Value {
    json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "cacerts", "namespace": "istio-system"},
        "stringData": {
            "ca-cert.pem": authority.certificate_pem(), "ca-key.pem": key,
            "cert-chain.pem": authority.chain_pem(), "root-cert.pem": roots,
        },
    })
}

/// Asks until the authority below `root` has signed.
async fn signed_below(running: &Running, trust: &str, root: &str) -> Vec<String> {
    for _ in 0..500 {
        if let Ok(mut client) = connect(running, trust, None).await
            && let Ok(chain) = create(&mut client, Some("sleep-token"), &request(&sleep()).1).await
            && chain.iter().any(|part| part == root)
            && verifies(&chain, root)
        {
            return chain;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the new authority never signs");
}

/// Whether a chain leads to one root alone.
pub fn verifies(chain: &[String], root: &str) -> bool {
    let roots = TrustBundle::from_pem(root).unwrap().roots().unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    let chain: Vec<_> =
        chain.iter().map(|part| CertificateDer::from_pem_slice(part.as_bytes()).unwrap()).collect();
    let now = rustls::pki_types::UnixTime::now();
    verifier.build().unwrap().verify_client_cert(&chain[0], &chain[1..], now).is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugged_authority_takes_over_with_overlapping_trust() {
    let lifetimes = Lifetimes { default: 2 * HOUR, longest: 4 * HOUR };
    let propagation = Duration::from_millis(500);
    let running = start_with(CaOptions { lifetimes, propagation, ..CaOptions::default() }).await;
    running
        .api
        .put(NAMESPACES, json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default"}}));
    let old = running.ca_pem.clone();
    signed_below(&running, &old, &old).await;

    let root = Authority::create("operator", 100 * HOUR).unwrap();
    let now = std::time::SystemTime::now();
    let below = root.intermediate("mesh", 50 * HOUR, now).unwrap();
    running.api.put(SECRETS, cacerts(&below, &below.key_pem(), root.certificate_pem()));
    // Trust first: both roots, while the old one still signs.
    let map = "default/istio-ca-root-cert";
    let both = |map: &serde_json::Value| {
        let text = map["data"]["root-cert.pem"].as_str().unwrap_or_default();
        text.contains(root.certificate_pem()) && text.contains(&old)
    };
    running.api.changed(CONFIG_MAPS, map, both).await;
    let trust =
        running.api.get(CONFIG_MAPS, map).unwrap()["data"]["root-cert.pem"].as_str().unwrap().to_owned();
    let chain = signed_below(&running, &trust, root.certificate_pem()).await;
    assert_eq!(chain.len(), 4, "leaf, intermediate, and both roots");
    assert!(chain.contains(&old), "certificates of the old root are still understood");

    // A key that does not match, and a chain that leads nowhere, change nothing.
    let stranger = Authority::create("stranger", HOUR).unwrap();
    running.api.put(SECRETS, cacerts(&below, &stranger.key_pem(), root.certificate_pem()));
    running.api.put(SECRETS, cacerts(&below, &below.key_pem(), stranger.certificate_pem()));
    // Operators are told so beside the Secret.
    let events = "/apis/events.k8s.io/v1/events";
    for part in ["key", "root"] {
        let told = |event: &serde_json::Value| {
            let note = event["note"].as_str().unwrap_or_default();
            event["regarding"]["name"] == "cacerts" && event["type"] == "Warning" && note.contains(part)
        };
        for attempt in 0.. {
            let all = running.api.all(events);
            if all.iter().any(told) {
                break;
            }
            assert!(attempt < 500, "no event with {part:?}: {all:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    // Another intermediate below the same root signs at once; the Secrets before it have been seen by then.
    let other = root.intermediate("other", 50 * HOUR, now).unwrap();
    running.api.put(SECRETS, cacerts(&other, &other.key_pem(), root.certificate_pem()));
    for _ in 0..500 {
        let chain = signed_below(&running, &trust, root.certificate_pem()).await;
        assert!(!chain.iter().any(|part| part == stranger.certificate_pem()));
        if chain[1] == *other.certificate_pem() {
            running.stop().await;
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the other intermediate never signs");
}

#[tokio::test(flavor = "multi_thread")]
async fn xds_on_the_secure_port_is_for_the_workload_that_the_node_describes() {
    let running = start().await;
    let connect = || connect(&running, &running.ca_pem, None);
    let stream = async |token: Option<&str>, node: &str| {
        use lateen_xds::pb::envoy::config::core::v3::Node;
        use lateen_xds::pb::envoy::service::discovery::v3::DeltaDiscoveryRequest;
        let account = Value { kind: Some(Kind::StringValue("sleep".to_owned())) };
        let metadata = Struct { fields: [("SERVICE_ACCOUNT".to_owned(), account)].into() };
        let node = Node { id: node.to_owned(), metadata: Some(metadata), ..Node::default() };
        let message = DeltaDiscoveryRequest {
            node: Some(node),
            type_url: lateen_xds::TypeUrl::Cluster.as_str().to_owned(),
            ..DeltaDiscoveryRequest::default()
        }
        .encode_to_vec();
        let mut body = vec![0];
        body.extend_from_slice(&u32::try_from(message.len()).unwrap().to_be_bytes());
        body.extend_from_slice(&message);
        let path = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";
        let mut request = Request::post(format!("https://istiod.istio-system.svc{path}"));
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let mut client = connect().await.unwrap();
        let response = client.send_request(request.body(Full::new(body.into())).unwrap()).await.unwrap();
        let mut body = response.into_body();
        let mut messages = 0;
        while let Some(frame) = body.frame().await {
            let frame = frame.unwrap();
            if let Some(trailers) = frame.trailers_ref() {
                let status = trailers["grpc-status"].to_str().unwrap().parse::<i32>().unwrap();
                return (messages, status);
            }
            messages += 1;
        }
        panic!("the stream ends without a status");
    };
    let own = "sidecar~10.244.1.1~sleep-1.default~default.svc.cluster.local";
    assert_eq!(stream(None, own).await, (0, 16));
    assert_eq!(stream(Some("api-token"), own).await, (0, 16));
    let other = "sidecar~10.244.1.1~vault-1.bank~bank.svc.cluster.local";
    assert_eq!(stream(Some("sleep-token"), other).await, (0, 7));
    let refused = |reason: &str| format!("lateen_refusals_total{{what=\"xds\",reason=\"{reason}\"}}");
    assert_eq!(metric(&running, &refused("unauthenticated")).await, 2);
    assert_eq!(metric(&running, &refused("identity")).await, 1);
    // The client half-closes after one request: the server may end before it answers, but refuses nothing.
    assert_eq!(stream(Some("sleep-token"), own).await.1, 0);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn debug_pages_are_for_those_who_are_near_or_prove_who_they_are() {
    let running = start().await;
    running.api.accept_token("own-token", "istio-ca", "system:serviceaccount:istio-system:istiod", None);
    // Whoever speaks for somebody else is not near.
    let far = "x-forwarded-for: 10.244.1.1\r\n";
    let bearer = |token: &str| format!("{far}authorization: Bearer {token}\r\n");
    for address in [running.addresses.monitoring, running.addresses.http] {
        let page = "/debug/syncz";
        assert_eq!(get(address, page).await.0, 200);
        assert_eq!(get_with(address, page, far).await.0, 401);
        assert_eq!(get_with(address, page, &bearer("api-token")).await.0, 401, "of another audience");
        assert_eq!(get_with(address, page, &bearer("sleep-token")).await.0, 403, "of another namespace");
        assert_eq!(get_with(address, page, &bearer("own-token")).await.0, 200);
        for open in ["/metrics", "/ready", "/version"] {
            assert_eq!(get_with(address, open, far).await.0, 200, "{open}");
        }
    }
    assert_eq!(metric(&running, "lateen_refusals_total{what=\"debug\",reason=\"unauthenticated\"}").await, 4);
    assert_eq!(metric(&running, "lateen_refusals_total{what=\"debug\",reason=\"namespace\"}").await, 2);
    running.stop().await;
}
