use std::sync::Arc;

use lateen_xds::pb::google::protobuf::value::Kind;
use lateen_xds::pb::google::protobuf::{Struct, Value};

use super::{IstioMetrics, Node, endpoint_peer};
use crate::config::{Cluster, ClusterService, TrafficDirection};
use crate::format::tests::{info, request};
use crate::request_info::LogContext;

fn text(text: &str) -> Value {
    Value { kind: Some(Kind::StringValue(text.to_owned())) }
}

fn fields(pairs: &[(&str, Value)]) -> Struct {
    Struct { fields: pairs.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect() }
}

fn metrics(workload: &str, version: &str) -> IstioMetrics {
    let labels = fields(&[("app", text(workload)), ("version", text(version))]);
    let metadata = fields(&[
        ("NAME", text("pod-1")),
        ("NAMESPACE", text("default")),
        ("WORKLOAD_NAME", text(workload)),
        ("CLUSTER_ID", text("Kubernetes")),
        ("LABELS", Value { kind: Some(Kind::StructValue(labels)) }),
    ]);
    IstioMetrics::new(Node::new("sidecar~1", Some(&metadata)))
}

#[test]
fn the_source_counts_requests_with_istios_labels() {
    let metrics = metrics("productpage-v1", "v1");
    let (mut info, request) = (info(), request());
    let mut cluster = Cluster::fixed("outbound|9080||reviews.default.svc.cluster.local", []);
    cluster.services.push(ClusterService {
        host: "reviews.default.svc.cluster.local".into(),
        name: "reviews".into(),
        namespace: "default".into(),
    });
    info.upstream.cluster = Some(Arc::new(cluster));
    info.upstream_peer = Some(Arc::new(endpoint_peer("reviews-v2;default;reviews;v2;Kubernetes")));
    let log = metrics.http_log(TrafficDirection::Outbound);
    let context = LogContext { info: &info, request: Some(&request), response: None, trailers: None };
    log.log(&context);
    log.log(&context);
    let mut out = String::new();
    metrics.write_prometheus(|_| true, &mut out);
    let line = out.lines().find(|line| line.starts_with("istio_requests_total{")).unwrap();
    for label in [
        "reporter=\"source\"",
        "source_workload=\"productpage-v1\"",
        "source_version=\"v1\"",
        "destination_workload=\"reviews-v2\"",
        "destination_version=\"v2\"",
        "destination_service=\"reviews.default.svc.cluster.local\"",
        "destination_service_name=\"reviews\"",
        "destination_service_namespace=\"default\"",
        "request_protocol=\"http\"",
        "response_code=\"200\"",
        "response_flags=\"-\"",
        "connection_security_policy=\"unknown\"",
    ] {
        assert!(line.contains(label), "{label} is missing in {line}");
    }
    assert!(line.ends_with("} 2"), "{line}");
    let bucket = |le: &str| out.lines().any(|l| l.contains("milliseconds_bucket{") && l.ends_with(le));
    assert!(bucket("le=\"10\"} 0") && bucket("le=\"25\"} 2"), "12 ms lie between 10 and 25");
}

#[test]
fn a_peer_is_learned_from_the_header_that_another_announced_and_the_header_is_taken_away() {
    let (client, server) = (metrics("sleep", "v1"), metrics("httpbin", "v2"));
    let (mut request, mut out, mut inbound) = (request(), info(), info());
    client.exchange(TrafficDirection::Outbound).on_request(&mut request, &mut out);
    assert!(request.headers.contains("x-envoy-peer-metadata"));
    server.exchange(TrafficDirection::Inbound).on_request(&mut request, &mut inbound);
    assert!(
        !request.headers.contains("x-envoy-peer-metadata")
            && !request.headers.contains("x-envoy-peer-metadata-id")
    );
    let peer = inbound.downstream_peer.unwrap();
    assert_eq!((peer.workload.as_deref(), peer.canonical_revision.as_deref()), (Some("sleep"), Some("v1")));
}

#[test]
fn a_header_that_is_no_metadata_is_taken_away_and_means_nothing() {
    let (mut request, mut inbound) = (request(), info());
    request.headers.append_static("x-envoy-peer-metadata", "%%%");
    metrics("a", "v1").exchange(TrafficDirection::Inbound).on_request(&mut request, &mut inbound);
    assert!(inbound.downstream_peer.is_none() && !request.headers.contains("x-envoy-peer-metadata"));
}

#[test]
fn tcp_connections_count_bytes_when_they_end() {
    let metrics = metrics("redis", "v1");
    let mut info = info();
    let log = metrics.tcp_log(TrafficDirection::Inbound);
    info.bytes.received = 10;
    let context = LogContext { info: &info, request: None, response: None, trailers: None };
    log.opened(&context);
    log.log(&context);
    let mut out = String::new();
    metrics.write_prometheus(|_| true, &mut out);
    let value = |name: &str| out.lines().find(|l| l.starts_with(name)).and_then(|l| l.rsplit(' ').next());
    assert_eq!(value("istio_tcp_connections_opened_total{"), Some("1"));
    assert_eq!(value("istio_tcp_received_bytes_total{"), Some("10"));
    assert!(
        out.contains("destination_workload=\"redis\"") && out.contains("connection_security_policy=\"none\"")
    );
}
