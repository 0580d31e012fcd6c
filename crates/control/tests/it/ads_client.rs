//! A proxy's side of delta ADS: subscribes to what it is told of, acknowledges, and keeps what it was sent.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use lateen_xds::TypeUrl;
use lateen_xds::pb::envoy::config::core::v3::Node;
use lateen_xds::pb::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use lateen_xds::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use lateen_xds::pb::google::protobuf::{Struct, Value, value::Kind};
use lateen_xds::pb::google::rpc::Status;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

const PATIENCE: Duration = Duration::from_secs(20);

pub struct AdsClient {
    requests: mpsc::Sender<DeltaDiscoveryRequest>,
    responses: Streaming<DeltaDiscoveryResponse>,
    /// What it holds: name -> (version, body), by type.
    pub held: BTreeMap<TypeUrl, BTreeMap<String, (String, Vec<u8>)>>,
    node: Node,
}

impl AdsClient {
    pub async fn connect(address: SocketAddr, node_id: &str, agent: &str) -> AdsClient {
        AdsClient::connect_with(address, node_id, agent, &[]).await
    }

    /// Connects as a node with metadata.
    pub async fn connect_with(
        address: SocketAddr,
        node_id: &str,
        agent: &str,
        metadata: &[(&str, &str)],
    ) -> AdsClient {
        let mut client =
            AggregatedDiscoveryServiceClient::connect(format!("http://{address}")).await.unwrap();
        let (requests, receiver) = mpsc::channel(64);
        let text = |value: &str| Value { kind: Some(Kind::StringValue(value.to_owned())) };
        let fields = metadata.iter().map(|(key, value)| ((*key).to_owned(), text(value))).collect();
        let node = Node {
            id: node_id.into(),
            user_agent_name: agent.into(),
            metadata: Some(Struct { fields }),
            ..Node::default()
        };
        // A server may answer only once it has read something.
        let responses = tokio::spawn(async move {
            client.delta_aggregated_resources(ReceiverStream::new(receiver)).await.unwrap().into_inner()
        });
        AdsClient { requests, responses: responses.await.unwrap(), held: BTreeMap::new(), node }
    }

    pub async fn subscribe(&self, type_url: TypeUrl, names: &[&str]) {
        self.resume(type_url, names, &[]).await;
    }

    /// Subscribes as after a reconnect: with the versions that are held already.
    pub async fn resume(&self, type_url: TypeUrl, names: &[&str], held: &[(String, String)]) {
        let request = DeltaDiscoveryRequest {
            node: Some(self.node.clone()),
            type_url: type_url.as_str().into(),
            resource_names_subscribe: names.iter().map(ToString::to_string).collect(),
            initial_resource_versions: held.iter().cloned().collect(),
            ..Default::default()
        };
        self.requests.send(request).await.unwrap();
    }

    /// The next response, taken or refused.
    pub async fn receive(&mut self, refuse: Option<&str>) -> DeltaDiscoveryResponse {
        let next = tokio::time::timeout(PATIENCE, self.responses.message()).await;
        let response = next.expect("no response in time").unwrap().expect("the stream ended");
        let type_url = TypeUrl::parse(&response.type_url).unwrap();
        let request = DeltaDiscoveryRequest {
            type_url: response.type_url.clone(),
            response_nonce: response.nonce.clone(),
            error_detail: refuse.map(|message| Status {
                code: 3,
                message: message.into(),
                details: Vec::new(),
            }),
            ..Default::default()
        };
        self.requests.send(request).await.unwrap();
        if refuse.is_none() {
            let held = self.held.entry(type_url).or_default();
            for resource in &response.resources {
                let body = resource.resource.as_ref().unwrap().value.clone();
                held.insert(resource.name.clone(), (resource.version.clone(), body));
            }
            for name in &response.removed_resources {
                held.remove(name);
            }
        }
        response
    }

    pub fn names(&self, type_url: TypeUrl) -> BTreeSet<String> {
        self.held.get(&type_url).into_iter().flatten().map(|(name, _)| name.clone()).collect()
    }

    pub fn versions(&self, type_url: TypeUrl) -> Vec<(String, String)> {
        let held = self.held.get(&type_url).into_iter().flatten();
        held.map(|(name, (version, _))| (name.clone(), version.clone())).collect()
    }
}

impl AdsClient {
    /// The status with which the server ends the stream.
    pub async fn refused(&mut self) -> tonic::Status {
        let next = tokio::time::timeout(PATIENCE, self.responses.message()).await;
        next.expect("the stream stays open").expect_err("the stream was not refused")
    }
}
