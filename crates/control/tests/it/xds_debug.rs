//! Debug information over xDS, as `istioctl` asks for it.

use http::Request;
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper_util::rt::{TokioExecutor, TokioIo};
use lateen_control::ca::CaOptions;
use lateen_xds::TypeUrl;
use lateen_xds::pb::envoy::admin::v3::{ClustersConfigDump, ListenersConfigDump};
use lateen_xds::pb::envoy::config::core::v3::Node;
use lateen_xds::pb::envoy::service::discovery::v3::{DiscoveryRequest, DiscoveryResponse};
use lateen_xds::pb::envoy::service::status::v3::{ClientConfig, ConfigStatus};
use prost::Message;
use tokio::net::TcpStream;

use crate::Running;
use crate::ads_client::AdsClient;
use crate::certificates::{Client, connect, start_with};

const SYNCZ: &str = "istio.io/debug/syncz";
const CONFIG_DUMP: &str = "istio.io/debug/config_dump";
const PAGE: &str = "istio.io/debug";

/// What `istioctl` is told, or gRPC's status code.
async fn ask(mut client: Client, token: &str, kind: &str, names: &[&str]) -> Result<DiscoveryResponse, i32> {
    let message = DiscoveryRequest {
        node: Some(Node { id: "debug~0.0.0.0~istioctl~cluster.local".to_owned(), ..Node::default() }),
        type_url: kind.to_owned(),
        resource_names: names.iter().map(|name| (*name).to_owned()).collect(),
        ..DiscoveryRequest::default()
    };
    let message = message.encode_to_vec();
    let mut body = vec![0];
    body.extend_from_slice(&u32::try_from(message.len()).unwrap().to_be_bytes());
    body.extend_from_slice(&message);
    let path = "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources";
    let request = Request::post(format!("https://istiod.istio-system.svc{path}"))
        .header("authorization", format!("Bearer {token}"))
        .body(Full::new(Bytes::from(body)));
    let response = client.send_request(request.unwrap()).await.unwrap();
    let collected = response.into_body().collect().await.unwrap();
    let status = collected.trailers().unwrap()["grpc-status"].to_str().unwrap().parse::<i32>().unwrap();
    let bytes = collected.to_bytes();
    if status == 0 { Ok(DiscoveryResponse::decode(&bytes[5..]).unwrap()) } else { Err(status) }
}

async fn secure(running: &Running) -> Client {
    connect(running, &running.ca_pem, None).await.unwrap()
}

async fn plain(running: &Running) -> Client {
    let stream = TcpStream::connect(running.addresses.xds).await.unwrap();
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

fn proxies(response: &DiscoveryResponse) -> Vec<(String, i32)> {
    let read = |any: &lateen_xds::pb::google::protobuf::Any| {
        assert_eq!(any.type_url, "type.googleapis.com/envoy.service.status.v3.ClientConfig");
        let found = ClientConfig::decode(&any.value[..]).unwrap();
        let clusters = found.generic_xds_configs.iter().find(|c| c.type_url == TypeUrl::Cluster.as_str());
        (found.node.unwrap().id, clusters.unwrap().config_status)
    };
    response.resources.iter().map(read).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn debug_information_is_given_over_xds_to_those_who_may_see_it() {
    let running = start_with(CaOptions::default()).await;
    running.api.accept_token("own-token", "istio-ca", "system:serviceaccount:istio-system:istiod", None);
    let mut clients = Vec::new();
    for (pod, namespace) in [("sleep-1", "default"), ("vault-1", "bank")] {
        let node = format!("sidecar~10.244.1.1~{pod}.{namespace}~{namespace}.svc.cluster.local");
        let mut client = AdsClient::connect(running.addresses.xds, &node, "envoy").await;
        client.subscribe(TypeUrl::Cluster, &[]).await;
        client.receive(None).await;
        clients.push(client);
    }
    let get =
        async |token: &str, kind: &str, names: &[&str]| ask(secure(&running).await, token, kind, names).await;
    // The acknowledgement of what was received may be on its way.
    let synced = ConfigStatus::Synced as i32;
    let all = loop {
        let all = proxies(&get("own-token", SYNCZ, &[]).await.unwrap());
        if all.iter().all(|(_, status)| *status == synced) {
            break all;
        }
    };
    assert_eq!(all, [("sleep-1.default".to_owned(), synced), ("vault-1.bank".to_owned(), synced)]);
    // Others see their own namespace.
    assert_eq!(proxies(&get("sleep-token", SYNCZ, &[]).await.unwrap()).len(), 1);
    let dump = get("sleep-token", CONFIG_DUMP, &["sleep-1.default"]).await.unwrap();
    let clusters = ClustersConfigDump::decode(&dump.resources[0].value[..]).unwrap();
    assert!(clusters.dynamic_active_clusters.iter().all(|c| c.cluster.is_some()));
    assert!(!clusters.dynamic_active_clusters.is_empty());
    assert!(ListenersConfigDump::decode(&dump.resources[1].value[..]).unwrap().dynamic_listeners.is_empty());
    assert!(get("own-token", CONFIG_DUMP, &["vault-1.bank"]).await.is_ok());
    let page = get("own-token", PAGE, &["syncz"]).await.unwrap();
    assert!(String::from_utf8_lossy(&page.resources[0].value).contains("\"proxy\":\"vault-1.bank\""));
    assert!(page.control_plane.unwrap().identifier.contains("\"Component\":\"istiod\""));
    let (denied, unauthenticated) = (Some(7), Some(16));
    for (token, kind, names, code) in [
        ("sleep-token", CONFIG_DUMP, &["vault-1.bank"][..], denied),
        ("sleep-token", CONFIG_DUMP, &["nobody.default"], denied),
        ("sleep-token", PAGE, &["syncz"], denied),
        ("sleep-token", PAGE, &["config_dump?proxyID=vault-1.bank"], denied),
        ("api-token", SYNCZ, &[], unauthenticated),
        ("own-token", CONFIG_DUMP, &["nobody.default"], Some(5)),
        ("own-token", CONFIG_DUMP, &[], Some(3)),
        ("own-token", PAGE, &["nosuch"], Some(5)),
        ("own-token", "istio.io/debug/other", &[], Some(5)),
    ] {
        assert_eq!(get(token, kind, names).await.err(), code, "{token} {kind} {names:?}");
    }
    // Nobody proves anything on the plaintext port.
    assert_eq!(ask(plain(&running).await, "own-token", SYNCZ, &[]).await.err(), unauthenticated);
    drop(clients);
    running.stop().await;
}
