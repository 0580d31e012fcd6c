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

#[tokio::test]
async fn statistics_are_filtered_by_name_type_and_use() {
    let server = server().await;
    let slot = server.store.cluster_slot("web");
    slot.stats.of(0).upstream_rq_total.inc();
    slot.stats.of(0).upstream_rq_time.record(3);
    let filter = "filter=%5Ecluster%5C.web";
    let body = get(&server, "/stats", &format!("{filter}&usedonly&type=Counters")).body;
    assert_eq!(body, "cluster.web.upstream_rq_total: 1\n");
    let body = get(&server, "/stats", &format!("{filter}&type=Histograms")).body;
    assert!(body.contains("cluster.web.upstream_cx_length_ms: No recorded values\n"), "{body}");
    assert!(body.contains("cluster.web.upstream_rq_time: P0(nan,1.00000) P25("), "{body}");
    let json: serde_json::Value =
        serde_json::from_str(&get(&server, "/stats", &format!("{filter}&usedonly&format=json")).body)
            .unwrap();
    let histograms = json["stats"].as_array().unwrap().last().unwrap()["histograms"].clone();
    assert_eq!(histograms["computed_quantiles"][0]["name"], "cluster.web.upstream_rq_time");
    assert_eq!(histograms["computed_quantiles"][0]["values"][9]["cumulative"], 5.0);
    let body = get(&server, "/stats", &format!("{filter}&format=prometheus")).body;
    assert!(body.contains("envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name=\"web\",le=\"5\"} 1\n"));
    assert_eq!(get(&server, "/stats", "filter=(").status, 400);
    assert_eq!(get(&server, "/stats", "type=Nothing").status, 400);
    server.stop();
}

#[tokio::test]
async fn counters_start_again_at_zero_when_they_are_reset() {
    let server = server().await;
    let slot = server.store.cluster_slot("web");
    let total = || get(&server, "/stats", "filter=web.upstream_rq_total").body;
    slot.stats.of(0).upstream_rq_total.add(5);
    assert_eq!(total(), "cluster.web.upstream_rq_total: 5\n");
    assert_eq!(get(&server, "/reset_counters", "").status, 405);
    answer(&server, &Method::POST, "/reset_counters", &Query::default());
    slot.stats.of(0).upstream_rq_total.inc();
    assert_eq!(total(), "cluster.web.upstream_rq_total: 1\n");
    server.stop();
}

#[tokio::test]
async fn a_drain_wants_to_know_what_it_ends() {
    let server = server().await;
    let drain = |query: &str| answer(&server, &Method::POST, "/drain_listeners", &Query::parse(query)).status;
    assert_eq!((drain("skip_exit"), drain("graceful&skip_exit"), server.is_ready()), (400, 200, true));
    assert_eq!((drain(""), server.is_ready()), (200, false));
    server.stop();
}
