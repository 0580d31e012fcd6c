//! Certificates, authorities and revocation lists that are mounted into the gateway's pods as files.

use std::time::Duration;

use super::GATEWAYS;
use super::edge::{Edge, server};
use crate::harness::eventually;
use crate::pki::{Authority, Key, Pair, write};

const HOST: &str = "mounted.example";

const TLS: &str = "{mode: MUTUAL, serverCertificate: /etc/istio/mounted/tls.crt, \
                   privateKey: /etc/istio/mounted/tls.key, caCertificates: /etc/istio/mounted/ca.crt, \
                   caCrl: /etc/istio/mounted/ca.crl}";

/// The Secret that is mounted.
fn put(edge: &Edge, own: &Pair, clients: &str, revoked: &str) {
    let data =
        [("tls.crt", &*own.certificate), ("tls.key", &*own.key), ("ca.crt", clients), ("ca.crl", revoked)];
    edge.secret(GATEWAYS, "mounted", &data);
}

fn mount(edge: &Edge) {
    let patch = serde_json::json!({ "spec": { "template": { "spec": {
        "volumes": [{ "name": "mounted", "secret": { "secretName": "mounted" } }],
        "containers": [{ "name": "istio-proxy",
            "volumeMounts": [{ "name": "mounted", "mountPath": "/etc/istio/mounted" }] }],
    } } } });
    let deployment = "deployment/istio-ingressgateway";
    edge.mesh.kubectl(&["-n", GATEWAYS, "patch", deployment, "-p", &patch.to_string()]);
    edge.mesh.kubectl(&["-n", GATEWAYS, "rollout", "status", deployment, "--timeout=60s"]);
}

pub fn certificates_come_from_files_of_the_pod(edge: &mut Edge, servers: &[String]) {
    let (good, revoked) = (
        edge.authority.issue(Key::Ecdsa, &["good.client"]),
        edge.authority.issue(Key::Ecdsa, &["lost.client"]),
    );
    for (name, pair) in [("good", &good), ("lost", &revoked)] {
        edge.files(name, pair);
    }
    let own = edge.authority.issue(Key::Ecdsa, &[HOST]);
    let (clients, list) = (edge.authority.pem.clone(), edge.authority.revoke(&[&revoked]));
    put(edge, &own, &clients, &list);
    mount(edge);
    edge.gateway(&[servers, &[server("mounted", "HTTPS", TLS)]].concat());
    let by = |edge: &Edge, client: &str, roots: &str| {
        let (certificate, key) = (edge.path(&format!("{client}.crt")), edge.path(&format!("{client}.key")));
        edge.curl(HOST, "/headers", &["--cert", &certificate, "--key", &key, "--cacert", &edge.path(roots)])
    };
    let served = |edge: &Edge, roots: &str| {
        eventually(Duration::from_secs(20), || match by(edge, "good", roots)? {
            text if text.contains("DNS=good.client") => Ok(()),
            text => Err(text),
        });
    };
    served(edge, "world.pem");
    assert!(by(edge, "lost", "world.pem").is_err(), "a revoked certificate");
    assert!(edge.curl(HOST, "/headers", &[]).is_err(), "no certificate at all");
    // New files are taken as they come, without a restart.
    let mut next = Authority::new("the authority after the next");
    write(&edge.folder, "after.pem", &next.pem);
    put(edge, &next.issue(Key::Ecdsa, &[HOST]), &clients, &list);
    served(edge, "after.pem");
}
