//! Mutual TLS between two of our proxies: sidecars as Istio configures them.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use lateen_xds::pb::envoy::config::bootstrap::v3::Bootstrap;
use lateen_xds::pb::envoy::config::listener::v3::Filter;
use lateen_xds::pb::envoy::config::listener::v3::filter::ConfigType;
use lateen_xds::pb::google::protobuf::Any;
use serde_json::{Value, json};

use super::support::*;
use crate::harness::echo;

const CLIENT: &str = "spiffe://cluster.local/ns/default/sa/sleep";
const SERVER: &str = "spiffe://cluster.local/ns/default/sa/httpbin";

fn common(files: &Files, alpn: &[&str], sans: Value) -> Value {
    json!({
        "alpn_protocols": alpn,
        "tls_certificate_sds_secret_configs": [files.sds("default")],
        "combined_validation_context": {
            "default_validation_context": { "match_typed_subject_alt_names": sans },
            "validation_context_sds_secret_config": files.sds("ROOTCA"),
        },
    })
}

/// A server sidecar: mutual TLS, and plain text where it is permissive.
pub fn server_sidecar(files: &Files, app: SocketAddr, permissive: bool, manager_more: Value) -> Value {
    let trust_domain = json!([{ "san_type": "URI", "matcher": { "prefix": "spiffe://cluster.local/" } }]);
    let mutual = downstream_tls(
        common(files, &["h2", "http/1.1"], trust_domain),
        json!({ "require_client_certificate": true }),
    );
    let mut more = json!({ "forward_client_cert_details": "APPEND_FORWARD",
        "set_current_client_cert_details": { "subject": true, "dns": true, "uri": true } });
    merge(&mut more, manager_more);
    let mut chains = vec![json!({ "name": "mutual", "filter_chain_match": { "transport_protocol": "tls" },
        "transport_socket": mutual, "filters": [manager("app", more.clone())] })];
    if permissive {
        let plain = json!({ "transport_protocol": "raw_buffer" });
        chains
            .push(json!({ "name": "plain", "filter_chain_match": plain, "filters": [manager("app", more)] }));
    }
    bootstrap(
        json!([listener("inbound", any_port(), json!(chains))]),
        json!([cluster("app", app, json!({}))]),
    )
}

/// A client sidecar: plain text in, mutual TLS out to endpoints that speak it.
pub fn client_sidecar(files: &Files, server: SocketAddr, expected: &str, more: Value) -> Value {
    let sans = json!([{ "san_type": "URI", "matcher": { "exact": expected } }]);
    let tls = upstream_tls(
        common(files, &["istio-peer-exchange", "istio", "http/1.1"], sans),
        json!({ "sni": "outbound_.80_._.httpbin.default.svc.cluster.local" }),
    );
    let endpoint = json!({ "endpoint": { "address": socket_address(server) },
        "metadata": { "filter_metadata": { "envoy.transport_socket_match": { "tlsMode": "istio" } } } });
    let raw = json!({ "name": "envoy.transport_sockets.raw_buffer", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer" } });
    let mut upstream = json!({
        "transport_socket_matches": [
            { "name": "tlsMode-istio", "match": { "tlsMode": "istio" }, "transport_socket": tls },
            { "name": "tlsMode-disabled", "match": {}, "transport_socket": raw },
        ],
        "load_assignment": { "cluster_name": "server", "endpoints": [{ "lb_endpoints": [endpoint] }] },
    });
    merge(&mut upstream, more);
    let chains =
        json!([{ "filters": [manager("server", json!({ "forward_client_cert_details": "SANITIZE" }))] }]);
    bootstrap(json!([listener("outbound", any_port(), chains)]), json!([cluster("server", server, upstream)]))
}

struct Pairing {
    ca: Ca,
    server_files: Files,
    client_files: Files,
}

impl Pairing {
    fn new(name: &str) -> Pairing {
        let ca = Ca::new();
        let (server_files, client_files) =
            (Files::new(&format!("{name}-server")), Files::new(&format!("{name}-client")));
        server_files.workload(&ca.pem, &ca.workload(SERVER));
        client_files.workload(&ca.pem, &ca.workload(CLIENT));
        Pairing { ca, server_files, client_files }
    }

    fn server(&self, permissive: bool) -> Proxy {
        Proxy::start(&server_sidecar(&self.server_files, echo(), permissive, json!({})))
    }

    fn client(&self, server: &Proxy, expected: &str) -> Proxy {
        Proxy::start(&client_sidecar(&self.client_files, server.address("inbound"), expected, json!({})))
    }
}

#[test]
fn sidecars_speak_mutual_tls_and_the_application_learns_who_calls() {
    let pairing = Pairing::new("mutual");
    let server = pairing.server(false);
    let client = pairing.client(&server, SERVER);
    let answer =
        plain_get(client.address("outbound"), "x-forwarded-client-cert: By=forged;URI=spiffe://admin\r\n")
            .unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let xfcc = answer.lines().find(|line| line.starts_with("x-forwarded-client-cert:")).expect(&answer);
    assert!(
        xfcc.contains(&format!("By={SERVER};Hash=")) && xfcc.ends_with(&format!("URI={CLIENT}")),
        "{xfcc}"
    );
    assert!(!answer.contains("forged"), "{answer}");
    server.counts("ssl.handshake", 1);
    client.counts("ssl.handshake", 1);
    server.counts("ssl.versions.TLSv1.3", 1);
}

#[test]
fn a_server_with_another_identity_gets_no_request() {
    let pairing = Pairing::new("identity");
    let server = pairing.server(false);
    let client = pairing.client(&server, "spiffe://cluster.local/ns/default/sa/other");
    let answer = plain_get(client.address("outbound"), "").unwrap();
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("CERTIFICATE_VERIFY_FAILED"), "{answer}");
    assert!(answer.contains("verify SAN list"), "{answer}");
    client.counts("ssl.fail_verify_san", 1);
}

#[test]
fn permissive_takes_plain_text_and_mutual_tls() {
    let pairing = Pairing::new("permissive");
    let server = pairing.server(true);
    let plain =
        plain_get(server.address("inbound"), "x-forwarded-client-cert: URI=spiffe://admin\r\n").unwrap();
    assert!(plain.starts_with("HTTP/1.1 200") && !plain.contains("spiffe://"), "{plain}");
    let client = pairing.client(&server, SERVER);
    let mutual = plain_get(client.address("outbound"), "").unwrap();
    assert!(mutual.contains(CLIENT), "{mutual}");
}

#[test]
fn an_endpoint_without_the_label_is_spoken_to_in_plain_text() {
    let pairing = Pairing::new("auto");
    let app = echo();
    let endpoint = json!({ "endpoint": { "address": socket_address(app) } });
    let assignment = json!({ "load_assignment": { "cluster_name": "server",
        "endpoints": [{ "lb_endpoints": [endpoint] }] } });
    let client = Proxy::start(&client_sidecar(&pairing.client_files, app, SERVER, assignment));
    assert!(plain_get(client.address("outbound"), "").unwrap().starts_with("HTTP/1.1 200"));
    client.counts("ssl.handshake", 0);
}

fn serial(stream: &Stream) -> Vec<u8> {
    stream.conn.peer_certificates().unwrap()[0].to_vec()
}

#[test]
fn certificates_change_under_connections_that_live_on() {
    let pairing = Pairing::new("rotation");
    let server = pairing.server(false);
    let identity = pairing.ca.workload(CLIENT);
    let tls = Client::new(Some(&identity));
    let mut old = tls.connect(server.address("inbound"), "httpbin").unwrap();
    assert!(request(&mut old, "").unwrap().contains("200 OK"));
    let first = serial(&old);
    pairing.server_files.workload(&pairing.ca.pem, &pairing.ca.workload(SERVER));
    wait("the new certificate", || {
        let new = tls.connect(server.address("inbound"), "httpbin").unwrap();
        serial(&new) != first
    });
    assert!(request(&mut old, "").unwrap().contains("200 OK"), "the old connection lives on");
}

#[test]
fn roots_change_with_an_overlap_and_the_old_one_is_refused_afterwards() {
    let pairing = Pairing::new("roots");
    let server = pairing.server(false);
    let new = Ca::new();
    let both = format!("{}{}", pairing.ca.pem, new.pem);
    let (of_old, of_new) = (pairing.ca.workload(CLIENT), new.workload(CLIENT));
    let passes = |pair: &Pair| Client::new(Some(pair)).get(server.address("inbound"), "httpbin").is_ok();
    assert!(passes(&of_old) && !passes(&of_new));
    pairing.server_files.put("ROOTCA", validation_secret("ROOTCA", &both));
    wait("the new root", || passes(&of_new));
    assert!(passes(&of_old), "both roots hold in the overlap");
    pairing.server_files.put("ROOTCA", validation_secret("ROOTCA", &new.pem));
    wait("the old root's end", || !passes(&of_old));
    assert!(passes(&of_new));
}

#[test]
fn tcp_peers_tell_each_other_who_they_are() {
    let pairing = Pairing::new("exchange");
    let exchange = json!({ "name": "istio.metadata_exchange" });
    // The readers of JSON do not know Istio's own types.
    let with_metrics = |bootstrap: &mut Bootstrap| {
        let config = Any { type_url: "type.googleapis.com/stats.PluginConfig".to_owned(), value: Vec::new() };
        let resources = bootstrap.static_resources.as_mut().unwrap();
        let metrics =
            Filter { name: "istio.stats".to_owned(), config_type: Some(ConfigType::TypedConfig(config)) };
        resources.listeners[0].filter_chains[0].filters.insert(0, metrics);
    };
    let node = |workload: &str| json!({ "id": workload, "cluster": "c", "metadata": { "WORKLOAD_NAME": workload, "NAMESPACE": "default" } });
    let app = crate::harness::server(|mut stream| {
        let mut bytes = [0; 64];
        while let Ok(n @ 1..) = stream.read(&mut bytes) {
            stream.write_all(&bytes[..n].to_ascii_uppercase()).unwrap();
        }
    });
    let tls = downstream_tls(
        common(&pairing.server_files, &["istio-peer-exchange", "h2", "http/1.1"], json!([])),
        json!({ "require_client_certificate": true }),
    );
    let chain = json!([{ "transport_socket": tls, "filters": [exchange, tcp_proxy("app")] }]);
    let mut config =
        bootstrap(json!([listener("inbound", any_port(), chain)]), json!([cluster("app", app, json!({}))]));
    config["node"] = node("redis-v1");
    config["static_resources"]["listeners"][0]["traffic_direction"] = json!("INBOUND");
    let server = Proxy::with(&config, with_metrics);
    let identity = pairing.ca.workload(CLIENT);
    let direct = Client { alpn: vec!["istio-peer-exchange"], ..Client::new(Some(&identity)) };
    let mut direct = direct.connect(server.address("inbound"), "redis").unwrap();
    assert_eq!(direct.conn.alpn_protocol(), Some(&b"istio-peer-exchange"[..]));
    let mut magic = [0; 4];
    direct.read_exact(&mut magic).unwrap();
    assert_eq!(magic, [0x3D, 0x23, 0x04, 0x67]);
    let mut config = client_sidecar(
        &pairing.client_files,
        server.address("inbound"),
        SERVER,
        json!({ "filters": [exchange] }),
    );
    config["static_resources"]["listeners"][0]["filter_chains"] =
        json!([{ "filters": [tcp_proxy("server")] }]);
    config["static_resources"]["listeners"][0]["traffic_direction"] = json!("OUTBOUND");
    config["node"] = node("sleep-v1");
    let client = Proxy::with(&config, with_metrics);
    let mut stream = TcpStream::connect(client.address("outbound")).unwrap();
    stream.set_read_timeout(Some(WAIT)).unwrap();
    stream.write_all(b"ping").unwrap();
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"PING");
    // Seen while the connection is open: sessions of databases last.
    for (proxy, peer) in
        [(&server, "source_workload=\"sleep-v1\""), (&client, "destination_workload=\"redis-v1\"")]
    {
        wait_or(|| {
            let text = proxy.server.prometheus();
            let opened = |line: &str| line.starts_with("istio_tcp_connections_opened_total{");
            text.lines().any(|line| opened(line) && line.contains(peer)).then_some(()).ok_or_else(|| {
                format!("{}{}", client.server.prometheus().lines().take(2).collect::<String>(), text)
            })
        });
    }
    let text = server.server.prometheus();
    let line = text.lines().find(|line| line.starts_with("istio_tcp_connections_opened_total{")).unwrap();
    assert!(line.contains("connection_security_policy=\"mutual_tls\""), "{line}");
    assert!(line.contains(&format!("source_principal=\"{CLIENT}\"")), "{line}");
    assert!(line.contains(&format!("destination_principal=\"{SERVER}\"")), "{line}");
}

#[test]
fn administration_shows_certificates_and_keeps_keys_to_itself() {
    let pairing = Pairing::new("admin");
    let server = pairing.server(false);
    let certs: Value = serde_json::from_str(&server.admin("/certs")).unwrap();
    let leaf = &certs["certificates"][0]["cert_chain"][0];
    assert_eq!(leaf["subject_alt_names"][0]["uri"], SERVER);
    assert_eq!(leaf["days_until_expiration"], "0");
    assert!(
        leaf["serial_number"].as_str().unwrap().len() >= 16
            && leaf["valid_from"].as_str().unwrap().ends_with('Z')
    );
    let text = server.admin("/config_dump");
    let dump: Value = serde_json::from_str(&text).unwrap();
    let secrets = dump["configs"]
        .as_array()
        .unwrap()
        .iter()
        .find(|c| c["@type"].as_str().unwrap().ends_with("SecretsConfigDump"));
    let active = secrets.unwrap()["dynamic_active_secrets"].as_array().unwrap();
    let names: Vec<_> = active.iter().map(|secret| secret["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["ROOTCA", "default"]);
    assert_eq!(active[1]["secret"]["tls_certificate"]["private_key"]["inline_bytes"], "W3JlZGFjdGVkXQ==");
    let encoded = std::fs::read_to_string(pairing.server_files.path("default.json")).unwrap();
    let encoded: Value = serde_json::from_str(&encoded).unwrap();
    let key = encoded["resources"][0]["tls_certificate"]["private_key"]["inline_string"].as_str().unwrap();
    assert!(!text.contains(key.lines().nth(1).unwrap()), "the key is in the dump");
}
