//! What spans are called, as the proxies of a call tell each other; of ours and of an Envoy.

use crate::harness::*;
use crate::policy::world::*;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::mpsc;

const HEADER: &str = "x-envoy-decorator-operation";

/// An application, or another proxy, that tells what it was told, and names the operation below `/told`.
fn web() -> SocketAddr {
    upstream(|request| {
        let told = request.head.lines().find_map(|line| line.strip_prefix(HEADER)?.strip_prefix(": "));
        let body = told.unwrap_or("nothing");
        let name =
            if request.head.contains("/told") { format!("{HEADER}: servers\r\n") } else { String::new() };
        format!("HTTP/1.1 200 OK\r\n{name}Content-Length: {}\r\n\r\n{body}", body.len())
    })
}

fn bootstrap(direction: &str, collector: SocketAddr) -> Value {
    let zipkin = json!({"collector_cluster": "collector", "collector_endpoint": "/", "collector_endpoint_version": "HTTP_JSON"});
    let route = |prefix: &str, decorator: Value| json!({"match": {"prefix": prefix}, "decorator": decorator, "route": {"cluster": "web"}});
    let own_name = json!({"match": {"prefix": "/formatted"}, "decorator": {"operation": "own"},
        "tracing": {"operation": "%REQ(:METHOD)%"}, "route": {"cluster": "web"}});
    let plain = json!({"match": {"prefix": "/plain"}, "route": {"cluster": "web"}});
    let manager = json!({
        "stat_prefix": "names",
        "http_filters": [router()],
        "tracing": {"provider": filter("envoy.tracers.zipkin", "envoy.config.trace.v3.ZipkinConfig", zipkin)},
        "route_config": {"name": "r", "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [
            own_name,
            plain,
            route("/kept", json!({"operation": "own", "propagate": false})),
            route("/", json!({"operation": "own"})),
        ]}]},
    });
    let mut listener = listener("http", manager, None);
    listener["traffic_direction"] = direction.into();
    json!({
        "node": {"id": "n", "cluster": "c"},
        "static_resources": {
            "clusters": [cluster("collector", collector, false), cluster("web", web(), false)],
            "listeners": [listener],
        },
    })
}

/// The names of the spans that a proxy sends.
fn collector() -> (SocketAddr, mpsc::Receiver<String>) {
    let (sender, names) = mpsc::channel();
    let sender = std::sync::Mutex::new(sender);
    let address = upstream(move |request| {
        let spans: Value = serde_json::from_str(&request.body).unwrap();
        for span in spans.as_array().unwrap() {
            let _ = sender.lock().unwrap().send(span["name"].as_str().unwrap().to_owned());
        }
        "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n".to_owned()
    });
    (address, names)
}

/// Path and what the client tells; then what the upstream and the client were told, and the span's name.
type Case = (&'static str, Option<&'static str>, &'static str, Option<&'static str>, &'static str);

fn check(direction: &str, cases: &[Case]) {
    let one = |who: &str, address: SocketAddr, names: &mpsc::Receiver<String>| {
        for (path, told, upstream, answer, name) in cases {
            let header = told.map(|told| format!("{HEADER}: {told}\r\n")).unwrap_or_default();
            let got = get_with(address, path, &format!("{header}x-envoy-force-trace: 1\r\n"));
            let at = format!("{who} {direction} {path} {told:?}");
            assert_eq!((got.body.as_str(), got.header(HEADER)), (*upstream, *answer), "{at}");
            let span = names.recv_timeout(WAIT).unwrap_or_else(|_| panic!("{at}: no span"));
            assert_eq!(span, *name, "{at}");
        }
    };
    let (address, names) = collector();
    let config = bootstrap(direction, address);
    let ours = Ours::start(&config);
    one("lateen", ours.address("http"), &names);
    drop(ours);
    let (address, names) = collector();
    let mut config = bootstrap(direction, address);
    // Spans at once.
    config["layered_runtime"] =
        json!({"layers": [{"name": "s", "static_layer": {"tracing.zipkin.min_flush_spans": 1}}]});
    if let Some(envoy) = Envoy::start(&config) {
        one("envoy", envoy.address("http"), &names);
    }
}

#[test]
fn a_server_calls_a_span_as_its_client_does_or_tells_the_client() {
    check(
        "INBOUND",
        &[
            ("/", None, "nothing", Some("own"), "own"),
            ("/", Some("clients"), "nothing", None, "clients"),
            ("/told", Some("clients"), "nothing", Some("servers"), "clients"),
            ("/kept", None, "nothing", None, "own"),
            ("/plain", Some("clients"), "nothing", None, "clients"),
            ("/formatted", Some("clients"), "clients", None, "GET"),
        ],
    );
}

#[test]
fn a_client_tells_what_it_calls_a_span_or_takes_the_servers_name() {
    check(
        "OUTBOUND",
        &[
            ("/", None, "own", None, "own"),
            ("/", Some("forged"), "own", None, "own"),
            ("/told", None, "own", None, "servers"),
            ("/kept", None, "nothing", None, "own"),
            ("/formatted/told", None, "nothing", Some("servers"), "GET"),
            ("/formatted", None, "nothing", None, "GET"),
        ],
    );
}
