//! The proxy's end of SDS.

use std::collections::BTreeMap;
use std::path::Path;

use hyper_util::rt::TokioIo;
use lateen_xds::TypeUrl;
use lateen_xds::pb::envoy::config::core::v3::data_source::Specifier;
use lateen_xds::pb::envoy::extensions::transport_sockets::tls::v3::Secret;
use lateen_xds::pb::envoy::extensions::transport_sockets::tls::v3::secret::Type;
use lateen_xds::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use lateen_xds::pb::envoy::service::secret::v3::secret_discovery_service_client::SecretDiscoveryServiceClient;
use prost::Message;
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::{Channel, Endpoint, Uri};

use crate::mesh::PATIENCE;

/// One secret as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Text {
    Certificate { chain: String, key: String },
    Roots(String),
}

pub async fn channel(socket: &Path) -> Channel {
    let socket = socket.to_owned();
    let connector = tower::service_fn(move |_: Uri| {
        let socket = socket.clone();
        async move { UnixStream::connect(socket).await.map(TokioIo::new) }
    });
    Endpoint::from_static("http://agent").connect_with_connector(connector).await.unwrap()
}

fn decode(body: &[u8]) -> (String, Text) {
    let secret = Secret::decode(body).unwrap();
    let text = |source: Option<lateen_xds::pb::envoy::config::core::v3::DataSource>| {
        let Some(Specifier::InlineBytes(bytes)) = source.unwrap().specifier else { panic!("not inline") };
        String::from_utf8(bytes).unwrap()
    };
    let value = match secret.r#type.unwrap() {
        Type::TlsCertificate(tls) => {
            Text::Certificate { chain: text(tls.certificate_chain), key: text(tls.private_key) }
        }
        Type::ValidationContext(context) => Text::Roots(text(context.trusted_ca)),
        other => panic!("{other:?}"),
    };
    (secret.name, value)
}

/// A delta stream for some names, as Lateen's proxy opens it.
pub struct Delta {
    requests: mpsc::Sender<DeltaDiscoveryRequest>,
    responses: Streaming<DeltaDiscoveryResponse>,
    pub held: BTreeMap<String, Text>,
}

impl Delta {
    pub async fn open(socket: &Path, names: &[&str]) -> Delta {
        let mut client = SecretDiscoveryServiceClient::new(channel(socket).await);
        let (requests, receiver) = mpsc::channel(16);
        let first = DeltaDiscoveryRequest {
            type_url: TypeUrl::Secret.as_str().to_owned(),
            resource_names_subscribe: names.iter().map(ToString::to_string).collect(),
            ..Default::default()
        };
        requests.send(first).await.unwrap();
        let responses = client.delta_secrets(ReceiverStream::new(receiver)).await.unwrap().into_inner();
        Delta { requests, responses, held: BTreeMap::new() }
    }

    /// Takes the next response; the names in it.
    pub async fn next(&mut self) -> Vec<String> {
        let response = tokio::time::timeout(PATIENCE, self.responses.message()).await;
        let response = response.expect("no secret in time").unwrap().expect("the stream ended");
        assert!(response.removed_resources.is_empty(), "{response:?}");
        let mut names = Vec::new();
        for resource in &response.resources {
            let (name, text) = decode(&resource.resource.as_ref().unwrap().value);
            names.push(name.clone());
            self.held.insert(name, text);
        }
        let ack = DeltaDiscoveryRequest {
            type_url: response.type_url,
            response_nonce: response.nonce,
            ..Default::default()
        };
        self.requests.send(ack).await.unwrap();
        names
    }

    /// Takes responses until these names are there.
    pub async fn until(&mut self, names: &[&str]) {
        while !names.iter().all(|name| self.held.contains_key(*name)) {
            self.next().await;
        }
    }

    pub fn certificate(&self, name: &str) -> (String, String) {
        match &self.held[name] {
            Text::Certificate { chain, key } => (chain.clone(), key.clone()),
            other => panic!("{other:?}"),
        }
    }

    pub fn roots(&self, name: &str) -> String {
        match &self.held[name] {
            Text::Roots(pem) => pem.clone(),
            other => panic!("{other:?}"),
        }
    }
}

/// A state-of-the-world stream for one name, as Envoy opens it.
pub struct Sotw {
    requests: mpsc::Sender<DiscoveryRequest>,
    responses: Streaming<DiscoveryResponse>,
    name: String,
}

impl Sotw {
    pub async fn open(socket: &Path, name: &str) -> Sotw {
        let mut client = SecretDiscoveryServiceClient::new(channel(socket).await);
        let (requests, receiver) = mpsc::channel(16);
        let first = DiscoveryRequest {
            type_url: TypeUrl::Secret.as_str().to_owned(),
            resource_names: vec![name.to_owned()],
            ..Default::default()
        };
        requests.send(first).await.unwrap();
        let responses = client.stream_secrets(ReceiverStream::new(receiver)).await.unwrap().into_inner();
        Sotw { requests, responses, name: name.to_owned() }
    }

    pub async fn next(&mut self) -> Text {
        let response = tokio::time::timeout(PATIENCE, self.responses.message()).await;
        let response = response.expect("no secret in time").unwrap().expect("the stream ended");
        assert_eq!(response.resources.len(), 1);
        let (name, text) = decode(&response.resources[0].value);
        assert_eq!(name, self.name);
        let ack = DiscoveryRequest {
            type_url: response.type_url,
            version_info: response.version_info,
            response_nonce: response.nonce,
            resource_names: vec![self.name.clone()],
            ..Default::default()
        };
        self.requests.send(ack).await.unwrap();
        text
    }
}
