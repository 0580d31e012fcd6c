use serde_json::json;

use super::{JsonError, Pool};
use crate::pb::envoy::config::bootstrap::v3::Bootstrap;
use crate::pb::envoy::config::cluster::v3::Cluster;
use crate::pb::envoy::extensions::filters::network::tcp_proxy::v3::TcpProxy;
use crate::pb::google::protobuf::Any;

fn pool() -> Pool {
    Pool::load().unwrap()
}

const BOOTSTRAP: &str = r#"
admin: { address: { socket_address: { address: 127.0.0.1, port_value: 15000 } } }
node: { id: n, metadata: { A: 1, B: [true, null, "x"], C: { d: 0.5 } } }
static_resources:
  listeners:
  - name: tcp
    address:
      socketAddress: { address: 0.0.0.0, port_value: "8080" }
    filter_chains:
    - filters:
      - name: tcp
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
          stat_prefix: tcp
          cluster: c
          idle_timeout: 1.5s
          max_connect_attempts: 3
  clusters:
  - { name: c, type: STATIC, connect_timeout: 0.25s }
"#;

#[test]
fn yaml_reads_into_the_message_and_back() {
    let bootstrap: Bootstrap = pool().read(BOOTSTRAP).unwrap();
    let statics = bootstrap.static_resources.as_ref().unwrap();
    assert_eq!(statics.clusters[0].connect_timeout.as_ref().unwrap().nanos, 250_000_000);
    let written = pool().write(&bootstrap).unwrap();
    let filter =
        &written["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"];
    assert_eq!(
        filter,
        &json!({
            "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
            "stat_prefix": "tcp", "cluster": "c", "idle_timeout": "1.500s", "max_connect_attempts": 3,
        })
    );
    assert_eq!(written["node"]["metadata"], json!({"A": 1, "B": [true, null, "x"], "C": {"d": 0.5}}));
    let again: Bootstrap = pool().read(&written.to_string()).unwrap();
    assert_eq!(again, bootstrap);
}

#[test]
fn unknown_field_is_named_with_line_and_path() {
    let text = BOOTSTRAP.replace("stat_prefix", "stat_prefx");
    let error = pool().read::<Bootstrap>(&text).unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with("line 14: "), "{text}");
    assert!(
        text.contains("static_resources.listeners[0].filter_chains[0].filters[0].typed_config.stat_prefx")
    );
    assert!(text.contains("did you mean `stat_prefix`?"), "{text}");
}

#[test]
fn wrong_types_say_what_was_expected() {
    let read = |text: &str| pool().read::<Cluster>(text).unwrap_err().to_string();
    assert_eq!(read("name: 1"), "line 1: name: expected a string, found a number (put it in quotes)");
    assert_eq!(
        read("connect_timeout: 5m"),
        "line 1: connect_timeout: `5m` is not a duration such as 0.25s or 10s"
    );
    assert!(read("type: STATICC").contains("`STATICC` is not one of STATIC, STRICT_DNS"));
    assert!(read("\n\nlb_policy: {}").starts_with("line 3: lb_policy: expected a whole number"));
    assert!(
        read("upstream_config: {name: x, typed_config: {'@type': t/a.B}}")
            .contains("`t/a.B` is not supported")
    );
    assert!(read("per_connection_buffer_limit_bytes: 4294967296").contains("out of range"));
}

#[test]
fn two_members_of_a_oneof_exclude_each_other() {
    let error = pool().read::<TcpProxy>("cluster: a\nweighted_clusters: {}").unwrap_err();
    assert_eq!(
        error,
        JsonError::Field {
            line: 2,
            path: "weighted_clusters".to_owned(),
            reason: "excludes `cluster`, which is set as well".to_owned(),
        }
    );
}

#[test]
fn syntax_errors_name_their_line() {
    match pool().read::<Bootstrap>("admin: {\n  address: [}\n").unwrap_err() {
        JsonError::Syntax { line, .. } => assert_eq!(line, 2),
        other => panic!("{other}"),
    }
}

#[test]
fn any_of_an_unknown_type_is_written_as_base64() {
    let any = Any { type_url: "type.googleapis.com/no.Such".to_owned(), value: vec![1, 2, 3] };
    assert_eq!(pool().write_any(&any), json!({"@type": "type.googleapis.com/no.Such", "value": "AQID"}));
}
