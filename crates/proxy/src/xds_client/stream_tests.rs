//! The whole way: a control plane over gRPC, a bootstrap that names it, and a client of the listener that it gives.

use std::pin::Pin;
use std::sync::Mutex;

use futures::Stream;
use lateen_xds::TypeUrl;
use lateen_xds::pb::envoy::service::discovery::v3::aggregated_discovery_service_server::{
    AggregatedDiscoveryService, AggregatedDiscoveryServiceServer,
};
use lateen_xds::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse, Resource,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request, Response, Status, Streaming};

use super::tests::{listener, routes};
use crate::bootstrap::{Options, load};
use crate::run::{Server, Settings};

/// Answers each first request of a type with its resources, and tells of every request.
struct Control {
    seen: Mutex<mpsc::UnboundedSender<DeltaDiscoveryRequest>>,
}

fn resources(kind: TypeUrl) -> Vec<Resource> {
    let direct = "{name: '80', virtual_hosts: [{name: a, domains: ['*'], routes: [{match: {prefix: /}, \
                  direct_response: {status: 200, body: {inline_string: from-the-control-plane}}}]}]}";
    match kind {
        TypeUrl::Listener => {
            let mut bad = listener("bad", "80");
            if let Some(any) = &mut bad.resource {
                any.value = vec![0xff];
            }
            vec![listener("web", "80"), bad]
        }
        TypeUrl::Route => vec![routes(direct)],
        _ => Vec::new(),
    }
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl AggregatedDiscoveryService for Control {
    type StreamAggregatedResourcesStream = Answers<DiscoveryResponse>;
    type DeltaAggregatedResourcesStream = Answers<DeltaDiscoveryResponse>;

    async fn stream_aggregated_resources(
        &self,
        _request: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamAggregatedResourcesStream>, Status> {
        Err(Status::unimplemented("delta only"))
    }

    async fn delta_aggregated_resources(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaAggregatedResourcesStream>, Status> {
        let (mut requests, (answers, stream)) = (request.into_inner(), mpsc::channel(16));
        let seen = self.seen.lock().unwrap().clone();
        tokio::spawn(async move {
            while let Ok(Some(request)) = requests.message().await {
                let kind = TypeUrl::parse(&request.type_url).unwrap();
                if request.response_nonce.is_empty() {
                    let response = DeltaDiscoveryResponse {
                        type_url: request.type_url.clone(),
                        nonce: kind.short().to_owned(),
                        resources: resources(kind),
                        ..DeltaDiscoveryResponse::default()
                    };
                    answers.send(Ok(response)).await.unwrap();
                }
                let _ = seen.send(request);
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }
}

fn bootstrap(port: u16) -> String {
    format!(
        r#"
node: {{ id: proxy-1 }}
dynamic_resources:
  lds_config: {{ ads: {{}} }}
  cds_config: {{ ads: {{}} }}
  ads_config:
    api_type: DELTA_GRPC
    grpc_services: [{{ envoy_grpc: {{ cluster_name: xds }} }}]
static_resources:
  clusters:
  - name: xds
    http2_protocol_options: {{}}
    load_assignment:
      cluster_name: xds
      endpoints: [{{ lb_endpoints: [{{ endpoint: {{ address: {{ socket_address: {{ address: 127.0.0.1, port_value: {port} }} }} }} }}] }}]
"#
    )
}

#[tokio::test]
async fn a_listener_of_the_control_plane_is_served_and_a_bad_one_refused_by_name() {
    let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = socket.local_addr().unwrap().port();
    let (sender, mut seen) = mpsc::unbounded_channel();
    let service = AggregatedDiscoveryServiceServer::new(Control { seen: Mutex::new(sender) });
    let server = tonic::transport::Server::builder().add_service(service);
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(socket)));

    let options = Options { config_yaml: Some(bootstrap(port)), ..Options::default() };
    let settings = Settings { concurrency: Some(1), ..Settings::default() };
    let proxy = Server::start(load(&options).unwrap(), settings).await.unwrap();
    let (mut nack, mut node) = (None, None);
    while nack.is_none() || !proxy.is_ready() {
        // The last request to come is the ACK of the routes, after which the listener is in force.
        let request =
            tokio::time::timeout(std::time::Duration::from_secs(20), seen.recv()).await.unwrap().unwrap();
        node = node.or(request.node);
        nack = nack.or(request.error_detail);
    }
    assert_eq!(node.unwrap().user_agent_name, "lateen");
    let reason = nack.unwrap().message;
    assert!(reason.starts_with("bad: cannot be decoded"), "{reason}");

    let address = proxy.bound_addresses("web")[0];
    let mut client = tokio::net::TcpStream::connect(address).await.unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("from-the-control-plane"), "{answer}");
    proxy.stop();
}
