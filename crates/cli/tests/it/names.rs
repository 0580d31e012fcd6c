//! DNS capture: what a pod can call by name when its agent resolves names, and what it can still call without a control
//! plane.

use std::fs;
use std::net::Ipv4Addr;
use std::time::Duration;

use crate::harness::{Mesh, User, envoy, eventually, has_program, missing_peer};

/// The client's DNS is captured, the stranger's is not. Nothing but the mesh knows the hosts below `internal`. The two
/// hosts on port 9000 have no address: only one that is chosen can tell them apart.
const MANIFEST: &str = "
apiVersion: v1
kind: Service
metadata: {name: httpbin}
spec:
  selector: {app: httpbin}
  ports: [{name: http, port: 8000, targetPort: 8080}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: httpbin}
spec:
  selector: {matchLabels: {app: httpbin}}
  template:
    metadata: {labels: {app: httpbin}}
    spec:
      containers: [{name: httpbin, image: docker.io/mccutchen/go-httpbin:v2.15.0, ports: [{containerPort: 8080}]}]
---
apiVersion: v1
kind: Service
metadata: {name: db}
spec:
  clusterIP: None
  selector: {app: db}
  ports: [{name: tcp, port: 3306}]
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  serviceName: db
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec:
      containers: [{name: db, image: debian, command: [sleep, infinity]}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: client}
spec:
  selector: {matchLabels: {app: client}}
  template:
    metadata:
      labels: {app: client}
      annotations:
        proxy.istio.io/config: |
          proxyMetadata: {ISTIO_META_DNS_CAPTURE: 'true'}
    spec:
      containers: [{name: client, image: debian, command: [sleep, infinity]}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: stranger}
spec:
  selector: {matchLabels: {app: stranger}}
  template:
    metadata: {labels: {app: stranger}}
    spec:
      containers: [{name: stranger, image: debian, command: [sleep, infinity]}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: address}
spec:
  hosts: [address.internal, '*.wild.internal']
  addresses: [198.51.100.1]
  ports: [{number: 80, name: http, protocol: HTTP, targetPort: 8000}]
  resolution: DNS
  endpoints: [{address: httpbin.default.svc.cluster.local}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: one}
spec:
  hosts: [one.internal]
  ports: [{number: 9000, name: tcp, protocol: TCP, targetPort: 8000}]
  resolution: DNS
  endpoints: [{address: httpbin.default.svc.cluster.local}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: two}
spec:
  hosts: [two.internal]
  ports: [{number: 9000, name: tcp, protocol: TCP, targetPort: 9}]
  resolution: DNS
  endpoints: [{address: httpbin.default.svc.cluster.local}]
";

#[test]
fn captured_names_are_resolved_with_and_without_the_control_plane() {
    resolve(User::Current, &[]);
}

#[test]
fn captured_names_are_resolved_beside_envoy() {
    let Some(envoy) = envoy() else { return missing_peer("envoy") };
    resolve(User::Current, &["--proxy", &format!("envoy={}", envoy.display())]);
}

#[test]
fn captured_names_are_resolved_for_a_user_without_privileges() {
    if !nix::unistd::geteuid().is_root() {
        return missing_peer("root, who can become another user");
    }
    resolve(User::Unprivileged, &[]);
}

fn resolve(user: User, arguments: &[&str]) {
    for program in ["kubectl", "bash", "curl", "getent", "od"] {
        if !has_program(program) {
            return missing_peer(program);
        }
    }
    let mesh = Mesh::up(user, arguments);
    deploy(&mesh);
    names_are_answered(&mesh);
    hosts_are_reached(&mesh);
    mesh.kubectl(&["-n", "istio-system", "scale", "deployment/istiod", "--replicas=0"]);
    mesh.kubectl(&["-n", "istio-system", "wait", "--for=delete", "pod", "-l", "app=istiod", "--timeout=60s"]);
    names_are_answered(&mesh);
    hosts_are_reached(&mesh);
    mesh.kubectl(&["-n", "istio-system", "scale", "deployment/istiod", "--replicas=1"]);
    mesh.kubectl(&["-n", "istio-system", "rollout", "status", "deployment/istiod", "--timeout=60s"]);
    let moved = MANIFEST.replace("address.internal", "moved.internal");
    eventually(Duration::from_secs(20), || apply(&mesh, &moved));
    eventually(Duration::from_secs(30), || ask(&mesh, "client", "udp", "moved.internal").map(drop));
    let (gone, _) = query(&mesh, "client", "udp", "address.internal");
    assert_ne!(gone, 0, "the control plane took it back");
}

fn apply(mesh: &Mesh, manifest: &str) -> Result<(), String> {
    let file = mesh.state.join("names.yaml");
    fs::write(&file, manifest).unwrap();
    let output = mesh.try_kubectl(&["apply", "-f", file.to_str().unwrap()]);
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

fn deploy(mesh: &Mesh) {
    mesh.kubectl(&["label", "namespace", "default", "istio-injection=enabled", "--overwrite"]);
    apply(mesh, MANIFEST).unwrap();
    mesh.kubectl(&["rollout", "status", "statefulset/db", "--timeout=60s"]);
    mesh.kubectl(&["wait", "--for=condition=Available", "deployment", "--all", "--timeout=60s"]);
    // The entries are newer than the pods.
    eventually(Duration::from_secs(20), || ask(mesh, "client", "udp", "two.internal").map(drop));
    eventually(Duration::from_secs(20), || ask(mesh, "client", "udp", "db-0.db.default.svc.cluster.local"));
}

fn bash(mesh: &Mesh, pod: &str, script: &str) -> (bool, String) {
    let of = format!("deploy/{pod}");
    let output = mesh.try_kubectl(&["exec", &of, "-c", pod, "--", "bash", "-c", script]);
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

/// Asks the cluster's name server, as a pod would: the answer's code, and its addresses.
fn query(mesh: &Mesh, pod: &str, transport: &str, name: &str) -> (u8, Vec<Ipv4Addr>) {
    let mut message = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        message.push(u8::try_from(label.len()).unwrap());
        message.extend_from_slice(label.as_bytes());
    }
    message.extend_from_slice(&[0, 0, 1, 0, 1]);
    if transport == "tcp" {
        message = [&u16::try_from(message.len()).unwrap().to_be_bytes()[..], &message].concat();
    }
    let escaped: String = message.iter().map(|byte| format!("\\x{byte:02x}")).collect();
    // Not the shell's own printf, which sends line by line.
    let (_, text) = bash(
        mesh,
        pod,
        &format!(
            "exec 3<>/dev/{transport}/10.96.0.10/53 && /usr/bin/printf '{escaped}' >&3 && \
             timeout 8 dd bs=4096 count=1 <&3 2>/dev/null | od -An -v -tx1"
        ),
    );
    let bytes: Option<Vec<u8>> = text.split_whitespace().map(|b| u8::from_str_radix(b, 16).ok()).collect();
    let bytes = bytes.unwrap_or_else(|| panic!("{pod} asks for {name}: {text}"));
    let answer = if transport == "tcp" { bytes.get(2..) } else { Some(&bytes[..]) };
    let answer = answer.filter(|answer| answer.len() > 12 && answer[..2] == [0x12, 0x34]);
    let answer = answer.unwrap_or_else(|| panic!("{pod} asks for {name}: no answer, {text}"));
    // An A record in class IN, whatever its TTL, with four octets.
    let is_address = |at: &[u8]| at[..4] == [0, 1, 0, 1] && at[8..10] == [0, 4];
    let found = answer[12..].windows(14).filter(|at| is_address(at));
    (answer[3] & 0x0f, found.map(|at| Ipv4Addr::new(at[10], at[11], at[12], at[13])).collect())
}

fn ask(mesh: &Mesh, pod: &str, transport: &str, name: &str) -> Result<Vec<Ipv4Addr>, String> {
    match query(mesh, pod, transport, name) {
        (0, addresses) => Ok(addresses),
        (code, _) => Err(format!("{name}: code {code}")),
    }
}

fn names_are_answered(mesh: &Mesh) {
    let virtual_ip = mesh.kubectl(&["get", "service", "httpbin", "-o", "jsonpath={.spec.clusterIP}"]);
    let virtual_ip: Ipv4Addr = virtual_ip.parse().unwrap();
    let pod_ip: Ipv4Addr =
        mesh.kubectl(&["get", "pod", "db-0", "-o", "jsonpath={.status.podIP}"]).parse().unwrap();
    for transport in ["udp", "tcp"] {
        let ask = |name: &str| ask(mesh, "client", transport, name).unwrap();
        for name in ["address.internal", "any.wild.internal", "address.internal.default.svc.cluster.local"] {
            assert_eq!(ask(name), [Ipv4Addr::new(198, 51, 100, 1)], "{name}");
        }
        for name in ["httpbin", "httpbin.default", "httpbin.default.svc.cluster.local"] {
            assert_eq!(ask(name), [virtual_ip], "{name}");
        }
        for name in ["db", "db-0.db", "db-0.db.default.svc.cluster.local"] {
            assert_eq!(ask(name), [pod_ip], "{name}");
        }
        let (one, two) = (ask("one.internal"), ask("two.internal"));
        assert!(one != two && one[0].octets()[..2] == [240, 240] && two[0].octets()[..2] == [240, 240]);
        // Forwarded: the cluster's name server knows that there is no such service.
        assert_eq!(query(mesh, "client", transport, "nosuch.default.svc.cluster.local"), (3, Vec::new()));
        let (code, addresses) = query(mesh, "stranger", transport, "address.internal");
        assert!(code != 0 && addresses.is_empty(), "its DNS is not captured: {code} {addresses:?}");
    }
}

fn hosts_are_reached(mesh: &Mesh) {
    let get = |url: &str| bash(mesh, "client", &format!("curl -sS -m 8 {url}"));
    for url in [
        "http://address.internal/anything/a",
        "http://some.wild.internal/anything/a",
        "http://one.internal:9000/anything/a",
        "http://httpbin:8000/anything/a",
        "http://httpbin.default:8000/anything/a",
    ] {
        eventually(Duration::from_secs(20), || match get(url) {
            (true, body) if body.contains("/anything/a") => Ok(()),
            (_, body) => Err(format!("{url}: {body}")),
        });
    }
    let (reached, answer) = get("http://two.internal:9000/anything/a");
    assert!(!reached || !answer.contains("/anything/a"), "it is another service: {answer}");
    // The resolver of the C library, with its search domains.
    assert!(bash(mesh, "client", "getent ahosts address.internal").1.contains("198.51.100.1"));
    let (found, _) = bash(mesh, "client", "getent ahosts nosuch.default.svc.cluster.local.");
    assert!(!found, "there is no such service");
}
