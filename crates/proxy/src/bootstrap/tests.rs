use std::io::Write as _;
use std::process::Command;

use clap::Parser;

use super::{Options, load};
use crate::run::validate;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    options: Options,
}

fn options(words: &[&str]) -> Options {
    Line::parse_from(std::iter::once("proxy").chain(words.iter().copied())).options
}

const STATIC: &str = r#"
static_resources:
  listeners:
  - name: web
    address: { socket_address: { address: 127.0.0.1, port_value: 0 } }
    listener_filters:
    - name: envoy.filters.listener.tls_inspector
      typed_config: { "@type": type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector }
    filter_chains:
    - filters:
      - name: http
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: web
          upgrade_configs: [{ upgrade_type: websocket }]
          access_log:
          - name: envoy.access_loggers.stdout
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog
              log_format: { json_format: { code: "%RESPONSE_CODE%", path: "%REQ(:PATH)%" } }
          route_config:
            name: local
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: { safe_regex: { regex: "/v[0-9]+/.*" } }
                route: { cluster: web, regex_rewrite: { pattern: { regex: "^/v[0-9]+" }, substitution: "" } }
              - match: { prefix: / }
                redirect: { https_redirect: true, response_code: FOUND }
          http_filters:
          - name: envoy.filters.http.fault
            typed_config: { "@type": type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault }
          - name: envoy.filters.http.router
            typed_config: { "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }
  - name: tcp
    address: { socket_address: { address: 127.0.0.1, port_value: 0 } }
    filter_chains:
    - filters:
      - name: tcp
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
          stat_prefix: tcp
          weighted_clusters: { clusters: [{ name: web, weight: 1 }, { name: dns, weight: 3 }] }
  clusters:
  - name: web
    load_assignment:
      cluster_name: web
      endpoints: [{ lb_endpoints: [{ endpoint: { address: { socket_address: { address: 127.0.0.1, port_value: 1 } } } }] }]
  - name: dns
    type: STRICT_DNS
    load_assignment:
      cluster_name: dns
      endpoints: [{ lb_endpoints: [{ endpoint: { address: { socket_address: { address: localhost, port_value: 1 } } } }] }]
"#;

#[test]
fn one_static_configuration_is_valid_here_and_for_envoy() {
    validate(&load(&options(&["--config-yaml", STATIC])).unwrap()).unwrap();
    let envoy = std::env::var("LATEEN_ENVOY").unwrap_or_else(|_| "envoy".to_owned());
    let output = Command::new(&envoy).args(["--mode", "validate", "--config-yaml", STATIC]).output();
    match output {
        Ok(output) => assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr)),
        Err(error) if std::env::var("LATEEN_PEERS").as_deref() == Ok("required") => {
            panic!("{envoy}: {error}")
        }
        Err(error) => println!("skipped: {envoy}: {error}"),
    }
}

#[test]
fn the_text_is_merged_over_the_file_and_flags_over_both() {
    let mut file = std::env::temp_dir();
    file.push(format!("lateen-bootstrap-{}.yaml", std::process::id()));
    let text = b"{node: {id: a, cluster: b}, static_resources: {clusters: [{name: x}]}}";
    std::fs::File::create(&file).unwrap().write_all(text).unwrap();
    let more = "{node: {id: c}, static_resources: {clusters: [{name: y}]}}";
    let path = file.to_str().unwrap();
    let merged = load(&options(&["-c", path, "--config-yaml", more, "--service-cluster", "d"]));
    std::fs::remove_file(&file).unwrap();
    let merged = merged.unwrap();
    let node = merged.node.unwrap();
    assert_eq!(
        (node.id.as_str(), node.cluster.as_str(), node.user_agent_name.as_str()),
        ("c", "d", "lateen")
    );
    let names: Vec<_> =
        merged.static_resources.unwrap().clusters.into_iter().map(|cluster| cluster.name).collect();
    assert_eq!(names, ["x", "y"]);
}

#[test]
fn errors_name_line_and_field() {
    let error = load(&options(&["--config-yaml", "admin:\n  addres: {}"])).unwrap_err();
    assert_eq!(
        error.to_string(),
        "--config-yaml: line 2: admin.addres: unknown field of envoy.config.bootstrap.v3.Admin; did you mean `address`?"
    );
    let bootstrap = load(&options(&["--config-yaml", "static_resources: {clusters: [{name: x}]}"])).unwrap();
    let error = validate(&bootstrap).unwrap_err().to_string();
    assert!(error.starts_with("static_resources.clusters[0] (x): load_assignment: is required"), "{error}");
    assert!(load(&options(&[])).unwrap_err().to_string().contains("-c FILE"));
}

#[test]
fn ads_needs_its_cluster() {
    let yaml = "dynamic_resources: {lds_config: {ads: {}}, ads_config: {api_type: DELTA_GRPC, \
                grpc_services: [{envoy_grpc: {cluster_name: xds}}]}}";
    let error = validate(&load(&options(&["--config-yaml", yaml])).unwrap()).unwrap_err();
    assert!(error.to_string().contains("the cluster xds is not among the static clusters"), "{error}");
}
