use std::collections::BTreeSet;

use lateen_xds::TypeUrl::{Cluster, Endpoints, Listener, Route, VirtualHost};
use lateen_xds::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
use lateen_xds::pb::envoy::config::route::v3::RouteConfiguration;
use prost::Message;

use crate::Running;
use crate::ads_client::AdsClient;
use crate::debug::{get, get_json};
use crate::fake_api::FakeApi;
use crate::objects::{self, bookinfo, deploy, split};

const SIDECAR: &str = "sidecar~10.244.1.1~productpage-v1.default~default.svc.cluster.local";
const REVIEWS: &str = "outbound|9080||reviews.default.svc.cluster.local";

async fn sidecar(running: &Running, agent: &str) -> AdsClient {
    let mut client = AdsClient::connect(running.addresses.xds, SIDECAR, agent).await;
    client.subscribe(Cluster, &[]).await;
    client.receive(None).await;
    let clusters: Vec<String> =
        client.names(Cluster).into_iter().filter(|n| n.starts_with("outbound")).collect();
    client.subscribe(Endpoints, &clusters.iter().map(String::as_str).collect::<Vec<_>>()).await;
    client.receive(None).await;
    client.subscribe(Listener, &[]).await;
    client.receive(None).await;
    client.subscribe(Route, &["9080"]).await;
    client.receive(None).await;
    client
}

fn addresses(client: &AdsClient, cluster: &str) -> BTreeSet<String> {
    let (_, body) = &client.held[&Endpoints][cluster];
    let assignment = ClusterLoadAssignment::decode(&body[..]).unwrap();
    let text = format!("{assignment:?}");
    text.split("address: \"").skip(1).map(|rest| rest.split('"').next().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sidecar_gets_the_mesh_and_then_only_what_changes() {
    let api = FakeApi::start().await;
    bookinfo(&api);
    let running = Running::start(api).await;
    let mut client = sidecar(&running, "envoy").await;
    for subset in ["", "v1", "v2", "v3"] {
        let name = format!("outbound|9080|{subset}|reviews.default.svc.cluster.local");
        assert!(client.names(Cluster).contains(&name), "{name} in {:?}", client.names(Cluster));
    }
    assert_eq!(addresses(&client, REVIEWS).len(), 3);

    running.api.put(objects::VIRTUAL_SERVICES, split(80));
    let push = client.receive(None).await;
    assert_eq!((push.type_url.as_str(), push.resources.len()), (Route.as_str(), 1));
    let routes = RouteConfiguration::decode(&push.resources[0].resource.as_ref().unwrap().value[..]).unwrap();
    let reviews = routes.virtual_hosts.iter().find(|v| v.name.starts_with("reviews.default")).unwrap();
    assert!(format!("{reviews:?}").contains("value: 80"), "{reviews:?}");

    deploy(&running.api, 3, "reviews", &["v1", "v2"]);
    let push = client.receive(None).await;
    assert_eq!(push.type_url, Endpoints.as_str());
    assert_eq!(addresses(&client, REVIEWS), ["10.244.3.1", "10.244.3.2"].map(String::from).into());
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lateens_proxy_follows_routes_by_virtual_host() {
    let api = FakeApi::start().await;
    bookinfo(&api);
    let running = Running::start(api).await;
    let mut client = sidecar(&running, "lateen").await;
    client.subscribe(VirtualHost, &["9080/*"]).await;
    client.receive(None).await;
    let reviews = "9080/reviews.default.svc.cluster.local:9080";
    assert!(client.names(VirtualHost).contains(reviews), "{:?}", client.names(VirtualHost));
    running.api.put(objects::VIRTUAL_SERVICES, split(80));
    let push = client.receive(None).await;
    assert_eq!(push.type_url, VirtualHost.as_str());
    assert_eq!(push.resources.iter().map(|r| r.name.as_str()).collect::<Vec<_>>(), [reviews]);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_the_api_changes_nothing_and_what_happened_meanwhile_is_caught_up() {
    let api = FakeApi::start().await;
    bookinfo(&api);
    let running = Running::start(api).await;
    let mut client = sidecar(&running, "lateen").await;
    running.api.go_away();
    // A proxy that comes now is served from the last state.
    let other = sidecar(&running, "lateen").await;
    assert_eq!(other.names(Cluster), client.names(Cluster));
    deploy(&running.api, 5, "late", &["v1"]);
    running.api.delete(objects::SERVICES, "default/ratings", false);
    running.api.come_back();
    let late = "outbound|9080||late.default.svc.cluster.local";
    let ratings = "outbound|9080||ratings.default.svc.cluster.local";
    while !client.names(Cluster).contains(late) || client.names(Cluster).contains(ratings) {
        let push = client.receive(None).await;
        if push.resources.iter().any(|r| r.name == late) && push.type_url == Cluster.as_str() {
            client.subscribe(Endpoints, &[late]).await;
        }
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_control_plane_sends_nothing_that_the_proxy_has() {
    let api = FakeApi::start().await;
    bookinfo(&api);
    let running = Running::start(api.clone()).await;
    let before = sidecar(&running, "envoy").await;
    let held = before.versions(Cluster);
    running.stop().await;
    deploy(&api, 5, "late", &["v1"]);
    let running = Running::start(api).await;
    let mut client = AdsClient::connect(running.addresses.xds, SIDECAR, "envoy").await;
    client.resume(Cluster, &[], &held).await;
    let push = client.receive(None).await;
    let names: Vec<&str> = push.resources.iter().map(|r| r.name.as_str()).collect();
    assert_eq!(names, ["outbound|9080||late.default.svc.cluster.local"]);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_counted_and_shown() {
    let api = FakeApi::start().await;
    bookinfo(&api);
    let running = Running::start(api).await;
    let mut client = sidecar(&running, "envoy").await;
    running.api.put(objects::VIRTUAL_SERVICES, split(80));
    client.receive(Some("I do not like it")).await;
    // The next request of the stream is handled after the refusal.
    client.subscribe(Endpoints, &["none"]).await;
    client.receive(None).await;
    let (_, metrics) = get(running.addresses.monitoring, "/metrics").await;
    assert!(metrics.contains("\npilot_xds_rds_reject 1\n"), "{metrics}");
    assert!(metrics.contains("\npilot_xds 1\n"));
    let syncz = get_json(running.addresses.http, "/debug/syncz").await;
    assert_eq!(syncz[0]["proxy"], "productpage-v1.default");
    assert_eq!(syncz[0]["cluster_status"], "SYNCED");
    assert_eq!(syncz[0]["route_error"], "I do not like it");
    assert_eq!(syncz[0]["secret_status"], "NOT SENT");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn debug_pages_show_what_the_proxy_was_sent() {
    let api = FakeApi::start().await;
    bookinfo(&api);
    let running = Running::start(api).await;
    let _client = sidecar(&running, "envoy").await;
    let address = running.addresses.http;
    let (status, body) = get(address, "/debug/config_dump?proxyID=productpage-v1.default").await;
    assert_eq!(status, 200, "{body}");
    assert!(body.contains(REVIEWS), "{body}");
    let (status, body) = get(address, "/debug/config_dump?proxyID=nobody").await;
    assert_eq!(status, 404);
    assert!(body.contains("syncz"), "{body}");
    for (page, expected) in [
        ("/debug/endpointz", "10.244.3.2"),
        ("/debug/registryz", "reviews.default.svc.cluster.local"),
        ("/debug/configz", "\"reviews\""),
        ("/version", "version"),
    ] {
        let (status, body) = get(address, page).await;
        assert!(status == 200 && body.contains(expected), "{page}: {status} {body}");
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_nobody_can_serve_are_refused_with_the_reason() {
    let running = Running::start(FakeApi::start().await).await;
    let mut client = AdsClient::connect(running.addresses.xds, "nonsense", "envoy").await;
    client.subscribe(Cluster, &[]).await;
    let status = client.refused().await;
    assert_eq!(status.code(), tonic::Code::InvalidArgument);
    assert!(status.message().contains("sidecar~IP"), "{status}");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kinds_that_the_api_does_not_have_do_not_keep_it_from_serving() {
    let api = FakeApi::start().await;
    bookinfo(&api);
    for kind in ["sidecars", "virtualservices", "serviceentries"] {
        for version in ["v1", "v1beta1", "v1alpha3"] {
            api.hide(&format!("/apis/networking.istio.io/{version}/{kind}"));
        }
    }
    let running = Running::start(api).await;
    sidecar(&running, "envoy").await;
    let (status, _) = get(running.addresses.http, "/ready").await;
    assert_eq!(status, 200);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_is_told_what_to_lay_over_its_bootstrap() {
    use lateen_xds::pb::envoy::config::bootstrap::v3::Bootstrap;
    use lateen_xds::pb::envoy::config::core::v3::Node;
    use lateen_xds::pb::envoy::service::discovery::v3::DiscoveryRequest;
    use lateen_xds::pb::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
    use prost::Name;
    let api = FakeApi::start().await;
    let value = serde_json::json!({"stats_flush_interval": "7s"});
    let patch =
        |to: &str| serde_json::json!({"applyTo": to, "patch": {"operation": "MERGE", "value": value}});
    api.put(
        "/apis/networking.istio.io/v1alpha3/envoyfilters",
        serde_json::json!({
            "apiVersion": "networking.istio.io/v1alpha3", "kind": "EnvoyFilter",
            "metadata": objects::meta("default", "flush"), "spec": {"configPatches": [patch("BOOTSTRAP")]},
        }),
    );
    let running = Running::start(api).await;
    let address = format!("http://{}", running.addresses.xds);
    let mut client = AggregatedDiscoveryServiceClient::connect(address).await.unwrap();
    let request = DiscoveryRequest {
        node: Some(Node { id: SIDECAR.into(), ..Node::default() }),
        type_url: Bootstrap::type_url(),
        ..DiscoveryRequest::default()
    };
    let answers = client.stream_aggregated_resources(tokio_stream::once(request)).await.unwrap();
    let answer = answers.into_inner().message().await.unwrap().expect("an answer");
    let bootstrap = Bootstrap::decode(&answer.resources[0].value[..]).unwrap();
    assert!(format!("{bootstrap:?}").contains("seconds: 7"), "{bootstrap:?}");
    running.stop().await;
}
