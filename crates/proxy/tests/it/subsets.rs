//! Subsets of a cluster's endpoints, from a bootstrap file to the answers.

use crate::files::start;
use crate::harness::*;
use std::collections::HashMap;
use std::net::SocketAddr;

fn bootstrap(endpoints: &[(SocketAddr, &str)]) -> String {
    let endpoint = |(address, version): &(SocketAddr, &str)| {
        format!(
            "{{endpoint: {{address: {{socket_address: {{address: {}, port_value: {}}}}}}}, \
             metadata: {{filter_metadata: {{envoy.lb: {{version: {version}}}}}}}}}",
            address.ip(),
            address.port()
        )
    };
    let endpoints: Vec<_> = endpoints.iter().map(endpoint).collect();
    BOOTSTRAP.replace("ENDPOINTS", &endpoints.join(", "))
}

const BOOTSTRAP: &str = r#"
node: {id: n}
static_resources:
  clusters:
  - name: web
    type: STATIC
    lb_subset_config:
      fallback_policy: DEFAULT_SUBSET
      default_subset: {version: v1}
      subset_selectors: [{keys: [version]}, {keys: [stage, version], fallback_policy: NO_FALLBACK}]
    load_assignment: {cluster_name: web, endpoints: [{lb_endpoints: [ENDPOINTS]}]}
  listeners:
  - name: http
    address: {socket_address: {address: 127.0.0.1, port_value: 0}}
    filter_chains:
    - filters:
      - name: http
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: http
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: {prefix: /v2}
                route: {cluster: web, metadata_match: {filter_metadata: {envoy.lb: {version: v2}}}}
              - match: {prefix: /gone}
                route:
                  cluster: web
                  metadata_match: {filter_metadata: {envoy.lb: {version: v2, stage: gone}}}
              - match: {prefix: /mixed}
                route:
                  metadata_match: {filter_metadata: {envoy.lb: {version: v2}}}
                  weighted_clusters:
                    clusters:
                    - {name: web, weight: 50}
                    - {name: web, weight: 50, metadata_match: {filter_metadata: {envoy.lb: {version: v3}}}}
              - match: {prefix: /}
                route: {cluster: web}
          http_filters:
          - name: router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
  - name: tcp
    address: {socket_address: {address: 127.0.0.1, port_value: 0}}
    filter_chains:
    - filters:
      - name: tcp
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
          stat_prefix: tcp
          cluster: web
          metadata_match: {filter_metadata: {envoy.lb: {version: v3}}}
"#;

#[test]
fn routes_weights_and_tcp_choose_subsets_by_their_metadata() {
    let endpoints = ["v1", "v2", "v3"].map(|version| (says(version), version));
    let (_runtime, server) = start(bootstrap(&endpoints));
    let address = server.bound_addresses("http")[0];
    let answers = |path: &str| {
        let mut counts: HashMap<String, u32> = HashMap::new();
        for _ in 0..40 {
            *counts.entry(get(address, path).body).or_default() += 1;
        }
        let mut names: Vec<_> = counts.into_keys().collect();
        names.sort();
        names.join(" ")
    };
    assert_eq!(answers("/v2"), "v2");
    assert_eq!(answers("/"), "v1", "the default subset");
    assert_eq!(answers("/mixed"), "v2 v3", "an entry's labels replace the route's");
    assert_eq!(answers("/gone"), "no healthy upstream");
    assert_eq!(get(server.bound_addresses("tcp")[0], "/").body, "v3");
    server.stop();
}
