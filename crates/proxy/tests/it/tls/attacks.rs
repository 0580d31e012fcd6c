//! Attacks on transport security: each is refused, and seen in a counter and in the log.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant, SystemTime};

use serde_json::json;

use super::mutual::server_sidecar;
use super::support::*;
use crate::harness::echo;

const CLIENT: &str = "spiffe://cluster.local/ns/default/sa/sleep";
const SERVER: &str = "spiffe://cluster.local/ns/default/sa/httpbin";

struct Strict {
    ca: Ca,
    proxy: Proxy,
    files: Files,
}

impl Strict {
    /// A STRICT server that writes failed handshakes to a log.
    fn new(name: &str) -> Strict {
        let (ca, files) = (Ca::new(), Files::new(name));
        files.workload(&ca.pem, &ca.workload(SERVER));
        let mut config = server_sidecar(&files, echo(), false, json!({}));
        let listener = &mut config["static_resources"]["listeners"][0];
        listener["access_log"] = json!([{ "name": "file", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
            "path": files.path("log"),
            "log_format": { "text_format_source": { "inline_string": "%DOWNSTREAM_TRANSPORT_FAILURE_REASON% %RESPONSE_CODE_DETAILS%\n" } } } }]);
        listener["filter_chains"][0]["transport_socket_connect_timeout"] = json!("0.3s");
        Strict { proxy: Proxy::start(&config), ca, files }
    }

    fn refuses(&self, pair: Option<&Pair>, counter: &str, reason: &str) {
        let before = self.proxy.stat(counter);
        let errors = self.proxy.stat("ssl.connection_error");
        let answer = Client::new(pair).get(self.proxy.address("inbound"), "httpbin");
        assert!(answer.is_err(), "{answer:?}");
        wait(counter, || self.proxy.stat(counter) == before + 1);
        assert_eq!(self.proxy.stat("ssl.connection_error"), errors + 1);
        wait(reason, || {
            std::fs::read_to_string(self.files.path("log")).is_ok_and(|log| log.contains(reason))
        });
    }
}

#[test]
fn certificates_that_prove_nothing_are_refused() {
    let strict = Strict::new("attacks");
    let good = strict.ca.workload(CLIENT);
    assert!(Client::new(Some(&good)).get(strict.proxy.address("inbound"), "httpbin").is_ok());
    strict.refuses(None, "ssl.fail_verify_no_cert", "PEER_DID_NOT_RETURN_A_CERTIFICATE");
    let foreign = strict.ca.workload("spiffe://evil.example/ns/default/sa/sleep");
    strict.refuses(Some(&foreign), "ssl.fail_verify_san", "verify SAN list");
    let nameless = strict.ca.issue(&Leaf::host(&["sleep"]));
    strict.refuses(Some(&nameless), "ssl.fail_verify_san", "verify SAN list");
    let wrong_ca = Ca::new().workload(CLIENT);
    strict.refuses(Some(&wrong_ca), "ssl.fail_verify_error", "invalid peer certificate: ");
    let now = SystemTime::now();
    let expired = Leaf { from: now - DAY, until: now - Duration::from_secs(60), ..Leaf::workload(CLIENT) };
    strict.refuses(Some(&strict.ca.issue(&expired)), "ssl.fail_verify_error", "expired");
    let early = Leaf { from: now + Duration::from_secs(600), until: now + DAY, ..Leaf::workload(CLIENT) };
    strict.refuses(Some(&strict.ca.issue(&early)), "ssl.fail_verify_error", "not valid yet");
}

#[test]
fn plain_text_to_strict_is_closed_without_an_answer() {
    let strict = Strict::new("plain");
    let answer = plain_get(strict.proxy.address("inbound"), "");
    assert!(answer.is_err(), "{answer:?}");
    strict.proxy.counts("no_filter_chain_match", 1);
}

#[test]
fn half_a_client_hello_does_not_hold_a_connection() {
    let strict = Strict::new("slowloris");
    let mut stream = TcpStream::connect(strict.proxy.address("inbound")).unwrap();
    stream.set_read_timeout(Some(WAIT)).unwrap();
    // A whole ClientHello brings the connection past the listener's filters; then nothing comes.
    let hello = client_hello();
    stream.write_all(&hello).unwrap();
    let began = Instant::now();
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
    assert!(began.elapsed() < Duration::from_secs(5), "closed after {:?}", began.elapsed());
    wait("the counter", || strict.proxy.stat("ssl.connection_error") == 1);
    wait("the log", || {
        std::fs::read_to_string(strict.files.path("log"))
            .is_ok_and(|log| log.contains("TLS handshake timeout"))
    });
}

/// A ClientHello as a client of ours sends it.
fn client_hello() -> Vec<u8> {
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let name = "httpbin".try_into().unwrap();
    let mut connection = rustls::ClientConnection::new(std::sync::Arc::new(config), name).unwrap();
    let mut bytes = Vec::new();
    connection.write_tls(&mut bytes).unwrap();
    bytes
}
