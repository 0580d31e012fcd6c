//! Gateway modes, with `openssl s_client` as the peer.

use std::io::Write as _;
use std::net::SocketAddr;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::support::*;
use crate::harness::echo;

/// What `openssl s_client` says after one request; skipped where there is no openssl.
fn s_client(address: SocketAddr, arguments: &[&str]) -> Option<String> {
    let child = Command::new("openssl")
        .args(["s_client", "-connect", &address.to_string(), "-ign_eof"])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(error) => {
            assert_ne!(std::env::var("LATEEN_PEERS").as_deref(), Ok("required"), "openssl: {error}");
            eprintln!("skipped: openssl is missing");
            return None;
        }
    };
    let mut input = child.stdin.take().unwrap();
    // The peer may be gone already when the handshake failed.
    let _ = input.write_all(b"GET / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n");
    let output = child.wait_with_output().unwrap();
    drop(input);
    Some(format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)))
}

struct Gateway {
    ca: Ca,
    files: Files,
}

impl Gateway {
    fn new(name: &str) -> Gateway {
        Gateway { ca: Ca::new(), files: Files::new(name) }
    }

    fn start(&self, common: Value, more: Value) -> Proxy {
        let chain = json!([{ "transport_socket": downstream_tls(common, more),
            "filters": [manager("app", json!({ "forward_client_cert_details": "SANITIZE_SET",
                "set_current_client_cert_details": { "subject": true, "cert": true, "dns": true, "uri": true } }))] }]);
        let clusters = json!([cluster("app", echo(), json!({}))]);
        Proxy::start(&bootstrap(json!([listener("gateway", any_port(), chain)]), clusters))
    }

    fn write(&self, name: &str, text: &str) -> String {
        std::fs::write(self.files.path(name), text).unwrap();
        self.files.path(name)
    }

    fn simple(&self) -> Value {
        json!({ "tls_certificates": [certificate(&self.ca.issue(&Leaf::host(&["a.example"])))] })
    }

    fn mutual(&self) -> Value {
        let mut common = self.simple();
        common["validation_context"] = json!({ "trusted_ca": { "inline_string": self.ca.pem } });
        common
    }
}

#[test]
fn simple_serves_tls_1_2_and_1_3_and_what_is_asked_for() {
    let gateway = Gateway::new("gw-simple");
    let mut common = gateway.simple();
    common["alpn_protocols"] = json!(["h2", "http/1.1"]);
    let proxy = gateway.start(common, json!({}));
    let address = proxy.address("gateway");
    let ca = gateway.write("ca.pem", &gateway.ca.pem);
    let verified =
        ["-CAfile", &ca, "-verify_return_error", "-servername", "a.example", "-verify_hostname", "a.example"];
    let Some(text) = s_client(address, &[&verified[..], &["-tls1_3", "-alpn", "http/1.1"]].concat()) else {
        return;
    };
    assert!(text.contains("TLSv1.3") && text.contains("ALPN protocol: http/1.1"), "{text}");
    assert!(text.contains("Verify return code: 0 (ok)") && text.contains("HTTP/1.1 200"), "{text}");
    let text = s_client(address, &[&verified[..], &["-tls1_2"]].concat()).unwrap();
    assert!(text.contains("TLSv1.2") && text.contains("HTTP/1.1 200"), "{text}");
    // No protocol in common: the connection goes on without one, as with Envoy.
    let text = s_client(address, &["-alpn", "foo"]).unwrap();
    assert!(text.contains("No ALPN negotiated") && text.contains("HTTP/1.1 200"), "{text}");
    let text = s_client(address, &["-tls1_1"]).unwrap();
    assert!(!text.contains("HTTP/1.1 200"), "{text}");
}

#[test]
fn versions_and_suites_are_those_of_the_gateway() {
    let gateway = Gateway::new("gw-params");
    let mut common = gateway.simple();
    common["tls_params"] = json!({ "tls_minimum_protocol_version": "TLSv1_3" });
    let proxy = gateway.start(common, json!({}));
    let Some(text) = s_client(proxy.address("gateway"), &["-tls1_2"]) else { return };
    assert!(!text.contains("HTTP/1.1 200"), "{text}");
    assert!(s_client(proxy.address("gateway"), &["-tls1_3"]).unwrap().contains("HTTP/1.1 200"));
    let mut common = gateway.simple();
    common["tls_params"] = json!({ "tls_maximum_protocol_version": "TLSv1_2",
        "cipher_suites": ["ECDHE-ECDSA-AES256-GCM-SHA384"], "ecdh_curves": ["P-256"] });
    let proxy = gateway.start(common, json!({}));
    let text = s_client(proxy.address("gateway"), &[]).unwrap();
    assert!(text.contains("ECDHE-ECDSA-AES256-GCM-SHA384") && text.contains("HTTP/1.1 200"), "{text}");
    let text =
        s_client(proxy.address("gateway"), &["-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256", "-tls1_2"]).unwrap();
    assert!(!text.contains("HTTP/1.1 200"), "{text}");
}

#[test]
fn mutual_requires_a_certificate_of_the_authority_and_tells_the_application() {
    let gateway = Gateway::new("gw-mutual");
    let proxy = gateway.start(gateway.mutual(), json!({ "require_client_certificate": true }));
    let address = proxy.address("gateway");
    let client = gateway.ca.issue(&Leaf::host(&["client.example"]));
    let (cert, key) = (gateway.write("client.pem", &client.chain), gateway.write("client.key", &client.key));
    let Some(text) = s_client(address, &["-cert", &cert, "-key", &key]) else { return };
    assert!(text.contains("HTTP/1.1 200"), "{text}");
    let xfcc = text.lines().find(|line| line.starts_with("x-forwarded-client-cert:")).expect(&text);
    assert!(
        xfcc.contains("Cert=\"-----BEGIN%20CERTIFICATE-----%0A") && xfcc.contains(";DNS=client.example"),
        "{xfcc}"
    );
    assert!(xfcc.contains(r#"Subject="O=Lateen\\, \\\"tests\\\"""#), "{xfcc}");
    assert!(!s_client(address, &[]).unwrap().contains("HTTP/1.1 200"));
    proxy.counts("ssl.fail_verify_no_cert", 1);
    let stranger = Ca::new().issue(&Leaf::host(&["client.example"]));
    let (cert, key) =
        (gateway.write("stranger.pem", &stranger.chain), gateway.write("stranger.key", &stranger.key));
    assert!(!s_client(address, &["-cert", &cert, "-key", &key]).unwrap().contains("HTTP/1.1 200"));
    proxy.counts("ssl.fail_verify_error", 1);
}

#[test]
fn optional_mutual_takes_clients_without_a_certificate_and_refuses_bad_ones() {
    let gateway = Gateway::new("gw-optional");
    let proxy = gateway.start(gateway.mutual(), json!({ "require_client_certificate": false }));
    let address = proxy.address("gateway");
    let Some(text) = s_client(address, &[]) else { return };
    assert!(text.contains("HTTP/1.1 200") && !text.contains("x-forwarded-client-cert:"), "{text}");
    let stranger = Ca::new().issue(&Leaf::host(&["client.example"]));
    let (cert, key) =
        (gateway.write("stranger.pem", &stranger.chain), gateway.write("stranger.key", &stranger.key));
    assert!(!s_client(address, &["-cert", &cert, "-key", &key]).unwrap().contains("HTTP/1.1 200"));
    // ACCEPT_UNTRUSTED is Envoy's word for letting those in as well.
    let mut common = gateway.mutual();
    common["validation_context"]["trust_chain_verification"] = json!("ACCEPT_UNTRUSTED");
    let proxy = gateway.start(common, json!({}));
    let text = s_client(proxy.address("gateway"), &["-cert", &cert, "-key", &key]).unwrap();
    assert!(text.contains("HTTP/1.1 200"), "{text}");
}

#[test]
fn certificates_are_chosen_by_server_name_and_by_kind_of_key() {
    let gateway = Gateway::new("gw-sni");
    let of = |names: &[&str], rsa| gateway.ca.issue(&Leaf { rsa, ..Leaf::host(names) });
    let pairs = [
        of(&["a.example"], true),
        of(&["a.example"], false),
        of(&["*.b.example"], false),
        of(&["www.b.example"], false),
    ];
    let common = json!({ "tls_certificates": pairs.iter().map(certificate).collect::<Vec<_>>() });
    let proxy = gateway.start(common, json!({}));
    let shown = |arguments: &[&str]| {
        let text = s_client(proxy.address("gateway"), arguments)?;
        let own = |pair: &Pair| pair.chain.lines().nth(1).unwrap().trim().to_owned();
        Some(pairs.iter().position(|pair| text.contains(&own(pair))).unwrap_or_else(|| panic!("{text}")))
    };
    let Some(ecdsa) = shown(&["-servername", "a.example"]) else { return };
    assert_eq!(ecdsa, 1);
    assert_eq!(shown(&["-servername", "a.example", "-sigalgs", "RSA-PSS+SHA256", "-tls1_3"]), Some(0));
    assert_eq!(
        shown(&["-servername", "a.example", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256", "-tls1_2"]),
        Some(0)
    );
    assert_eq!(shown(&["-servername", "x.b.example"]), Some(2));
    assert_eq!(shown(&["-servername", "www.b.example"]), Some(3));
    assert_eq!(shown(&["-servername", "nobody.example"]), Some(1), "the best of all where no name fits");
}

#[test]
fn sessions_are_resumed_with_the_identity_of_the_first() {
    let gateway = Gateway::new("gw-resume");
    let proxy = gateway.start(gateway.mutual(), json!({ "require_client_certificate": true }));
    let client = gateway.ca.issue(&Leaf::host(&["client.example"]));
    let (cert, key) = (gateway.write("client.pem", &client.chain), gateway.write("client.key", &client.key));
    let session = gateway.files.path("session");
    let arguments = ["-cert", &cert, "-key", &key, "-sess_out", &session];
    let Some(text) = s_client(proxy.address("gateway"), &arguments) else { return };
    assert!(text.contains("New, TLSv1.3"), "{text}");
    let text = s_client(proxy.address("gateway"), &["-sess_in", &session]).unwrap();
    assert!(text.contains("Reused, TLSv1.3") && text.contains("DNS=client.example"), "{text}");
    proxy.counts("ssl.session_reused", 1);
}

#[test]
fn a_revoked_certificate_is_refused() {
    let gateway = Gateway::new("gw-crl");
    let (good, bad) =
        (gateway.ca.issue(&Leaf::host(&["good.example"])), gateway.ca.issue(&Leaf::host(&["bad.example"])));
    let mut common = gateway.mutual();
    common["validation_context"]["crl"] = json!({ "inline_string": gateway.ca.revoke(&bad) });
    let proxy = gateway.start(common, json!({ "require_client_certificate": true }));
    let get = |pair: &Pair| Client::new(Some(pair)).get(proxy.address("gateway"), "a.example");
    assert!(get(&good).is_ok());
    assert!(get(&bad).is_err());
    proxy.counts("ssl.fail_verify_error", 1);
}

#[test]
fn pins_hold_for_certificates_and_for_keys() {
    let gateway = Gateway::new("gw-pins");
    let (pinned, other) =
        (gateway.ca.issue(&Leaf::host(&["a.example"])), gateway.ca.issue(&Leaf::host(&["a.example"])));
    let leaf = chain(&pinned.chain);
    let info = lateen_proxy::tls_info::CertificateInfo::read(&leaf).unwrap();
    let mut common = gateway.mutual();
    common["validation_context"]["verify_certificate_hash"] = json!([info.sha256]);
    let proxy = gateway.start(common, json!({ "require_client_certificate": true }));
    let get = |pair: &Pair| Client::new(Some(pair)).get(proxy.address("gateway"), "a.example");
    assert!(get(&pinned).is_ok() && get(&other).is_err());
    proxy.counts("ssl.fail_verify_cert_hash", 1);
}

#[test]
fn a_request_for_a_host_of_another_chain_is_misdirected() {
    let gateway = Gateway::new("gw-misdirected");
    let chain = |name: &str| {
        let pair = gateway.ca.issue(&Leaf::host(&[name]));
        let common = json!({ "alpn_protocols": ["h2"], "tls_certificates": [certificate(&pair)] });
        json!({ "filter_chain_match": { "server_names": [name] },
            "transport_socket": downstream_tls(common, json!({})), "filters": [manager("app", json!({}))] })
    };
    let chains = json!([chain("a.example"), chain("b.example")]);
    let clusters = json!([cluster("app", echo(), json!({}))]);
    let proxy = Proxy::start(&bootstrap(json!([listener("gateway", any_port(), chains)]), clusters));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let statuses =
        runtime.block_on(h2_statuses(proxy.address("gateway"), &["a.example", "b.example", "c.example"]));
    assert_eq!(statuses, [200, 421, 200]);
}

/// Statuses of requests for some hosts over one connection for `a.example`.
async fn h2_statuses(address: SocketAddr, hosts: &[&str]) -> Vec<u16> {
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(std::sync::Arc::new(lateen_identity::AnyServer::new(provider)))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let tcp = tokio::net::TcpStream::connect(address).await.unwrap();
    let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(config));
    let stream = connector.connect("a.example".try_into().unwrap(), tcp).await.unwrap();
    let (mut send, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let mut statuses = Vec::new();
    for host in hosts {
        let request = http::Request::get(format!("https://{host}/")).body(()).unwrap();
        let (response, _) = send.send_request(request, true).unwrap();
        statuses.push(response.await.unwrap().status().as_u16());
    }
    statuses
}
