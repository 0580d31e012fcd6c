use std::sync::Arc;
use std::time::Duration;

use lateen_xds::json::Pool;
use lateen_xds::pb::envoy::config::cluster::v3::Cluster as XdsCluster;
use lateen_xds::pb::envoy::config::route::v3::RouteConfiguration;

use super::{Context, cluster, route_configuration};
use crate::config::{
    Action, Discovery, LbPolicy, PathMatch, Store, Target, UpstreamProtocol, UpstreamSocket,
};
use crate::stats::istio::{IstioMetrics, Node};

pub(crate) fn context() -> Context {
    Context {
        store: Store::new(1),
        secrets: Arc::default(),
        sinks: Arc::default(),
        istio: Arc::new(IstioMetrics::new(Node::default())),
        tracers: Arc::default(),
        upstream_socket: UpstreamSocket::default(),
    }
}

/// A cluster from YAML.
pub(crate) fn cluster_of(yaml: &str) -> Result<crate::config::Cluster, super::ConvertError> {
    let message: XdsCluster = Pool::load().unwrap().read(yaml).unwrap();
    cluster(&message, &context()).map(|converted| converted.cluster)
}

fn read_cluster(yaml: &str) -> Result<super::ConvertedCluster, String> {
    let message: XdsCluster = Pool::load().unwrap().read(yaml).unwrap();
    cluster(&message, &context()).map_err(|error| error.to_string())
}

fn read_routes(yaml: &str) -> Result<super::ConvertedRoutes, String> {
    let message: RouteConfiguration = Pool::load().unwrap().read(yaml).unwrap();
    route_configuration(&message, &context()).map_err(|error| error.to_string())
}

#[test]
fn istios_outbound_cluster_is_understood() {
    let converted = read_cluster(
        r#"
name: outbound|9080|v1|reviews.default.svc.cluster.local
type: EDS
eds_cluster_config:
  eds_config: { ads: {}, initial_fetch_timeout: 0s, resource_api_version: V3 }
  service_name: outbound|9080|v1|reviews.default.svc.cluster.local
connect_timeout: 10s
lb_policy: LEAST_REQUEST
circuit_breakers:
  thresholds: [{ max_connections: 100, max_pending_requests: 4294967295, max_requests: 4294967295, track_remaining: true }]
outlier_detection: { consecutive_5xx: 7, interval: 1s, enforcing_success_rate: 0, max_ejection_percent: 100 }
typed_extension_protocol_options:
  envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
    "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
    explicit_http_config: { http2_protocol_options: { max_concurrent_streams: 100 } }
metadata:
  filter_metadata:
    istio: { services: [{ host: reviews.default.svc.cluster.local, name: reviews, namespace: default }] }
"#,
    )
    .unwrap();
    let cluster = converted.cluster;
    assert_eq!(converted.waits_for_endpoints, Some(Duration::ZERO), "for ever");
    assert_eq!(
        (cluster.discovery, cluster.lb),
        (Discovery::Eds, LbPolicy::LeastRequest { choices: 2, bias: 1.0 })
    );
    assert_eq!((cluster.protocol, cluster.http2.max_concurrent_streams), (UpstreamProtocol::Http2, 100));
    assert_eq!((cluster.limits.max_connections, cluster.outlier.unwrap().consecutive_5xx), (100, Some(7)));
    assert_eq!(&*cluster.services[0].name, "reviews");
}

#[test]
fn what_is_not_supported_is_refused_by_its_path() {
    let error = read_cluster("{name: a, type: EDS, eds_cluster_config: {}, use_tcp_for_dns_lookups: true}")
        .unwrap_err();
    assert_eq!(error, "use_tcp_for_dns_lookups: is not supported");
    let error = read_cluster("{name: a, type: STATIC}").unwrap_err();
    assert!(error.starts_with("load_assignment: is required"), "{error}");
    let address = "{socket_address: {address: web, port_value: 80}}";
    let error = read_cluster(&format!(
        "{{name: a, load_assignment: {{endpoints: [{{lb_endpoints: [{{endpoint: {{address: {address}}}}}]}}]}}}}"
    ))
    .unwrap_err();
    let path = "load_assignment.endpoints[0].lb_endpoints[0].endpoint.address.socket_address.address";
    assert!(error.starts_with(&format!("{path}: `web` is not an IP address")), "{error}");
}

#[test]
fn istios_routes_are_understood() {
    let converted = read_routes(
        r#"
name: "9080"
virtual_hosts:
- name: reviews.default.svc.cluster.local:9080
  domains: [reviews.default.svc.cluster.local, reviews]
  include_request_attempt_count: true
  routes:
  - match:
      prefix: /
      case_sensitive: true
      headers: [{ name: end-user, string_match: { exact: jason } }]
    decorator: { operation: "reviews:9080/*" }
    route:
      cluster: outbound|9080|v2|reviews.default.svc.cluster.local
      timeout: 0s
      max_grpc_timeout: 0s
      retry_policy:
        retry_on: connect-failure,refused-stream,unavailable,cancelled,503
        num_retries: 2
        retry_host_predicate:
        - name: envoy.retry_host_predicates.previous_hosts
          typed_config: { "@type": type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate }
        host_selection_retry_max_attempts: "5"
    typed_per_filter_config:
      envoy.filters.http.fault:
        "@type": type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault
        delay: { fixed_delay: 7s, percentage: { numerator: 100, denominator: HUNDRED } }
  - match: { path_separated_prefix: /api }
    route:
      weighted_clusters: { clusters: [{ name: a, weight: 50 }, { name: b, weight: 50 }] }
"#,
    )
    .unwrap();
    let host = converted.table.find(b"reviews").unwrap();
    let fault = host.routes[0].filters.fault.as_ref().unwrap();
    assert!(fault.delay.is_some() && fault.abort.is_none());
    let Action::Forward(action) = &host.routes[0].action else { panic!("forwards") };
    let retry = action.retry.as_ref().unwrap();
    assert_eq!((action.timeout, retry.max_retries, retry.avoid_previous_hosts), (None, 2, true));
    assert_eq!(retry.retriable_status_codes, [503]);
    assert!(
        matches!(&host.routes[1].matches.path, PathMatch::SeparatedPrefix(prefix) if &**prefix == "/api")
    );
    let Action::Forward(action) = &host.routes[1].action else { panic!("forwards") };
    assert!(matches!(&action.target, Target::Weighted(weighted) if weighted.entries().len() == 2));
}

#[test]
fn a_bad_route_is_named_by_its_index() {
    let error = read_routes(
        "{name: r, virtual_hosts: [{name: a, domains: [a], routes: [{match: {safe_regex: {regex: '('}}, route: {cluster: c}}]}]}",
    )
    .unwrap_err();
    assert!(error.starts_with("virtual_hosts[0].routes[0].match.safe_regex.regex: "), "{error}");
    let error = read_routes("{name: r, virtual_hosts: [{name: a, domains: [x]}, {name: b, domains: [x]}]}")
        .unwrap_err();
    assert!(error.starts_with("virtual_hosts: ") && error.contains("claimed twice"), "{error}");
}
