//! Certificates that live for seconds, under load, while the root is replaced: no request may fail.
//!
//! A gateway and a sidecar, each with its agent, and the control plane's own authority. `LATEEN_ROTATION=full` runs five
//! minutes with lives of 30 s at 1,000 requests a second; without it the same in short.

use std::fs;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lateen_testkit::http::Connection;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};

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
  hosts: [keep.example]
  gateways: [clock]
  http: [{route: [{destination: {host: keep, port: {number: 8000}}}], retries: {attempts: 0}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: fresh, namespace: clock}
spec:
  hosts: [fresh.example]
  gateways: [clock]
  http: [{route: [{destination: {host: fresh, port: {number: 8000}}}], retries: {attempts: 0}}]
";

/// How long and how hard.
struct Run {
    life: u64,
    duration: Duration,
    requests_per_second: u32,
    /// How long a new root is only made known, in seconds.
    propagation: u64,
}

impl Run {
    fn from_environment() -> Run {
        let seconds = Duration::from_secs;
        match std::env::var("LATEEN_ROTATION").as_deref() {
            Ok("full") => {
                Run { life: 30, duration: seconds(300), requests_per_second: 1000, propagation: 10 }
            }
            _ => Run { life: 6, duration: seconds(14), requests_per_second: 150, propagation: 2 },
        }
    }
}

/// What became of the requests.
#[derive(Default)]
struct Tally {
    answered: AtomicU64,
    connections: AtomicU64,
    failed: Mutex<Vec<String>>,
}

const CLIENTS: u32 = 20;

#[test]
fn no_request_fails_while_certificates_and_the_root_are_replaced() {
    if !has_program("kubectl") {
        return missing_peer("kubectl");
    }
    let run = Run::from_environment();
    let mesh = Mesh::up(User::Current, &[]);
    deploy(&mesh, &run);
    let before = (handshakes(&mesh), issued(&mesh));
    let operator = Operator::new();
    let (stop, tally) = (AtomicBool::new(false), Tally::default());
    let start = Instant::now();
    std::thread::scope(|scope| {
        for number in 0..CLIENTS {
            let (mesh, run, stop, tally) = (&mesh, &run, &stop, &tally);
            scope.spawn(move || ask(mesh, run, number, stop, tally));
        }
        wait_until(start + run.duration / 2);
        operator.plug_in(&mesh);
        wait_until(start + run.duration);
        stop.store(true, Relaxed);
    });
    let took = start.elapsed();
    let (answered, failed) = (tally.answered.load(Relaxed), tally.failed.into_inner().unwrap());
    let (handshakes, issued) = (handshakes(&mesh) - before.0, issued(&mesh) - before.1);
    println!(
        "{answered} requests answered in {:.1} s over {} connections to the gateway and {handshakes} mutual TLS handshakes, \
         {} failed; {issued} certificates issued",
        took.as_secs_f64(),
        tally.connections.load(Relaxed),
        failed.len(),
    );
    assert!(failed.is_empty(), "{:?}", &failed[..failed.len().min(20)]);
    let wanted = run.duration.as_secs() * u64::from(run.requests_per_second);
    assert!(answered > wanted * 8 / 10, "only {answered} of {wanted}");
    assert!(handshakes > answered / 2 / 4 / 2, "connections were not made anew");
    // Two workloads, each at half of a certificate's life.
    let rotations = 2 * 2 * run.duration.as_secs() / run.life;
    assert!(issued + 3 >= rotations, "{issued} of {rotations} certificates");
    for (namespace, workload) in [("istio-system", "istio-ingressgateway"), ("clock", "httpbin")] {
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
    mesh.kubectl(&["-n", "clock", "rollout", "status", "deployment/httpbin", "--timeout=60s"]);
    // Twenty in a row: the gateway that was replaced takes no more connections, and its successor knows the routes.
    eventually(Duration::from_secs(30), || {
        (0..20).try_for_each(|number| {
            let mut connection = open(mesh).map_err(|error| error.to_string())?;
            send(&mut connection, HOSTS[number % 2]).map(drop)
        })
    });
}

const HOSTS: [&str; 2] = ["Host: keep.example", "Host: fresh.example"];

fn open(mesh: &Mesh) -> std::io::Result<Connection> {
    Connection::open(mesh.gateway.trim_start_matches("http://"))
}

/// Asks once; tells whether the connection stays open.
fn send(connection: &mut Connection, host: &str) -> Result<bool, String> {
    let answer =
        connection.request("GET", "/status/200", &[host], "").map_err(|error| format!("{host}: {error}"))?;
    match answer.status {
        200 => Ok(!answer.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))),
        status => Err(format!("{host}: {status} {} {:?}", answer.body, answer.headers)),
    }
}

/// One client: requests at a pace over one connection, every tenth over a connection of its own.
fn ask(mesh: &Mesh, run: &Run, number: u32, stop: &AtomicBool, tally: &Tally) {
    let pace = Duration::from_secs(1) * CLIENTS / run.requests_per_second;
    let host = HOSTS[number as usize % 2];
    let mut kept: Option<Connection> = None;
    let mut next = Instant::now() + pace * number / CLIENTS;
    for request in 1_u64.. {
        wait_until(next);
        if stop.load(Relaxed) {
            return;
        }
        // What a slow machine could not do in time is not made up for.
        next = (next + pace).max(Instant::now());
        let mut own = if request.is_multiple_of(10) { None } else { kept.take() };
        let outcome = match own.take() {
            Some(connection) => Ok(connection),
            None => {
                tally.connections.fetch_add(1, Relaxed);
                open(mesh).map_err(|error| format!("connect: {error}"))
            }
        };
        let outcome = outcome.and_then(|mut connection| Ok((send(&mut connection, host)?, connection)));
        match outcome {
            Ok((open, connection)) => {
                tally.answered.fetch_add(1, Relaxed);
                if open && kept.is_none() {
                    kept = Some(connection);
                }
            }
            Err(error) => tally.failed.lock().unwrap().push(error),
        }
    }
}

fn wait_until(when: Instant) {
    while let Some(left) = when.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
        std::thread::park_timeout(left);
    }
}

/// A page of a pod's own loopback.
fn page(mesh: &Mesh, namespace: &str, deployment: &str, container: &str, url: &str) -> String {
    let deployment = format!("deploy/{deployment}");
    mesh.kubectl(&["-n", namespace, "exec", &deployment, "-c", container, "--", "curl", "-s", url])
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
