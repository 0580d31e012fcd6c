//! Features of VirtualServices, DestinationRules, ServiceEntries and Gateways, one by one.

use lateen_xds::TypeUrl;
use lateen_xds::pb::envoy::config::cluster::v3::cluster::{ClusterDiscoveryType, DiscoveryType, LbPolicy};
use lateen_xds::pb::envoy::config::route::v3::route::Action;
use lateen_xds::pb::envoy::config::route::v3::route_action::HostRewriteSpecifier;
use lateen_xds::pb::envoy::config::route::v3::route_match::PathSpecifier;

use crate::kit::{Cluster0, Read, action, addresses, ingress, sidecar, weights};

/// Something of everything that is generated.
pub const MANIFEST: &str = "
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{name: http, port: 80, targetPort: 8080}, {name: grpc-api, port: 9090}]}
---
apiVersion: v1
kind: Service
metadata: {name: db}
spec: {selector: {app: db}, ports: [{name: mysql, port: 3306}, {name: odd, port: 8000}]}
---
apiVersion: v1
kind: Service
metadata: {name: ring}
spec: {clusterIP: None, selector: {app: db}, ports: [{name: tcp, port: 7000}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  template: {metadata: {labels: {app: web, version: v1}}, spec: {containers: []}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: db}
spec:
  replicas: 2
  template: {metadata: {labels: {app: db}}, spec: {containers: []}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web}
spec:
  hosts: [web, www.example.com]
  gateways: [mesh, edge]
  http:
  - match:
    - uri: {exact: /exact}
      headers: {x-a: {exact: '1'}, x-b: {prefix: p}, x-c: {regex: 'r.*'}, x-d: {}}
      withoutHeaders: {x-e: {exact: '1'}}
      queryParams: {q: {exact: '1'}}
      method: {exact: GET}
      authority: {prefix: www}
      ignoreUriCase: true
    rewrite: {uri: /rewritten, authority: other.example.com}
    route:
    - {destination: {host: web, port: {number: 80}, subset: v1}, weight: 70, headers: {request: {set: {x-v: '1'}}}}
    - {destination: {host: web, port: {number: 80}, subset: nosuch}, weight: 30}
    timeout: 3s
    retries: {attempts: 3, perTryTimeout: 1s, retryOn: '5xx,503', backoff: 50ms}
    headers: {request: {add: {x-r: a}, remove: [x-gone]}, response: {set: {x-s: b}}}
    corsPolicy: {allowOrigins: [{exact: 'https://a.example'}], allowMethods: [GET], maxAge: 1h}
    mirrors: [{destination: {host: db, port: {number: 8000}}, percentage: {value: 12.5}}]
    fault: {delay: {fixedDelay: 1s, percentage: {value: 0.1}}, abort: {httpStatus: 503}}
  - match: [{uri: {prefix: /old}}]
    redirect: {uri: /new, authority: new.example.com, redirectCode: 302}
  - match: [{uri: {regex: '/r/.*'}}]
    rewrite: {uriRegexRewrite: {match: '^/r/(.*)$', rewrite: '/\\1'}}
    route: [{destination: {host: nowhere.example.com}}]
  - match: [{uri: {prefix: /say}}]
    directResponse: {status: 418, body: {string: teapot}}
  - match: [{port: 9999}, {sourceLabels: {app: someone-else}}]
    route: [{destination: {host: db}}]
  - route: [{destination: {host: web}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: web}
spec:
  host: web
  trafficPolicy:
    loadBalancer: {consistentHash: {httpCookie: {name: user, ttl: 0s}}}
    connectionPool:
      tcp: {maxConnections: 10, connectTimeout: 2s, tcpKeepalive: {time: 60s}}
      http: {http1MaxPendingRequests: 5, maxRequestsPerConnection: 1, idleTimeout: 30s}
    outlierDetection: {consecutive5xxErrors: 3, interval: 10s, baseEjectionTime: 30s, maxEjectionPercent: 50}
    portLevelSettings: [{port: {number: 9090}, loadBalancer: {simple: ROUND_ROBIN}}]
  subsets:
  - {name: v1, labels: {version: v1}, trafficPolicy: {loadBalancer: {simple: RANDOM}}}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: outside}
spec:
  hosts: [api.example.com]
  location: MESH_EXTERNAL
  resolution: DNS
  ports: [{number: 443, name: tls, protocol: TLS}, {number: 80, name: http, protocol: HTTP}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: wide}
spec:
  hosts: ['*.wide.example.com']
  ports: [{number: 443, name: tls, protocol: TLS}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: fixed}
spec:
  hosts: [fixed.example.com]
  addresses: [192.0.2.0/24]
  resolution: STATIC
  ports: [{number: 5000, name: tcp, protocol: TCP}]
  endpoints: [{address: 198.51.100.1, ports: {tcp: 5001}, labels: {version: v1}}, {address: 198.51.100.2}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: outside}
spec:
  host: api.example.com
  trafficPolicy: {tls: {mode: SIMPLE}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: db}
spec:
  hosts: [db]
  tcp:
  - match: [{port: 3306}]
    route:
    - {destination: {host: db, port: {number: 3306}}, weight: 90}
    - {destination: {host: fixed.example.com}, weight: 10}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: sni}
spec:
  hosts: [pass.example.com]
  gateways: [edge]
  tls:
  - match: [{port: 8443, sniHosts: [pass.example.com]}]
    route: [{destination: {host: web, port: {number: 80}}}]
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  selector: {istio: ingressgateway}
  servers:
  - {port: {number: 80, name: http, protocol: HTTP}, hosts: ['./www.example.com', 'elsewhere/*']}
  - {port: {number: 8443, name: tls, protocol: TLS}, hosts: [pass.example.com], tls: {mode: PASSTHROUGH}}
";

fn client() -> (Cluster0, Read) {
    let mut cluster = Cluster0::new();
    cluster.apply(MANIFEST);
    let seen = cluster.resources(&sidecar("client-0", &[("app", "client")], "lateen"));
    (cluster, seen)
}

#[test]
fn matches_rewrites_and_headers_of_a_rule_reach_its_route() {
    let (_, seen) = client();
    let host = seen.host("80", "web.default.svc.cluster.local:80");
    let names: Vec<_> = host.routes.iter().map(|r| r.action.is_some()).collect();
    assert_eq!(names.len(), 5, "the rule for another port and other clients is left out");
    let first = &host.routes[0];
    let matched = first.r#match.as_ref().expect("a match");
    assert_eq!(matched.path_specifier, Some(PathSpecifier::Path("/exact".into())));
    assert_eq!(matched.case_sensitive.map(|v| v.value), Some(false));
    assert_eq!((matched.headers.len(), matched.query_parameters.len()), (7, 1));
    let forward = action(first);
    assert_eq!(forward.prefix_rewrite, "/rewritten");
    let rewritten = HostRewriteSpecifier::HostRewriteLiteral("other.example.com".into());
    assert_eq!(forward.host_rewrite_specifier, Some(rewritten));
    assert_eq!(forward.timeout.map(|t| t.seconds), Some(3));
    let retries = forward.retry_policy.as_ref().expect("retries");
    assert_eq!(
        (&*retries.retry_on, &*retries.retriable_status_codes),
        ("5xx,retriable-status-codes", &[503][..])
    );
    assert_eq!(forward.request_mirror_policies[0].cluster, "outbound|8000||db.default.svc.cluster.local");
    assert_eq!(first.request_headers_to_remove, ["x-gone"]);
    assert_eq!(first.typed_per_filter_config.len(), 2);
    assert!(matches!(host.routes[1].action, Some(Action::Redirect(_))));
    assert!(matches!(host.routes[3].action, Some(Action::DirectResponse(_))));
}

#[test]
fn destinations_that_do_not_exist_are_named_all_the_same() {
    let (_, seen) = client();
    let host = seen.host("80", "web.default.svc.cluster.local:80");
    let missing_subset = "outbound|80|nosuch|web.default.svc.cluster.local".to_owned();
    assert!(weights(action(&host.routes[0])).contains_key(&missing_subset));
    let missing_host = "outbound|80||nowhere.example.com".to_owned();
    assert!(weights(action(&host.routes[2])).contains_key(&missing_host));
}

#[test]
fn consistent_hashing_stands_on_route_and_cluster_unless_the_port_overrides_it() {
    let (_, seen) = client();
    let host = seen.host("80", "web.default.svc.cluster.local:80");
    assert_eq!(action(&host.routes[4]).hash_policy.len(), 1);
    let lb = |name: &str| LbPolicy::try_from(seen.cluster(name).lb_policy);
    assert_eq!(lb("outbound|80||web.default.svc.cluster.local"), Ok(LbPolicy::RingHash));
    assert_eq!(lb("outbound|80|v1|web.default.svc.cluster.local"), Ok(LbPolicy::Random));
    assert_eq!(lb("outbound|9090||web.default.svc.cluster.local"), Ok(LbPolicy::RoundRobin));
}

#[test]
fn tcp_services_have_a_listener_on_their_own_address() {
    let (_, seen) = client();
    let names = seen.names(TypeUrl::Listener);
    let mysql = names.iter().find(|n| n.ends_with("_3306")).expect("a listener");
    assert!(mysql.starts_with("10.96."), "{mysql}");
    let undeclared = names.iter().find(|n| n.ends_with("_8000")).expect("a listener");
    assert_eq!(seen.listener(undeclared).filter_chains.len(), 2);
    let host = seen.host("db.default.svc.cluster.local:8000", "db.default.svc.cluster.local:8000");
    assert_eq!(host.domains, ["*"]);
    let pods = names.iter().filter(|n| n.ends_with("_7000"));
    assert!(pods.clone().count() == 2 && pods.clone().all(|n| n.starts_with("10.244.")), "{names:?}");
}

/// The cluster of a chain that every connection takes.
fn tcp_cluster(seen: &Read, listener: &str) -> String {
    use lateen_xds::pb::envoy::config::listener::v3::filter::ConfigType;
    use lateen_xds::pb::envoy::extensions::filters::network::tcp_proxy::v3::{
        TcpProxy, tcp_proxy::ClusterSpecifier,
    };
    let name =
        seen.names(TypeUrl::Listener).into_iter().find(|name| name.ends_with(listener)).expect("a listener");
    let listener = seen.listener(&name);
    let proxy =
        listener.filter_chains[0].filters.iter().find(|f| f.name.ends_with("tcp_proxy")).expect("TCP");
    let Some(ConfigType::TypedConfig(any)) = &proxy.config_type else { panic!("no configuration") };
    let proxy: TcpProxy = prost::Message::decode(any.value.as_slice()).expect("well formed");
    match proxy.cluster_specifier.expect("a cluster") {
        ClusterSpecifier::Cluster(name) => name,
        ClusterSpecifier::WeightedClusters(all) => all.clusters[0].name.clone(),
    }
}

#[test]
fn tcp_rules_for_named_sources_leave_others_without_a_connection() {
    let mut cluster = Cluster0::new();
    cluster.apply(
        "
apiVersion: v1
kind: Service
metadata: {name: store}
spec:
  selector: {app: store}
  ports: [{name: redis, port: 6379}, {name: tcp-admin, port: 6380}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: store}
spec:
  hosts: [store]
  tcp:
  - match: [{sourceLabels: {app: page}, port: 6379}]
    route: [{destination: {host: store, port: {number: 6379}}}]
",
    );
    let named = cluster.resources(&sidecar("page-0", &[("app", "page")], "lateen"));
    let other = cluster.resources(&sidecar("other-0", &[("app", "other")], "lateen"));
    assert_eq!(tcp_cluster(&named, "_6379"), "outbound|6379||store.default.svc.cluster.local");
    assert_eq!(tcp_cluster(&other, "_6379"), "BlackHoleCluster");
    let unruled = "outbound|6380||store.default.svc.cluster.local";
    assert_eq!(
        (tcp_cluster(&named, "_6380").as_str(), tcp_cluster(&other, "_6380").as_str()),
        (unruled, unruled)
    );
}

#[test]
fn service_entries_are_resolved_as_they_say() {
    let (_, seen) = client();
    let kind = |name: &str| seen.cluster(name).cluster_discovery_type;
    let of = |t: DiscoveryType| Some(ClusterDiscoveryType::Type(t as i32));
    assert_eq!(kind("outbound|443||api.example.com"), of(DiscoveryType::StrictDns));
    assert_eq!(kind("outbound|443||*.wide.example.com"), of(DiscoveryType::OriginalDst));
    assert_eq!(kind("outbound|5000||fixed.example.com"), of(DiscoveryType::Eds));
    let fixed = addresses(&seen.endpoints("outbound|5000||fixed.example.com"));
    assert_eq!(fixed, ["198.51.100.1", "198.51.100.2"]);
    let tls = seen.listener("0.0.0.0_443");
    let by_name: Vec<_> = tls.filter_chains.iter().filter_map(|c| c.filter_chain_match.as_ref()).collect();
    let names: Vec<_> = by_name.iter().flat_map(|m| m.server_names.clone()).collect();
    assert_eq!(names, ["*.wide.example.com", "api.example.com"]);
    let network = seen.listener("0.0.0.0_5000");
    let matched = network.filter_chains[0].filter_chain_match.as_ref().expect("a match");
    assert_eq!(matched.prefix_ranges[0].address_prefix, "192.0.2.0");
}

#[test]
fn gateways_take_from_a_rule_the_hosts_that_they_share() {
    let mut cluster = Cluster0::new();
    cluster.apply(MANIFEST);
    let seen = cluster.resources(&ingress("lateen"));
    assert_eq!(seen.names(TypeUrl::VirtualHost), ["http.80/www.example.com:80"]);
    let passed = seen.listener("0.0.0.0_8443");
    let matched = passed.filter_chains[0].filter_chain_match.as_ref().expect("a match");
    assert_eq!(matched.server_names, ["pass.example.com"]);
}

#[test]
fn exports_and_sidecars_limit_what_is_seen() {
    let mut cluster = Cluster0::new();
    cluster.apply(MANIFEST);
    cluster.apply(
        "
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: default}
spec:
  outboundTrafficPolicy: {mode: REGISTRY_ONLY}
  egress: [{hosts: ['./web.default.svc.cluster.local']}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: private, namespace: elsewhere}
spec: {hosts: [private.example.com], exportTo: ['.'], resolution: DNS, ports: [{number: 80, name: http, protocol: HTTP}]}
",
    );
    let seen = cluster.resources(&sidecar("client-0", &[("app", "client")], "lateen"));
    let clusters = seen.names(TypeUrl::Cluster);
    assert!(clusters.iter().any(|n| n == "outbound|80||web.default.svc.cluster.local"), "{clusters:?}");
    // The rule that came with `web` sends requests to `db`, which is imported with it.
    assert!(clusters.iter().any(|n| n.contains("db.default")), "{clusters:?}");
    assert!(!clusters.iter().any(|n| n.contains("private") || n.contains("api.example.com")), "{clusters:?}");
    let unknown = seen.host("80", "block_all");
    assert!(matches!(unknown.routes[0].action, Some(Action::DirectResponse(_))));
}
