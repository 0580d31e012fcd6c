//! Traces from a bootstrap file to the collector.

use crate::files::{start, wait_for};
use crate::harness::*;
use serde_json::Value;
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex};

/// Bodies that a collector was sent.
#[derive(Default)]
struct Collected {
    requests: Mutex<Vec<(String, Vec<u8>)>>,
    more: Condvar,
}

impl Collected {
    fn first(&self) -> (String, Vec<u8>) {
        let requests = self.requests.lock().unwrap();
        let (requests, late) = self.more.wait_timeout_while(requests, WAIT, |r| r.is_empty()).unwrap();
        assert!(!late.timed_out(), "the collector got nothing");
        requests[0].clone()
    }
}

/// A collector that says yes to everything.
fn collector() -> (SocketAddr, Arc<Collected>) {
    let collected = Arc::new(Collected::default());
    let keep = collected.clone();
    let address = upstream(move |request| {
        keep.requests.lock().unwrap().push((request.head.clone(), request.body.clone().into_bytes()));
        keep.more.notify_all();
        "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n".to_owned()
    });
    (address, collected)
}

fn bootstrap(direction: &str, tracing: &str, web: SocketAddr, collector: SocketAddr) -> String {
    let cluster = |name: &str, address: SocketAddr| {
        format!(
            "{{name: {name}, type: STATIC, load_assignment: {{cluster_name: {name}, endpoints: [{{lb_endpoints: \
             [{{endpoint: {{address: {{socket_address: {{address: {}, port_value: {}}}}}}}}}]}}]}}}}",
            address.ip(),
            address.port()
        )
    };
    BOOTSTRAP
        .replace("CLUSTERS", &format!("{}, {}", cluster("web", web), cluster("collector", collector)))
        .replace("DIRECTION", direction)
        .replace("TRACING", tracing)
}

const BOOTSTRAP: &str = r#"
node: {id: "sidecar~10.0.0.1~a.b~c", cluster: web.shop}
static_resources:
  clusters: [CLUSTERS]
  listeners:
  - name: http
    traffic_direction: DIRECTION
    address: {socket_address: {address: 127.0.0.1, port_value: 0}}
    filter_chains:
    - filters:
      - name: http
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: http
          tracing:
            custom_tags:
            - {tag: who, request_header: {name: End-User, default_value: nobody}}
            - {tag: place, literal: {value: here}}
            - {tag: home, environment: {name: LATEEN_TEST_UNSET, default_value: unknown}}
            - {tag: answered, value: "%RESPONSE_CODE%"}
            TRACING
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: {prefix: /quiet}
                route: {cluster: web}
                tracing: {random_sampling: {numerator: 0}}
              - {match: {prefix: /}, decorator: {operation: "web:80/*"}, route: {cluster: web}}
          http_filters:
          - name: router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
"#;

const ZIPKIN: &str = r#"provider:
              name: envoy.tracers.zipkin
              typed_config:
                "@type": type.googleapis.com/envoy.config.trace.v3.ZipkinConfig
                collector_cluster: collector
                collector_endpoint: /api/v2/spans
                collector_endpoint_version: HTTP_JSON
                collector_hostname: zipkin.istio-system
                trace_id_128bit: true
                shared_span_context: false"#;

const OTLP: &str = r#"spawn_upstream_span: true
            provider:
              name: envoy.tracers.opentelemetry
              typed_config:
                "@type": type.googleapis.com/envoy.config.trace.v3.OpenTelemetryConfig
                http_service:
                  http_uri: {uri: "http://otel:4318/v1/traces", cluster: collector, timeout: 3s}"#;

fn header<'a>(echoed: &'a str, name: &str) -> Option<&'a str> {
    echoed.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

#[test]
fn zipkin_gets_a_span_of_each_traced_request_and_upstreams_the_trace() {
    let (address, collected) = collector();
    let (_runtime, server) = start(bootstrap("INBOUND", ZIPKIN, echo(), address));
    let proxy = server.bound_addresses("http")[0];
    let echoed = get_with(proxy, "/x?y=1", "x-b3-traceid: 80f198ee56343ba864fe8b2a57d3eff7\r\nx-b3-spanid: e457b5a2e4d86bd1\r\nx-b3-sampled: 1\r\nend-user: jason\r\n").body;
    assert_eq!(header(&echoed, "x-b3-traceid"), Some("80f198ee56343ba864fe8b2a57d3eff7"));
    assert_eq!(header(&echoed, "x-b3-parentspanid"), Some("e457b5a2e4d86bd1"));
    assert_eq!(header(&echoed, "x-request-id").map(|id| &id[14..15]), Some("9"), "{echoed}");
    let (head, body) = collected.first();
    assert!(head.starts_with("POST /api/v2/spans HTTP/1.1\r\n"), "{head}");
    assert!(head.contains("host: zipkin.istio-system"), "{head}");
    let spans: Value = serde_json::from_slice(&body).unwrap();
    let span = &spans[0];
    assert_eq!(span["traceId"], "80f198ee56343ba864fe8b2a57d3eff7");
    assert_eq!(Some(span["id"].as_str().unwrap()), header(&echoed, "x-b3-spanid"));
    assert_eq!((&span["parentId"], &span["kind"]), (&"e457b5a2e4d86bd1".into(), &"SERVER".into()));
    assert_eq!(
        (&span["name"], &span["localEndpoint"]["serviceName"]),
        (&"web:80/*".into(), &"web.shop".into())
    );
    let tags = &span["tags"];
    for (name, value) in [
        ("component", "proxy"),
        ("node_id", "sidecar~10.0.0.1~a.b~c"),
        ("http.method", "GET"),
        ("http.url", "http://test/x?y=1"),
        ("http.status_code", "200"),
        ("upstream_cluster", "web"),
        ("response_flags", "-"),
        ("who", "jason"),
        ("place", "here"),
        ("home", "unknown"),
        ("answered", "200"),
    ] {
        assert_eq!(tags[name], value, "{name} of {tags}");
    }
    assert!(span["duration"].as_u64().unwrap() > 0 && tags.get("error").is_none());
    let sent = |line: &str| line.starts_with("envoy_tracing_zipkin_spans_sent") && line.ends_with(" 1");
    wait_for("the span is counted", || server.prometheus().lines().any(sent));
    server.stop();
}

#[test]
fn opentelemetry_gets_both_spans_of_a_gateway() {
    let (address, collected) = collector();
    let (_runtime, server) = start(bootstrap("OUTBOUND", OTLP, echo(), address));
    let echoed = get(server.bound_addresses("http")[0], "/").body;
    let parent = header(&echoed, "traceparent").unwrap();
    let parts: Vec<&str> = parent.split('-').collect();
    assert_eq!((parts[0], parts[1].len(), parts[2].len(), parts[3]), ("00", 32, 16, "01"));
    let (head, body) = collected.first();
    assert!(head.starts_with("POST /v1/traces HTTP/1.1\r\n"), "{head}");
    assert!(head.contains("content-type: application/x-protobuf"), "{head}");
    let text = String::from_utf8_lossy(&body);
    for known in ["web.shop", "web:80/*", "router web egress", "upstream_cluster"] {
        assert!(text.contains(known), "{known} in {text}");
    }
    server.stop();
}

#[test]
fn a_request_that_is_not_traced_tells_its_upstream_so_and_makes_no_span() {
    let (address, collected) = collector();
    let (_runtime, server) = start(bootstrap("INBOUND", ZIPKIN, echo(), address));
    let proxy = server.bound_addresses("http")[0];
    let echoed = get(proxy, "/quiet").body;
    assert_eq!(header(&echoed, "x-b3-sampled"), Some("0"));
    assert_eq!(header(&echoed, "x-request-id").map(|id| &id[14..15]), Some("4"));
    get(proxy, "/loud");
    let spans: Value = serde_json::from_slice(&collected.first().1).unwrap();
    assert_eq!(spans.as_array().unwrap().len(), 1, "{spans}");
    assert_eq!(spans[0]["tags"]["http.url"], "http://test/loud");
    server.stop();
}
