//! What is on the wire between sidecars, as `tcpdump` sees it in the pods' network namespaces.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use lateen_testkit::http;

use crate::handshakes::handshakes;
use crate::harness::{Mesh, User, envoy, eventually, has_program, missing_peer, samples};

const FILE: &str = "/tmp/wire.pcap";

#[test]
fn nothing_is_in_plain_text_between_sidecars() {
    observe(&[]);
}

#[test]
fn nothing_is_in_plain_text_between_envoys() {
    let Some(envoy) = envoy() else { return missing_peer("envoy") };
    observe(&["--proxy", &format!("envoy={}", envoy.display())]);
}

fn observe(arguments: &[&str]) {
    if !nix::unistd::geteuid().is_root() {
        // tcpdump changes its user, which a namespace of one user does not allow.
        return missing_peer("root, for tcpdump");
    }
    for program in ["kubectl", "tcpdump", "redis-server"] {
        if !has_program(program) {
            return missing_peer(program);
        }
    }
    let mesh = Mesh::up(User::Current, &[&["--demo", "voting"], arguments].concat());
    for file in ["step-2-analytics-1.1.yaml", "step-2a-virtual-service.yaml", "step-2b-routing.yaml"] {
        let file = samples().join("voting").join(file);
        mesh.kubectl(&["-n", "voting", "apply", "-f", file.to_str().unwrap()]);
    }
    mesh.kubectl(&[
        "-n",
        "voting",
        "wait",
        "--for=condition=Available",
        "deployment",
        "--all",
        "--timeout=60s",
    ]);
    let vote = || http::request("POST", &mesh.gateway, "/", &[], "vote=Cats").map_err(|e| e.to_string());
    // Twenty in a row without the version that is locked out: everybody knows the rules.
    eventually(Duration::from_secs(20), || {
        vote()?;
        (0..20).try_for_each(|_| {
            let body = http::get(&mesh.gateway, "/").map_err(|e| e.to_string())?.body;
            if body.contains('%') { Ok(()) } else { Err(body) }
        })
    });
    redis_is_spoken_in_tls(&mesh, &vote, arguments.is_empty());
    http_is_spoken_in_tls(&mesh, &vote);
}

fn redis_is_spoken_in_tls(mesh: &Mesh, vote: &dyn Fn() -> Result<http::Answer, String>, lateen: bool) {
    let wire = Wire::tap(mesh, "voting-storage-1-0", "voting-storage", 6379);
    assert_eq!(vote().unwrap().status, 302);
    let bytes = wire.bytes(b"outbound_.6379_");
    for plain in ["INCR", "Cats", "+OK"] {
        assert!(!contains(&bytes, plain.as_bytes()), "{plain:?} is on the wire");
    }
    let name = "outbound_.6379_.v1-0_.voting-storage.voting.svc.cluster.local";
    let exchanged: &[&str] = &["istio-peer-exchange", "istio"];
    are_spoken(&bytes, name, if lateen { exchanged } else { &["istio"] });
}

fn http_is_spoken_in_tls(mesh: &Mesh, vote: &dyn Fn() -> Result<http::Answer, String>) {
    // New connections only: the pools of the page's sidecars hold some already.
    mesh.kubectl(&["-n", "voting", "rollout", "restart", "deployment/voting-analytics-1-1"]);
    mesh.kubectl(&["-n", "voting", "rollout", "status", "deployment/voting-analytics-1-1", "--timeout=60s"]);
    let wire = Wire::tap(mesh, "voting-analytics-1-1", "voting-analytics", 8080);
    eventually(Duration::from_secs(20), || match (vote()?.status, http::get(&mesh.gateway, "/")) {
        (302, Ok(answer)) if answer.status == 200 => Ok(()),
        other => Err(format!("{other:?}")),
    });
    let bytes = wire.bytes(b"outbound_.8080_");
    for plain in ["HTTP/1.1", "/analytics", "category1", "PRI * HTTP/2.0"] {
        assert!(!contains(&bytes, plain.as_bytes()), "{plain:?} is on the wire");
    }
    let name = "outbound_.8080_.v1-1_.voting-analytics.voting.svc.cluster.local";
    are_spoken(&bytes, name, &["istio-http/1.1", "istio", "http/1.1"]);
}

/// There are handshakes; each asks for the name and the protocols, and its server chooses TLS 1.3.
fn are_spoken(bytes: &[u8], name: &str, alpn: &[&str]) {
    let found = handshakes(bytes);
    assert!(found.iter().any(|h| h.version.is_some()), "no handshake in {} octets: {found:?}", bytes.len());
    for handshake in found {
        let offered: Vec<&str> = handshake.alpn.iter().map(String::as_str).collect();
        assert_eq!((handshake.server_name.as_str(), &offered[..]), (name, alpn));
        assert!(handshake.version.is_none_or(|version| version == 0x0304), "{handshake:?}");
    }
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// Packets of a port, taken down in a pod.
struct Wire<'a> {
    mesh: &'a Mesh,
    pod: String,
    container: &'a str,
    tcpdump: Child,
}

impl<'a> Wire<'a> {
    fn tap(mesh: &'a Mesh, deployment: &str, container: &'a str, port: u16) -> Wire<'a> {
        let selector =
            format!("app={container},version={}", &deployment[container.len() + 1..].replace('-', "."));
        let pods = mesh.kubectl(&[
            "-n",
            "voting",
            "get",
            "pods",
            "-l",
            &selector,
            "--field-selector=status.phase=Running",
            "--sort-by=.metadata.creationTimestamp",
            "-o",
            "name",
        ]);
        let pod = pods.lines().last().expect("a pod").to_owned();
        let command = format!("timeout 60 tcpdump -Z root -i eth0 -U -w {FILE} tcp port {port}");
        let tcpdump = Command::new("kubectl")
            .args(["-n", "voting", "exec", &pod, "-c", container, "--", "sh", "-c", &command])
            .env("KUBECONFIG", mesh.kubeconfig())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let wire = Wire { mesh, pod, container, tcpdump };
        // The file's header is written once packets are taken.
        eventually(Duration::from_secs(10), || {
            if wire.read().len() >= 24 { Ok(()) } else { Err("no tcpdump".into()) }
        });
        wire
    }

    fn read(&self) -> Vec<u8> {
        let arguments = ["-n", "voting", "exec", &self.pod, "-c", self.container, "--", "cat", FILE];
        self.mesh.try_kubectl(&arguments).stdout
    }

    /// All that was on the wire, once this was there.
    fn bytes(mut self, awaited: &[u8]) -> Vec<u8> {
        eventually(Duration::from_secs(10), || {
            let bytes = self.read();
            if contains(&bytes, awaited) {
                return Ok(());
            }
            let text: String =
                bytes.iter().map(|b| if b.is_ascii_graphic() { *b as char } else { '.' }).collect();
            Err(format!("{:?} is not on the wire: {text}", String::from_utf8_lossy(awaited)))
        });
        // Answers may follow the first packet of a connection.
        let bytes = eventually(Duration::from_secs(5), || {
            let more = self.read();
            if handshakes(&more).iter().any(|h| h.version.is_some()) {
                Ok(more)
            } else {
                Err("packets still come".into())
            }
        });
        let _ = self.tcpdump.kill();
        let _ = self.tcpdump.wait();
        bytes
    }
}
