//! Every TLS mode of gateways with real Secrets, real clients (`curl`, `openssl s_client`) and Secrets that change.

mod config_map;
mod edge;
mod mounted;

use std::time::Duration;

use self::edge::{Edge, server};
use crate::harness::{envoy, eventually, has_program, missing_peer};
use crate::pki::{Authority, Key, write};

const GATEWAYS: &str = "istio-system";

#[test]
fn gateways_speak_tls_with_the_world_in_every_mode() {
    speak(&[]);
}

#[test]
fn envoy_as_gateway_speaks_tls_with_the_world_in_every_mode() {
    let Some(envoy) = envoy() else { return missing_peer("envoy") };
    speak(&["--proxy", &format!("envoy={}", envoy.display())]);
}

fn speak(arguments: &[&str]) {
    for program in ["kubectl", "openssl", "curl"] {
        if !has_program(program) {
            return missing_peer(program);
        }
    }
    let mut edge = Edge::up(arguments);
    let servers = secrets_and_servers(&mut edge);
    edge.gateway(&servers);
    edge.serves("simple.example", "/status/200", &[], "HTTP/2 200");
    plain_requests_are_redirected(&edge);
    certificates_are_chosen_by_name_and_by_algorithm(&edge);
    versions_and_suites_are_the_servers(&edge);
    mutual_wants_a_certificate_that_is_not_revoked(&mut edge);
    optional_mutual_takes_none_but_no_bad_one(&edge);
    config_map::authorities_come_from_a_config_map_as_well(&edge);
    a_request_for_another_server_is_misdirected(&edge, arguments.is_empty());
    tls_passes_through(&edge);
    the_meshs_own_connections_end_or_pass(&edge);
    what_cannot_be_used_closes_its_host_only(&mut edge);
    a_new_certificate_is_shown_at_once(&mut edge);
    mounted::certificates_come_from_files_of_the_pod(&mut edge, &servers);
}

/// Writes a Secret of each form, and gives the servers that name them.
fn secrets_and_servers(edge: &mut Edge) -> Vec<String> {
    let of = |edge: &mut Edge, key, host: &str| edge.authority.issue(key, &[host]);
    for name in ["simple", "old", "new", "mapped", "missing"] {
        let pair = of(edge, Key::Rsa, &format!("{name}.example"));
        if name != "missing" {
            edge.tls_secret(GATEWAYS, name, &pair);
        }
        edge.files(name, &pair);
    }
    for (name, key) in [("both-rsa", Key::Rsa), ("both-ecdsa", Key::Ecdsa)] {
        let pair = of(edge, key, "both.example");
        edge.secret(GATEWAYS, name, &[("cert", &pair.certificate), ("key", &pair.key)]);
        edge.files(name, &pair);
    }
    let mutual = of(edge, Key::Ecdsa, "mutual.example");
    edge.tls_secret(GATEWAYS, "mutual", &mutual);
    let clients = edge.authority.pem.clone();
    edge.secret(GATEWAYS, "mutual-cacert", &[("cacert", &clients)]);
    let optional = of(edge, Key::Ecdsa, "optional.example");
    let data = [("tls.crt", &*optional.certificate), ("tls.key", &*optional.key), ("ca.crt", &*clients)];
    edge.secret(GATEWAYS, "optional", &data);
    let (one, other) = (of(edge, Key::Ecdsa, "mismatch.example"), of(edge, Key::Ecdsa, "mismatch.example"));
    edge.secret(GATEWAYS, "mismatch", &[("cert", &one.certificate), ("key", &other.key)]);
    vec![
        "  - port: {number: 80, name: http, protocol: HTTP}\n    hosts: ['*.example']\n    tls: {httpsRedirect: true}\n"
            .to_owned(),
        server("simple", "HTTPS", "{mode: SIMPLE, credentialName: simple}"),
        server("both", "HTTPS", "{mode: SIMPLE, credentialNames: [both-rsa, both-ecdsa]}"),
        server(
            "old",
            "HTTPS",
            "{mode: SIMPLE, credentialName: old, minProtocolVersion: TLSV1_2, maxProtocolVersion: TLSV1_2, \
             cipherSuites: [ECDHE-RSA-AES256-GCM-SHA384]}",
        ),
        server("new", "HTTPS", "{mode: SIMPLE, credentialName: new, minProtocolVersion: TLSV1_3}"),
        server("mutual", "HTTPS", "{mode: MUTUAL, credentialName: mutual}"),
        server("optional", "HTTPS", "{mode: OPTIONAL_MUTUAL, credentialName: kubernetes://optional}"),
        server("missing", "HTTPS", "{mode: SIMPLE, credentialName: missing}"),
        server("mismatch", "HTTPS", "{mode: SIMPLE, credentialName: mismatch}"),
        server("pass", "TLS", "{mode: PASSTHROUGH}"),
        server(
            "mapped",
            "HTTPS",
            "{mode: MUTUAL, credentialName: mapped, caCertCredentialName: partners}",
        ),
        server("mesh", "HTTPS", "{mode: ISTIO_MUTUAL}"),
        "  - port: {number: 15443, name: auto, protocol: TLS}\n    hosts: ['*.local']\n    tls: {mode: AUTO_PASSTHROUGH}\n"
            .to_owned(),
    ]
}

fn plain_requests_are_redirected(edge: &Edge) {
    let text = eventually(Duration::from_secs(10), || edge.curl_plain("simple.example", "/headers?a=b"));
    assert!(text.starts_with("HTTP/1.1 301"), "{text}");
    assert!(text.contains("location: https://simple.example/headers?a=b"), "{text}");
}

fn certificates_are_chosen_by_name_and_by_algorithm(edge: &Edge) {
    let both = |more: &[&str]| edge.s_client("both.example", more);
    for (more, kind) in [
        (["-sigalgs", "RSA-PSS+SHA256"], "RSA"),
        (["-sigalgs", "ECDSA+SHA256"], "ECDSA"),
        (["-cipher", "ECDHE-RSA-AES128-GCM-SHA256"], "RSA"),
        (["-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"], "ECDSA"),
    ] {
        let version = if more[0] == "-cipher" { "-tls1_2" } else { "-tls1_3" };
        let text = both(&[&more[..], &[version, "-verify_return_error"]].concat());
        let wanted = format!("Peer signature type: {}", if kind == "RSA" { "RSA-PSS" } else { "ECDSA" });
        assert!(text.contains(&wanted) && text.contains("HTTP/1.1 200"), "{more:?}: {text}");
    }
    // Whoever names nobody, or somebody else, is nobody's client.
    let text = edge.s_client("stranger.example", &[]);
    assert!(!text.contains("HTTP/1.1") && text.contains("no peer certificate available"), "{text}");
}

fn versions_and_suites_are_the_servers(edge: &Edge) {
    let text = edge.s_client("old.example", &[]);
    assert!(text.contains("New, TLSv1.2, Cipher is ECDHE-RSA-AES256-GCM-SHA384"), "{text}");
    assert!(text.contains("HTTP/1.1 200"), "{text}");
    for (host, more) in [
        ("old.example", &["-tls1_3"][..]),
        ("old.example", &["-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256"]),
        ("new.example", &["-tls1_2"]),
        ("simple.example", &["-tls1_1", "-cipher", "DEFAULT:@SECLEVEL=0"]),
    ] {
        let text = edge.s_client(host, more);
        assert!(!text.contains("HTTP/1.1") && text.contains("alert"), "{host} {more:?}: {text}");
    }
    assert!(edge.s_client("new.example", &[]).contains("New, TLSv1.3"));
}

fn mutual_wants_a_certificate_that_is_not_revoked(edge: &mut Edge) {
    let (good, revoked) = (
        edge.authority.issue(Key::Ecdsa, &["good.client"]),
        edge.authority.issue(Key::Ecdsa, &["revoked.client"]),
    );
    let stranger = Authority::new("a stranger").issue(Key::Ecdsa, &["good.client"]);
    for (name, pair) in [("good", &good), ("revoked", &revoked), ("stranger", &stranger)] {
        edge.files(name, pair);
    }
    let as_client = |edge: &Edge, name: &str| {
        let (certificate, key) = (edge.path(&format!("{name}.crt")), edge.path(&format!("{name}.key")));
        edge.curl("mutual.example", "/headers", &["--cert", &certificate, "--key", &key])
    };
    assert!(edge.curl("mutual.example", "/headers", &[]).is_err(), "no certificate at all");
    assert!(as_client(edge, "stranger").is_err(), "another authority");
    let told = as_client(edge, "good").unwrap();
    assert!(told.starts_with("HTTP/2 200"), "{told}");
    assert!(told.contains("DNS=good.client") && told.contains("CN=good.client"), "{told}");
    // What a client itself says of certificates does not count.
    let (certificate, key) = (edge.path("good.crt"), edge.path("good.key"));
    let forged = "X-Forwarded-Client-Cert: DNS=forged.client";
    let more = ["--cert", &*certificate, "--key", &*key, "-H", forged];
    let told = edge.curl("mutual.example", "/headers", &more).unwrap();
    assert!(told.contains("DNS=good.client") && !told.contains("forged.client"), "{told}");
    // A revocation list in the same Secret, live.
    assert!(as_client(edge, "revoked").is_ok());
    let (authorities, list) = (edge.authority.pem.clone(), edge.authority.revoke(&[&revoked]));
    edge.secret(GATEWAYS, "mutual-cacert", &[("cacert", &authorities), ("crl", &list)]);
    eventually(Duration::from_secs(10), || match as_client(edge, "revoked") {
        Err(_) => Ok(()),
        Ok(text) => Err(text),
    });
    assert!(as_client(edge, "good").is_ok());
}

fn optional_mutual_takes_none_but_no_bad_one(edge: &Edge) {
    let told = edge.serves("optional.example", "/headers", &[], "HTTP/2 200");
    assert!(!told.contains("DNS="), "{told}");
    let with = |name: &str| {
        let (certificate, key) = (edge.path(&format!("{name}.crt")), edge.path(&format!("{name}.key")));
        edge.curl("optional.example", "/headers", &["--cert", &certificate, "--key", &key])
    };
    assert!(with("good").unwrap().contains("DNS=good.client"));
    assert!(with("stranger").is_err());
}

/// HTTP/2 clients use one connection for all hosts of a certificate; what belongs to another server is sent back to them.
/// Envoy only finds that the server has no such host.
fn a_request_for_another_server_is_misdirected(edge: &Edge, lateen: bool) {
    let text = edge.curl("simple.example", "/headers", &["--http2", "-H", "Host: mutual.example"]).unwrap();
    assert!(text.starts_with(if lateen { "HTTP/2 421" } else { "HTTP/2 404" }), "{text}");
    let text = edge.curl("simple.example", "/headers", &["--http2", "-H", "Host: simple.example"]).unwrap();
    assert!(text.starts_with("HTTP/2 200"), "{text}");
}

fn tls_passes_through(edge: &Edge) {
    let text = edge.s_client("pass.example", &["-verify_return_error", "-verify_hostname", "pass.example"]);
    assert!(text.contains("Verification: OK"), "the application's own certificate: {text}");
    assert!(text.contains("s_server"), "the application's own page: {text}");
}

/// Clients of the mesh: TLS that ends at the gateway, and TLS that it only passes on.
fn the_meshs_own_connections_end_or_pass(edge: &Edge) {
    let own = "-cert /forged/genuine.pem -key /forged/genuine.key";
    let port: u16 = edge
        .mesh
        .kubectl(&[
            "-n",
            GATEWAYS,
            "get",
            "service",
            "istio-ingressgateway",
            "-o",
            "jsonpath={.spec.ports[?(@.port==443)].targetPort}",
        ])
        .parse()
        .unwrap();
    let text = edge.mesh_client(port, "mesh.example", own);
    assert!(text.contains("HTTP/1.1 200"), "{text}");
    let text = edge.mesh_client(port, "mesh.example", "");
    assert!(!text.contains("HTTP/1.1"), "{text}");
    let name = "outbound_.8000_._.httpbin.default.svc.cluster.local";
    let text = edge.mesh_client(15443, name, &format!("{own} -alpn istio"));
    assert!(text.contains("HTTP/1.1 200"), "{text}");
    // Only what announces the mesh's protocols, and only to services of the mesh.
    let text = edge.mesh_client(15443, name, own);
    assert!(!text.contains("HTTP/1.1"), "{text}");
    let text = edge.mesh_client(
        15443,
        "outbound_.8000_._.nobody.default.svc.cluster.local",
        &format!("{own} -alpn istio"),
    );
    assert!(!text.contains("HTTP/1.1"), "{text}");
}

fn what_cannot_be_used_closes_its_host_only(edge: &mut Edge) {
    for host in ["missing.example", "mismatch.example"] {
        let error = edge.curl(host, "/status/200", &[]).unwrap_err();
        assert!(!error.contains("timed out"), "{host} is closed, not left waiting: {error}");
    }
    let state = edge.mesh.state.join("mesh");
    let status = edge.mesh.lateen(&["status", "--state-dir", state.to_str().unwrap()]);
    let findings = String::from_utf8_lossy(&status.stdout);
    for part in [
        "Error [IST0101] (Gateway default/edge) spec.servers[7].tls.credentialName",
        "there is no Secret istio-system/missing",
        "the Secret istio-system/mismatch cannot be used: data[cert]: the key does not belong to the certificate",
    ] {
        assert!(findings.contains(part), "{part:?} is not in:\n{findings}");
    }
    the_gateways_status_tells(edge, "there is no Secret istio-system/missing");
    edge.serves("simple.example", "/status/200", &[], "HTTP/2 200");
    // Both are served as soon as there is something to serve them with.
    let (missing, mended) = (
        edge.authority.issue(Key::Ecdsa, &["missing.example"]),
        edge.authority.issue(Key::Ecdsa, &["mismatch.example"]),
    );
    edge.tls_secret(GATEWAYS, "missing", &missing);
    edge.secret(GATEWAYS, "mismatch", &[("cert", &mended.certificate), ("key", &mended.key)]);
    edge.serves("missing.example", "/status/200", &[], "HTTP/2 200");
    edge.serves("mismatch.example", "/status/200", &[], "HTTP/2 200");
}

/// Its messages, and that every proxy has it all the same.
fn the_gateways_status_tells(edge: &Edge, part: &str) {
    let status = |path: &str| {
        edge.mesh.kubectl(&["get", "gateway", "edge", "-o", &format!("jsonpath={{.status{path}}}")])
    };
    eventually(Duration::from_secs(10), || {
        let said = status(".validationMessages[*].message");
        if said.contains(part) { Ok(()) } else { Err(status("")) }
    });
    eventually(Duration::from_secs(10), || {
        let said = status(".conditions[?(@.type=='Reconciled')].message");
        let (applied, all) =
            said.strip_suffix(" proxies up to date.").and_then(|s| s.split_once('/')).unwrap_or_default();
        if !all.is_empty() && applied == all && all != "0" { Ok(()) } else { Err(said) }
    });
    assert_eq!(
        status(".observedGeneration"),
        edge.mesh.kubectl(&["get", "gateway", "edge", "-o", "jsonpath={.metadata.generation}"])
    );
}

fn a_new_certificate_is_shown_at_once(edge: &mut Edge) {
    let mut next = Authority::new("the next authority");
    write(&edge.folder, "next.pem", &next.pem);
    let pair = next.issue(Key::Ecdsa, &["simple.example"]);
    edge.tls_secret(GATEWAYS, "simple", &pair);
    let roots = edge.path("next.pem");
    edge.serves("simple.example", "/status/200", &["--cacert", &roots], "HTTP/2 200");
    // What cannot be used leaves what could.
    edge.secret(GATEWAYS, "simple", &[("tls.crt", "nothing"), ("tls.key", "nothing")]);
    let path = "jsonpath={.data.tls\\.crt}";
    let stored = edge.mesh.kubectl(&["-n", GATEWAYS, "get", "secret", "simple", "-o", path]);
    assert_eq!(stored, "bm90aGluZw==");
    let said = |edge: &Edge| {
        let log = edge.mesh.kubectl(&["-n", GATEWAYS, "logs", "deploy/istiod", "--tail=-1"]);
        if log.contains("data[tls.crt]") { Ok(()) } else { Err(log) }
    };
    eventually(Duration::from_secs(10), || said(edge));
    for _ in 0..5 {
        edge.serves("simple.example", "/status/200", &["--cacert", &roots], "HTTP/2 200");
    }
}
