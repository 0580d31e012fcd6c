//! Envoy on one side and our proxy on the other, in both directions.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use super::mutual::{client_sidecar, server_sidecar};
use super::support::*;
use crate::harness::echo;

const CLIENT: &str = "spiffe://cluster.local/ns/default/sa/sleep";
const SERVER: &str = "spiffe://cluster.local/ns/default/sa/httpbin";

struct Envoy {
    child: Child,
    admin: SocketAddr,
}

impl Drop for Envoy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Envoy {
    /// Starts Envoy with a bootstrap; none where there is no Envoy.
    fn start(files: &Files, mut config: Value) -> Option<Envoy> {
        let program = std::env::var("LATEEN_ENVOY").map(PathBuf::from).ok().filter(|path| path.is_file());
        let Some(program) = program else {
            assert_ne!(
                std::env::var("LATEEN_PEERS").as_deref(),
                Ok("required"),
                "LATEEN_ENVOY names no Envoy"
            );
            eprintln!("skipped: LATEEN_ENVOY names no Envoy");
            return None;
        };
        config["admin"] = json!({ "address": socket_address(any_port()) });
        let file = files.path("envoy.json");
        std::fs::write(&file, config.to_string()).unwrap();
        let address = files.path("admin");
        let _ = std::fs::remove_file(&address);
        let child = Command::new(program)
            .args(["-c", &file, "--admin-address-path", &address, "--concurrency", "1", "-l", "error"])
            .args(["--use-dynamic-base-id", "--disable-hot-restart"])
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let mut admin = None;
        let mut envoy = Envoy { child, admin: any_port() };
        wait("Envoy's administration", || {
            admin = std::fs::read_to_string(&address).ok().and_then(|text| text.parse().ok());
            admin.is_some()
        });
        envoy.admin = admin?;
        wait_or(|| {
            let ready = plain_path(envoy.admin, "/ready").map_err(|error| error.to_string())?;
            if ready.contains("LIVE") { Ok(()) } else { Err(ready) }
        });
        Some(envoy)
    }

    fn address(&self, listener: &str) -> SocketAddr {
        let text = plain_path(self.admin, "/listeners?format=json").unwrap();
        let body: Value = serde_json::from_str(text.split_once("\r\n\r\n").unwrap().1).unwrap();
        let list = body["listener_statuses"].as_array().unwrap();
        let found = list.iter().find(|status| status["name"] == listener).unwrap();
        let port = found["local_address"]["socket_address"]["port_value"].as_u64().unwrap();
        SocketAddr::from(([127, 0, 0, 1], u16::try_from(port).unwrap()))
    }
}

fn plain_path(address: SocketAddr, path: &str) -> std::io::Result<String> {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(address)?;
    stream.set_read_timeout(Some(WAIT))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    // The admin interface may answer in chunks; what stands between braces is the document.
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return Ok(text) };
    let document = match (body.find('{'), body.rfind('}')) {
        (Some(start), Some(end)) => &body[start..=end],
        _ => body,
    };
    Ok(format!("{head}\r\n\r\n{document}"))
}

fn identities() -> (Files, Files) {
    let ca = Ca::new();
    let id = std::thread::current().name().unwrap_or("x").replace("::", "-");
    let (server, client) = (Files::new(&format!("{id}-server")), Files::new(&format!("{id}-client")));
    server.workload(&ca.pem, &ca.workload(SERVER));
    client.workload(&ca.pem, &ca.workload(CLIENT));
    (server, client)
}

/// Envoy says that its `x-forwarded-client-cert` and ours are of one kind.
fn check(answer: &str) {
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let xfcc = answer.lines().find(|line| line.starts_with("x-forwarded-client-cert:")).expect(answer);
    let hash = xfcc.split("Hash=").nth(1).and_then(|rest| rest.split(';').next()).unwrap();
    assert_eq!(hash.len(), 64, "{xfcc}");
    assert_eq!(
        xfcc.replace(hash, "H"),
        format!("x-forwarded-client-cert: By={SERVER};Hash=H;Subject=\"\";URI={CLIENT}")
    );
}

#[test]
fn our_client_speaks_to_envoys_server_strict_and_permissive() {
    let (server_files, client_files) = identities();
    for permissive in [false, true] {
        let config = server_sidecar(&server_files, echo(), permissive, json!({}));
        let Some(envoy) = Envoy::start(&server_files, config) else { return };
        let server = envoy.address("inbound");
        let client = Proxy::start(&client_sidecar(&client_files, server, SERVER, json!({})));
        check(&plain_get(client.address("outbound"), "").unwrap());
        assert_eq!(plain_get(server, "").is_ok(), permissive);
        client.counts("ssl.handshake", 1);
        client.counts("ssl.versions.TLSv1.3", 1);
    }
}

#[test]
fn envoys_client_speaks_to_our_server_strict_and_permissive() {
    let (server_files, client_files) = identities();
    for permissive in [false, true] {
        let server = Proxy::start(&server_sidecar(&server_files, echo(), permissive, json!({})));
        let address = server.address("inbound");
        let config = client_sidecar(&client_files, address, SERVER, json!({}));
        let Some(envoy) = Envoy::start(&client_files, config) else { return };
        check(&plain_get(envoy.address("outbound"), "").unwrap());
        assert_eq!(plain_get(address, "").is_ok(), permissive);
        server.counts("ssl.handshake", 1);
    }
}

#[test]
fn envoys_client_refuses_our_server_by_its_identity() {
    let (server_files, client_files) = identities();
    let server = Proxy::start(&server_sidecar(&server_files, echo(), false, json!({})));
    let other = "spiffe://cluster.local/ns/default/sa/other";
    let config = client_sidecar(&client_files, server.address("inbound"), other, json!({}));
    let Some(envoy) = Envoy::start(&client_files, config) else { return };
    let answer = plain_get(envoy.address("outbound"), "").unwrap();
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    wait("the refusal", || server.stat("ssl.connection_error") + server.stat("ssl.handshake") > 0);
}
