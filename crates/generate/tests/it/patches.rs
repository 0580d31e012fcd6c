//! EnvoyFilters on generated configuration.

use lateen_generate::Generator;
use lateen_xds::TypeUrl;
use lateen_xds::pb::envoy::config::route::v3::route::Action;
use lateen_xds::pb::google::protobuf::value::Kind;

use crate::kit::{Cluster0, Read, ingress, sidecar};
use crate::telemetry::managers;

const SERVICES: &str = "
apiVersion: v1
kind: Service
metadata: {name: a}
spec: {selector: {app: a}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: a}
spec: {template: {metadata: {labels: {app: a}}, spec: {containers: []}}}
";

const HOST: &str = "a.default.svc.cluster.local";

fn filter(name: &str, namespace: &str, priority: i32, patches: &str) -> String {
    format!(
        "
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  priority: {priority}
  configPatches:
{patches}
"
    )
}

fn patched(filters: &[String], program: &str) -> Read {
    let mut cluster = Cluster0::new();
    cluster.apply(SERVICES);
    for filter in filters {
        cluster.apply(filter);
    }
    cluster.resources(&sidecar("a-0", &[("app", "a")], program))
}

fn http_filters(seen: &Read, listener: &str) -> Vec<String> {
    let manager = managers(&seen.listener(listener)).remove(0);
    manager.http_filters.into_iter().map(|f| f.name).collect()
}

#[test]
fn lateens_proxies_tell_the_protocol_of_each_request_in_the_handshake() {
    let at = |program: &str, listener: &str| {
        let filters = http_filters(&patched(&[], program), listener);
        let fault = filters.iter().position(|f| f == "envoy.filters.http.fault");
        (filters.iter().position(|f| f == "istio.alpn"), fault)
    };
    let (alpn, fault) = at("lateen", "0.0.0.0_80");
    assert!(alpn.is_some() && alpn < fault);
    assert_eq!(at("lateen", "virtualInbound").0, None, "servers announce nothing");
    assert_eq!(at("envoy", "0.0.0.0_80").0, None, "upstream's Envoy has no such filter");
    let own = "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: a}\n\
               spec: {host: a, trafficPolicy: {tls: {mode: SIMPLE}}}\n";
    for (rule, expected) in [(own, Some("false")), ("", None)] {
        let seen = patched(&[rule.to_owned()], "lateen");
        let metadata = seen.cluster("outbound|80||a.default.svc.cluster.local").metadata.expect("metadata");
        let value =
            metadata.filter_metadata["istio"].fields.get("alpn_override").and_then(|v| v.kind.clone());
        let text = expected.map(|text| Kind::StringValue(text.to_owned()));
        assert_eq!(value, text);
    }
}

#[test]
fn clusters_are_merged_field_by_field_added_and_removed() {
    let patches = "
  - applyTo: CLUSTER
    match: {context: SIDECAR_OUTBOUND, cluster: {service: a.default.svc.cluster.local, portNumber: 80}}
    patch:
      operation: MERGE
      value: {connect_timeout: 0.5s, common_lb_config: {consistent_hashing_lb_config: {use_hostname_for_hashing: true}}}
  - applyTo: CLUSTER
    match: {cluster: {name: BlackHoleCluster}}
    patch: {operation: REMOVE}
  - applyTo: CLUSTER
    patch: {operation: ADD, value: {name: extra, type: STATIC, connect_timeout: 1s}}
";
    let seen = patched(&[filter("f", "default", 0, patches)], "lateen");
    let cluster = seen.cluster(&format!("outbound|80||{HOST}"));
    let timeout = cluster.connect_timeout.expect("timeout");
    assert_eq!((timeout.seconds, timeout.nanos), (0, 500_000_000), "durations are replaced as a whole");
    let common = cluster.common_lb_config.expect("kept");
    assert!(common.healthy_panic_threshold.is_some() && common.consistent_hashing_lb_config.is_some());
    assert!(cluster.eds_cluster_config.is_some() && cluster.metadata.is_some());
    let names = seen.names(TypeUrl::Cluster);
    assert!(!names.contains(&"BlackHoleCluster".to_owned()));
    assert_eq!(names.iter().filter(|n| *n == "extra").count(), 1, "for any context once");
}

#[test]
fn http_filters_are_put_where_patches_say_in_the_order_of_priority() {
    let lua = |name: &str, operation: &str, sub: &str, context: &str| {
        format!(
            "
  - applyTo: HTTP_FILTER
    match:
      context: {context}
      listener: {{filterChain: {{filter: {{name: envoy.filters.network.http_connection_manager, {sub}}}}}}}
    patch:
      operation: {operation}
      value:
        name: {name}
        typed_config:
          '@type': type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua
          default_source_code: {{inline_string: 'function envoy_on_request(h) end'}}
"
        )
    };
    let before_router = "subFilter: {name: envoy.filters.http.router}";
    let filters = [
        filter("late", "default", 10, &lua("late", "INSERT_BEFORE", before_router, "SIDECAR_INBOUND")),
        filter("early", "default", -10, &lua("early", "INSERT_BEFORE", before_router, "SIDECAR_INBOUND")),
        filter("root", "istio-system", 10, &lua("root", "INSERT_FIRST", "", "ANY")),
        filter("end", "default", 0, &lua("end", "ADD", "", "SIDECAR_OUTBOUND")),
    ];
    for program in ["lateen", "envoy"] {
        let seen = patched(&filters, program);
        let inbound = http_filters(&seen, "virtualInbound");
        assert_eq!(inbound[0], "root", "{inbound:?}");
        let tail = &inbound[inbound.len() - 3..];
        assert_eq!(tail, ["early", "late", "envoy.filters.http.router"], "{program}");
        let outbound = http_filters(&seen, "0.0.0.0_80");
        let tail = &outbound[outbound.len() - 2..];
        assert_eq!(tail, ["end", "envoy.filters.http.router"], "nothing may stand behind the router");
    }
}

#[test]
fn network_filters_are_merged_inside_their_configuration() {
    let patches = "
  - applyTo: NETWORK_FILTER
    match:
      context: SIDECAR_INBOUND
      listener: {portNumber: 8080, filterChain: {filter: {name: envoy.filters.network.http_connection_manager}}}
    patch:
      operation: MERGE
      value:
        name: envoy.filters.network.http_connection_manager
        typed_config:
          '@type': type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          server_name: patched
";
    let seen = patched(&[filter("f", "default", 0, patches)], "lateen");
    let listener = seen.listener("virtualInbound");
    let patched: Vec<_> = managers(&listener).into_iter().filter(|m| m.server_name == "patched").collect();
    assert_eq!(patched.len(), 1, "that of the one port");
    assert!(!patched[0].http_filters.is_empty(), "the rest stays");
}

#[test]
fn routes_and_hosts_are_patched_in_either_form() {
    let patches = "
  - applyTo: VIRTUAL_HOST
    match: {context: SIDECAR_OUTBOUND, routeConfiguration: {name: '80', vhost: {name: 'a.default.svc.cluster.local:80'}}}
    patch: {operation: MERGE, value: {request_headers_to_remove: [x-gone]}}
  - applyTo: HTTP_ROUTE
    match: {routeConfiguration: {portNumber: 80, vhost: {domainName: a, route: {action: ROUTE}}}}
    patch: {operation: MERGE, value: {route: {timeout: 7s}}}
  - applyTo: HTTP_ROUTE
    match: {context: SIDECAR_OUTBOUND, routeConfiguration: {vhost: {name: 'a.default.svc.cluster.local:80'}}}
    patch:
      operation: INSERT_FIRST
      value: {name: closed, match: {prefix: /closed}, direct_response: {status: 403}}
  - applyTo: VIRTUAL_HOST
    match: {context: SIDECAR_OUTBOUND, routeConfiguration: {name: '80'}}
    patch: {operation: ADD, value: {name: added, domains: [added.example.com]}}
  - applyTo: VIRTUAL_HOST
    match: {context: SIDECAR_OUTBOUND, routeConfiguration: {vhost: {name: allow_any}}}
    patch: {operation: REMOVE}
";
    for program in ["lateen", "envoy"] {
        let seen = patched(&[filter("f", "default", 0, patches)], program);
        let host = seen.host("80", &format!("{HOST}:80"));
        assert_eq!(host.request_headers_to_remove, ["x-gone"], "{program}");
        assert!(matches!(host.routes[0].action, Some(Action::DirectResponse(_))));
        let Some(Action::Route(forward)) = &host.routes[1].action else { panic!("{program}") };
        assert_eq!(forward.timeout.map(|t| t.seconds), Some(7));
        assert!(forward.cluster_specifier.is_some(), "{program}: the cluster stays");
        assert_eq!(seen.host("80", "added").domains, ["added.example.com"]);
        let hosts = seen.names(TypeUrl::VirtualHost);
        assert!(!hosts.contains(&"80/allow_any".to_owned()));
        assert!(seen.route("80").virtual_hosts.iter().all(|h| h.name != "allow_any"));
    }
}

#[test]
fn a_patch_that_cannot_be_read_leaves_the_others() {
    let patches = "
  - applyTo: CLUSTER
    patch: {operation: MERGE, value: {no_such_field: 1}}
  - applyTo: EXTENSION_CONFIG
    patch:
      operation: ADD
      value:
        name: ext
        typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
";
    let seen = patched(&[filter("f", "default", 0, patches)], "lateen");
    assert_eq!(seen.names(TypeUrl::ExtensionConfig), ["ext"]);
}

#[test]
fn patched_resources_stay_the_same_while_nothing_changes_and_other_proxies_see_nothing() {
    let mut cluster = Cluster0::new();
    cluster.apply(SERVICES);
    cluster.apply(
        "
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: f}
spec:
  workloadSelector: {labels: {app: a}}
  configPatches:
  - applyTo: CLUSTER
    patch: {operation: MERGE, value: {connect_timeout: 9s}}
",
    );
    let mut generator = Generator::new(cluster.mesh());
    let chosen = sidecar("a-0", &[("app", "a")], "lateen");
    let other = sidecar("b-0", &[("app", "b")], "lateen");
    let before = generator.resources(&chosen);
    let plain = generator.resources(&other);
    let name = format!("outbound|80||{HOST}");
    assert_eq!(Read(before.clone()).cluster(&name).connect_timeout.map(|t| t.seconds), Some(9));
    assert_eq!(Read(plain).cluster(&name).connect_timeout.map(|t| t.seconds), Some(10));
    cluster.apply(
        "
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: a}
spec: {hosts: [a], http: [{route: [{destination: {host: a}}], timeout: 1s}]}
",
    );
    let (mesh, changes) = cluster.world.snapshot();
    generator.step(mesh, &changes);
    let after = generator.resources(&chosen);
    assert_eq!(
        after.diff(&before).of(TypeUrl::Cluster).count(),
        0,
        "a route has nothing to do with clusters"
    );
    assert_eq!(generator.resources(&ingress("lateen")).shared.list(TypeUrl::Cluster).len(), 3);
}
