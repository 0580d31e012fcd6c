use http::Method;

use super::{Query, Reply, answer};
use crate::bootstrap::{Options, load};
use crate::run::{Server, Settings};

const YAML: &str = r#"
node: { id: n }
static_resources:
  clusters:
  - name: web
    load_assignment:
      cluster_name: web
      endpoints: [{ lb_endpoints: [{ endpoint: { address: { socket_address: { address: 127.0.0.1, port_value: 1 } } } }] }]
"#;

async fn server() -> std::sync::Arc<Server> {
    let options = Options { config_yaml: Some(YAML.to_owned()), ..Options::default() };
    let settings = Settings { concurrency: Some(1), ..Settings::default() };
    Server::start(load(&options).unwrap(), settings).await.unwrap()
}

fn get(server: &Server, path: &str, query: &str) -> Reply {
    answer(server, &Method::GET, path, &Query::parse(query))
}

#[tokio::test]
async fn paths_answer_as_envoys() {
    let server = server().await;
    assert_eq!(
        (get(&server, "/ready", "").status, get(&server, "/ready", "").body.as_str()),
        (200, "LIVE\n")
    );
    assert!(get(&server, "/clusters", "").body.contains("web::127.0.0.1:1::health_flags::healthy\n"));
    let json: serde_json::Value =
        serde_json::from_str(&get(&server, "/clusters", "format=json").body).unwrap();
    assert_eq!(json["cluster_statuses"][0]["host_statuses"][0]["address"]["socket_address"]["port_value"], 1);
    assert!(
        get(&server, "/stats", "filter=%5Ecluster_manager")
            .body
            .starts_with("cluster_manager.active_clusters: 1\n")
    );
    assert!(
        get(&server, "/stats/prometheus", "")
            .body
            .contains("envoy_cluster_upstream_rq_total{envoy_cluster_name=\"web\"} 0")
    );
    assert_eq!(get(&server, "/nothing", "").status, 404);
    server.stop();
}

#[tokio::test]
async fn the_dump_shows_the_static_cluster_by_section_mask_and_name() {
    let server = server().await;
    let dump = |query: &str| -> serde_json::Value {
        serde_json::from_str(&get(&server, "/config_dump", query).body).unwrap()
    };
    let types: Vec<_> = dump("")["configs"].as_array().unwrap().iter().map(|c| c["@type"].clone()).collect();
    assert_eq!(types.len(), 4);
    assert_eq!(dump("resource=static_clusters")["configs"][0]["cluster"]["name"], "web");
    assert_eq!(dump("resource=static_clusters&name_regex=none")["configs"].as_array().unwrap().len(), 0);
    let masked = dump("resource=static_clusters&mask=last_updated");
    assert!(masked["configs"][0]["cluster"].is_null() && masked["configs"][0]["last_updated"].is_string());
    server.stop();
}

#[tokio::test]
async fn changes_need_a_post() {
    let server = server().await;
    assert_eq!(get(&server, "/healthcheck/fail", "").status, 405);
    assert!(server.is_ready());
    answer(&server, &Method::POST, "/healthcheck/fail", &Query::default());
    assert_eq!((server.is_ready(), get(&server, "/ready", "").status), (false, 503));
    answer(&server, &Method::POST, "/healthcheck/ok", &Query::default());
    assert!(server.is_ready());
    server.stop();
}
