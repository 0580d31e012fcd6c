//! The table of names over the wire, to agents of ours and as Istio's ask for it.

use lateen_xds::TypeUrl::{Cluster, NameTable as Names};
use lateen_xds::istio::NameTable;
use prost::Message;

use crate::Running;
use crate::ads_client::AdsClient;
use crate::debug::{get, get_json};
use crate::fake_api::FakeApi;
use crate::objects::{bookinfo, deploy};

const SIDECAR: &str = "sidecar~10.244.1.1~productpage-v1.default~default.svc.cluster.local";
const DNS_CAPTURE: &[(&str, &str)] = &[("DNS_CAPTURE", "true")];
const BY_HOST: &[(&str, &str)] = &[("DNS_CAPTURE", "true"), (NameTable::BY_HOST, "true")];

fn hosts(client: &AdsClient) -> Vec<String> {
    let (_, body) = &client.held[&Names]["names"];
    NameTable::decode(&body[..]).unwrap().table.into_keys().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agents_stream_gets_the_table_and_each_change_and_is_no_proxy() {
    let api = FakeApi::start().await;
    bookinfo(&api);
    let running = Running::start(api).await;
    let mut agent = AdsClient::connect_with(running.addresses.xds, SIDECAR, "lateen", BY_HOST).await;
    agent.subscribe(Names, &[]).await;
    let first = agent.receive(None).await;
    assert_eq!(first.resources.last().map(|r| r.name.as_str()), Some(NameTable::LAST), "in order");
    assert!(agent.names(Names).contains("reviews.default.svc.cluster.local"), "{:?}", agent.names(Names));
    assert_eq!(get_json(running.addresses.monitoring, "/debug/syncz").await.as_array().unwrap().len(), 0);
    deploy(&running.api, 9, "added", &["v1"]);
    let push = agent.receive(None).await;
    let sent: Vec<_> = push.resources.iter().map(|r| r.name.as_str()).collect();
    assert_eq!(sent, ["added.default.svc.cluster.local"], "what changed, and no more");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxys_stream_carries_the_table_too_and_the_page_shows_it() {
    let api = FakeApi::start().await;
    bookinfo(&api);
    let running = Running::start(api).await;
    // Istio's agent asks on its proxy's stream.
    let mut proxy = AdsClient::connect_with(running.addresses.xds, SIDECAR, "envoy", DNS_CAPTURE).await;
    proxy.subscribe(Cluster, &[]).await;
    proxy.receive(None).await;
    proxy.subscribe(Names, &[]).await;
    proxy.receive(None).await;
    let page = get_json(running.addresses.monitoring, "/debug/ndsz?proxyID=productpage-v1.default").await;
    let shown: Vec<_> = page["table"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(shown, hosts(&proxy));
    assert_eq!(page["table"]["reviews.default.svc.cluster.local"]["shortname"], "reviews");
    let (status, _) = get(running.addresses.monitoring, "/debug/ndsz?proxyID=nobody.default").await;
    assert_eq!(status, 404);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_does_not_capture_dns_has_no_table() {
    let api = FakeApi::start().await;
    bookinfo(&api);
    let running = Running::start(api).await;
    let mut agent = AdsClient::connect(running.addresses.xds, SIDECAR, "lateen").await;
    agent.subscribe(Names, &[]).await;
    assert!(agent.receive(None).await.resources.is_empty());
    running.stop().await;
}
