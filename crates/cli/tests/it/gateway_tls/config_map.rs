//! `caCertCredentialName`: the authorities that clients are verified by, in a ConfigMap beside the gateway.

use std::time::Duration;

use super::GATEWAYS;
use super::edge::Edge;
use crate::harness::eventually;
use crate::pki::Authority;

const HOST: &str = "mapped.example";

/// What `curl` gets with the certificate of a client that the world's authority issued.
fn as_client(edge: &Edge) -> Result<String, String> {
    let (certificate, key) = (edge.path("good.crt"), edge.path("good.key"));
    edge.curl(HOST, "/headers", &["--cert", &certificate, "--key", &key])
}

fn is_let_in(edge: &Edge) {
    eventually(Duration::from_secs(10), || match as_client(edge)? {
        text if text.contains("DNS=good.client") => Ok(()),
        text => Err(text),
    });
}

fn put(edge: &Edge, authorities: &str) {
    let object = serde_json::json!({ "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": { "name": "partners", "namespace": GATEWAYS }, "data": { "ca.crt": authorities } });
    edge.apply(&object.to_string());
}

fn findings(edge: &Edge) -> String {
    let state = edge.mesh.state.join("mesh");
    let status = edge.mesh.lateen(&["status", "--state-dir", state.to_str().unwrap()]);
    String::from_utf8_lossy(&status.stdout).into_owned()
}

fn finds(edge: &Edge, part: &str) {
    eventually(Duration::from_secs(10), || {
        let text = findings(edge);
        if text.contains(part) { Ok(()) } else { Err(text) }
    });
}

pub fn authorities_come_from_a_config_map_as_well(edge: &Edge) {
    // Without it the host is closed, and status tells.
    assert!(as_client(edge).is_err());
    let nothing = "there is neither a Secret nor a ConfigMap istio-system/partners with ca.crt";
    finds(edge, &format!("tls.caCertCredentialName: {nothing}"));
    put(edge, &edge.authority.pem);
    is_let_in(edge);
    assert!(edge.curl(HOST, "/headers", &[]).is_err(), "no certificate at all");
    // Live replacement; what cannot be used leaves what could.
    put(edge, &Authority::new("nobody's partner").pem);
    eventually(Duration::from_secs(10), || match as_client(edge) {
        Err(_) => Ok(()),
        Ok(text) => Err(text),
    });
    put(edge, &edge.authority.pem);
    is_let_in(edge);
    put(edge, "nothing");
    finds(
        edge,
        "the ConfigMap istio-system/partners cannot be used: data[ca.crt]: holds no certificate in PEM",
    );
    is_let_in(edge);
    // A Secret of that name comes first.
    edge.secret(GATEWAYS, "partners", &[("cacert", &Authority::new("another partner").pem)]);
    eventually(Duration::from_secs(10), || match as_client(edge) {
        Err(_) => Ok(()),
        Ok(text) => Err(text),
    });
}
