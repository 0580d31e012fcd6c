//! Certificates that live for seconds, under load, while the root is replaced: no request may fail.
//!
//! A gateway, a sidecar whose pod calls, and one whose pod is called, each with its agent, and the control plane's own
//! authority. `LATEEN_ROTATION=full` runs five
//! minutes with lives of 30 s at 1,000 requests a second; without it the same in short.

mod load;

use std::fs;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};

use self::load::{Run, Tally, Target, wait_until};
use crate::harness::{Mesh, User, eventually, has_program, missing_peer};

const MANIFEST: &str = "
apiVersion: v1
kind: Service
metadata: {name: keep, namespace: clock}
spec: {selector: {app: httpbin}, ports: [{name: http, port: 8000, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: fresh, namespace: clock}
spec: {selector: {app: httpbin}, ports: [{name: http, port: 8000, targetPort: 8080}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: httpbin, namespace: clock}
spec:
  selector: {matchLabels: {app: httpbin}}
  template:
    metadata: {labels: {app: httpbin}}
    spec:
      containers: [{name: httpbin, image: docker.io/mccutchen/go-httpbin:v2.15.0, ports: [{containerPort: 8080}]}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: caller, namespace: clock}
spec:
  selector: {matchLabels: {app: caller}}
  template:
    metadata: {labels: {app: caller}}
    spec: {containers: [{name: load, image: example.com/load}]}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: clock}
spec: {mtls: {mode: STRICT}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: fresh, namespace: clock}
spec:
  host: fresh
  trafficPolicy: {connectionPool: {http: {maxRequestsPerConnection: 4}}}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: clock, namespace: clock}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: keep, namespace: clock}
spec:
  hosts: [keep.example, keep.clock.svc.cluster.local]
  gateways: [clock, mesh]
  http: [{route: [{destination: {host: keep, port: {number: 8000}}}], retries: {attempts: 0}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: fresh, namespace: clock}
spec:
  hosts: [fresh.example, fresh.clock.svc.cluster.local]
  gateways: [clock, mesh]
  http: [{route: [{destination: {host: fresh, port: {number: 8000}}}], retries: {attempts: 0}}]
";

#[test]
fn no_request_fails_while_certificates_and_the_root_are_replaced() {
    if !has_program("kubectl") {
        return missing_peer("kubectl");
    }
    let mode = std::env::var("LATEEN_ROTATION").unwrap_or_default();
    let run = Run::of(&mode);
    let image = format!("example.com/load={}", load::command());
    let mesh = Mesh::up(User::Current, &["--image", &image]);
    deploy(&mesh, &run);
    let before = (handshakes(&mesh), issued(&mesh));
    let operator = Operator::new();
    let start = Instant::now();
    let (outside, inside) = std::thread::scope(|scope| {
        let outside = scope.spawn(|| load::send(&run, &targets(&mesh)));
        let inside = scope.spawn(|| by_pod(&mesh, &mode));
        wait_until(start + run.duration / 2);
        operator.plug_in(&mesh);
        (outside.join().unwrap(), inside.join().unwrap())
    });
    let (handshakes, issued) = (handshakes(&mesh) - before.0, issued(&mesh) - before.1);
    for (who, tally) in [("the gateway", &outside), ("a sidecar", &inside)] {
        println!(
            "{} requests answered in {:?} over {} connections to {who}, {} failed",
            tally.answered,
            run.duration,
            tally.connections,
            tally.failed.len()
        );
    }
    println!("{handshakes} mutual TLS handshakes; {issued} certificates issued");
    for tally in [&outside, &inside] {
        assert!(tally.failed.is_empty(), "{:?}", &tally.failed[..tally.failed.len().min(20)]);
        let wanted = run.duration.as_secs() * u64::from(run.requests_per_second) / 2;
        assert!(tally.answered > wanted * 8 / 10, "only {} of {wanted}", tally.answered);
    }
    let answered = outside.answered + inside.answered;
    assert!(handshakes > answered / 2 / 4 / 2, "connections were not made anew");
    // Three workloads, each at half of a certificate's life.
    let rotations = 3 * 2 * run.duration.as_secs() / run.life;
    assert!(issued + 3 >= rotations, "{issued} of {rotations} certificates");
    for (namespace, workload) in
        [("istio-system", "istio-ingressgateway"), ("clock", "httpbin"), ("clock", "caller")]
    {
        operator.vouches_for(&mesh, namespace, workload, run.life);
    }
}

/// Short lives for everybody: the gateway too gets its certificate anew.
fn deploy(mesh: &Mesh, run: &Run) {
    let (life, propagation) = (
        format!("DEFAULT_WORKLOAD_CERT_TTL={}s", run.life),
        format!("LATEEN_ROOT_PROPAGATION={}s", run.propagation),
    );
    let system = |arguments: &[&str]| mesh.kubectl(&[&["-n", "istio-system"], arguments].concat());
    system(&["set", "env", "deployment/istiod", &life, &propagation]);
    system(&["rollout", "status", "deployment/istiod", "--timeout=60s"]);
    system(&["rollout", "restart", "deployment/istio-ingressgateway"]);
    mesh.kubectl(&["create", "namespace", "clock"]);
    mesh.kubectl(&["label", "namespace", "clock", "istio-injection=enabled"]);
    let file = mesh.state.join("rotation.yaml");
    fs::write(&file, MANIFEST).unwrap();
    mesh.apply(&file);
    system(&["rollout", "status", "deployment/istio-ingressgateway", "--timeout=60s"]);
    for name in ["httpbin", "caller"] {
        let deployment = format!("deployment/{name}");
        mesh.kubectl(&["-n", "clock", "rollout", "status", &deployment, "--timeout=60s"]);
    }
    let targets = targets(mesh);
    // Twenty in a row: the gateway that was replaced takes no more connections, and its successor knows the routes.
    eventually(Duration::from_secs(30), || {
        (0..20).try_for_each(|number| {
            let target = &targets[number % 2];
            let mut connection = load::open(target).map_err(|error| error.to_string())?;
            load::once(&mut connection, target.1).map(drop)
        })
    });
}

fn targets(mesh: &Mesh) -> [Target; 2] {
    ["Host: keep.example", "Host: fresh.example"]
        .map(|host| (mesh.gateway.trim_start_matches("http://").to_owned(), host))
}

/// A page of a pod's own loopback.
fn page(mesh: &Mesh, namespace: &str, deployment: &str, container: &str, url: &str) -> String {
    let deployment = format!("deploy/{deployment}");
    mesh.kubectl(&["-n", namespace, "exec", &deployment, "-c", container, "--", "curl", "-s", url])
}

/// What a pod says of its own requests, which its sidecar takes.
fn by_pod(mesh: &Mesh, mode: &str) -> Tally {
    let said = page(mesh, "clock", "caller", "istio-proxy", &format!("{}{mode}", load::PAGE));
    serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"))
}

/// TLS handshakes that the server's sidecar has served.
fn handshakes(mesh: &Mesh) -> u64 {
    let stats = page(mesh, "clock", "httpbin", "istio-proxy", "http://127.0.0.1:15000/stats");
    let values = stats.lines().filter_map(|line| line.split_once(": "));
    values
        .filter(|(name, _)| name.starts_with("listener.") && name.ends_with("ssl.handshake"))
        .filter_map(|(_, value)| value.parse::<u64>().ok())
        .sum()
}

/// Certificates that the authority has issued.
fn issued(mesh: &Mesh) -> u64 {
    let metrics = page(mesh, "istio-system", "istiod", "discovery", "http://127.0.0.1:15014/metrics");
    let name = "citadel_server_success_cert_issuance_count ";
    metrics.lines().find_map(|line| line.strip_prefix(name)?.parse().ok()).expect("a counter")
}

/// Somebody's own root, and an intermediate below it for the mesh.
struct Operator {
    root: String,
    intermediate: String,
    key: String,
}

impl Operator {
    fn new() -> Operator {
        let authority = |name: &str| {
            let mut params = CertificateParams::default();
            params.distinguished_name.push(DnType::CommonName, name);
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
            params
        };
        let (root_key, key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let root = authority("operator").self_signed(&root_key).unwrap().pem();
        let issuer = Issuer::new(authority("operator"), root_key);
        let intermediate = authority("mesh of the operator").signed_by(&key, &issuer).unwrap().pem();
        Operator { root, intermediate, key: key.serialize_pem() }
    }

    /// Gives it to the control plane, as an operator does.
    fn plug_in(&self, mesh: &Mesh) {
        let folder = mesh.state.join("cacerts");
        fs::create_dir_all(&folder).unwrap();
        let chain = format!("{}{}", self.intermediate, self.root);
        for (name, text) in [
            ("ca-cert.pem", &self.intermediate),
            ("ca-key.pem", &self.key),
            ("root-cert.pem", &self.root),
            ("cert-chain.pem", &chain),
        ] {
            fs::write(folder.join(name), text).unwrap();
        }
        let from = format!("--from-file={}", folder.display());
        mesh.kubectl(&["-n", "istio-system", "create", "secret", "generic", "cacerts", &from]);
    }

    /// A workload's certificate comes to lie below the new root.
    fn vouches_for(&self, mesh: &Mesh, namespace: &str, workload: &str, life: u64) {
        let bare = |text: &str| text.split_whitespace().collect::<String>();
        eventually(Duration::from_secs(life), || {
            let dump = page(mesh, namespace, workload, "istio-proxy", "http://127.0.0.1:15000/config_dump");
            match chains(&dump).iter().any(|chain| bare(chain).contains(&bare(&self.intermediate))) {
                true => Ok(()),
                false => Err(format!("{workload} shows {:?}", chains(&dump))),
            }
        });
    }
}

/// The certificate chains in a configuration dump, as PEM.
fn chains(dump: &str) -> Vec<String> {
    let parts = dump.split("\"certificate_chain\"").skip(1);
    let encoded = parts.filter_map(|part| part.split_once("\"inline_bytes\"")?.1.split('"').nth(1));
    encoded.filter_map(|text| String::from_utf8(STANDARD.decode(text).ok()?).ok()).collect()
}
