//! SDS over gRPC on a unix socket, as the agent serves it.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use lateen_proxy::convert;
use lateen_xds::pb::envoy::extensions::transport_sockets::tls::v3 as tls;
use lateen_xds::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse, Resource,
};
use lateen_xds::pb::envoy::service::secret::v3::secret_discovery_service_server::{
    SecretDiscoveryService, SecretDiscoveryServiceServer,
};
use lateen_xds::pb::google::protobuf::Any;
use prost::Message as _;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_stream::{Stream, StreamExt as _};
use tonic::{Request, Response, Status, Streaming};

use super::support::*;
use crate::harness::echo;

const SERVER: &str = "spiffe://cluster.local/ns/default/sa/httpbin";

/// A secret as a message of its own, without the type that a list needs.
fn message(secret: &Value) -> tls::Secret {
    let mut secret = secret.clone();
    secret.as_object_mut().unwrap().remove("@type");
    lateen_xds::json::Pool::load().unwrap().read(&secret.to_string()).unwrap()
}

/// An SDS server whose secrets are told by the test.
#[derive(Clone)]
struct Sds {
    secrets: watch::Sender<HashMap<String, tls::Secret>>,
    nacks: Arc<Mutex<Vec<String>>>,
    streams: Arc<Mutex<u32>>,
}

impl Sds {
    fn put(&self, name: &str, secret: &Value) {
        let secret = message(secret);
        self.secrets.send_modify(|secrets| drop(secrets.insert(name.to_owned(), secret)));
    }

    fn note(&self, error: Option<lateen_xds::pb::google::rpc::Status>) {
        self.nacks.lock().unwrap().extend(error.map(|error| error.message));
    }

    fn response(&self, names: &[String], version: u64) -> DiscoveryResponse {
        let secrets = self.secrets.borrow();
        let found = names.iter().filter_map(|name| secrets.get(name));
        let any = |secret: &tls::Secret| Any { type_url: SECRET.to_owned(), value: secret.encode_to_vec() };
        DiscoveryResponse {
            version_info: version.to_string(),
            nonce: version.to_string(),
            type_url: SECRET.to_owned(),
            resources: found.map(any).collect(),
            ..DiscoveryResponse::default()
        }
    }
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl SecretDiscoveryService for Sds {
    type StreamSecretsStream = Answers<DiscoveryResponse>;
    type DeltaSecretsStream = Answers<DeltaDiscoveryResponse>;

    async fn stream_secrets(
        &self,
        request: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamSecretsStream>, Status> {
        *self.streams.lock().unwrap() += 1;
        let (sds, mut requests) = (self.clone(), request.into_inner());
        let (sender, receiver) = tokio::sync::mpsc::channel(8);
        tokio::spawn(async move {
            let (mut names, mut version, mut changes) = (Vec::new(), 0, sds.secrets.subscribe());
            loop {
                let asked = tokio::select! {
                    request = requests.next() => {
                        let Some(Ok(request)) = request else { return };
                        sds.note(request.error_detail);
                        std::mem::replace(&mut names, request.resource_names.clone()) != request.resource_names
                    }
                    changed = changes.changed() => changed.is_ok(),
                };
                if asked {
                    version += 1;
                    if sender.send(Ok(sds.response(&names, version))).await.is_err() {
                        return;
                    }
                }
            }
        });
        Ok(Response::new(Box::pin(tokio_stream::wrappers::ReceiverStream::new(receiver))))
    }

    async fn delta_secrets(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Result<Response<Self::DeltaSecretsStream>, Status> {
        *self.streams.lock().unwrap() += 1;
        let (sds, mut requests) = (self.clone(), request.into_inner());
        let (sender, receiver) = tokio::sync::mpsc::channel(8);
        tokio::spawn(async move {
            let (mut names, mut version, mut changes) = (Vec::<String>::new(), 0, sds.secrets.subscribe());
            loop {
                let asked = tokio::select! {
                    request = requests.next() => {
                        let Some(Ok(request)) = request else { return };
                        sds.note(request.error_detail);
                        names.extend(request.resource_names_subscribe.clone());
                        !request.resource_names_subscribe.is_empty()
                    }
                    changed = changes.changed() => changed.is_ok(),
                };
                if !asked {
                    continue;
                }
                version += 1;
                let whole = sds.response(&names, version);
                let resources = whole.resources.into_iter().map(|any| Resource {
                    name: tls::Secret::decode(any.value.as_slice()).unwrap().name,
                    version: version.to_string(),
                    resource: Some(any),
                    ..Resource::default()
                });
                let response = DeltaDiscoveryResponse {
                    nonce: version.to_string(),
                    type_url: SECRET.to_owned(),
                    resources: resources.collect(),
                    ..DeltaDiscoveryResponse::default()
                };
                if sender.send(Ok(response)).await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(Box::pin(tokio_stream::wrappers::ReceiverStream::new(receiver))))
    }

    async fn fetch_secrets(
        &self,
        _: Request<DiscoveryRequest>,
    ) -> Result<Response<DiscoveryResponse>, Status> {
        Err(Status::unimplemented("streams alone"))
    }
}

/// Serves on a unix socket until the test ends.
fn serve(path: String) -> (Sds, tokio::runtime::Runtime) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let sds =
        Sds { secrets: watch::channel(HashMap::new()).0, nacks: Arc::default(), streams: Arc::default() };
    let service = SecretDiscoveryServiceServer::new(sds.clone());
    let listener = {
        let _guard = runtime.enter();
        tokio::net::UnixListener::bind(path).unwrap()
    };
    runtime.spawn(
        tonic::transport::Server::builder()
            .add_service(service)
            .serve_with_incoming(tokio_stream::wrappers::UnixListenerStream::new(listener)),
    );
    (sds, runtime)
}

fn config(socket: &str, api_type: &str) -> Value {
    let sds = |name: &str| {
        json!({ "name": name, "sds_config": { "resource_api_version": "V3", "api_config_source": {
            "api_type": api_type, "transport_api_version": "V3",
            "grpc_services": [{ "envoy_grpc": { "cluster_name": "sds-grpc" } }] } } })
    };
    let context = downstream_tls(
        json!({ "tls_certificate_sds_secret_configs": [sds("default")],
            "combined_validation_context": { "default_validation_context": {},
                "validation_context_sds_secret_config": sds("ROOTCA") } }),
        json!({ "require_client_certificate": true }),
    );
    let chain = json!([{ "transport_socket": context, "filters": [manager("app", json!({}))] }]);
    let agent = json!({ "name": "sds-grpc", "type": "STATIC", "connect_timeout": "1s",
        "typed_extension_protocol_options": { "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": { "http2_protocol_options": {} } } },
        "load_assignment": { "cluster_name": "sds-grpc", "endpoints": [{ "lb_endpoints": [
            { "endpoint": { "address": { "pipe": { "path": socket } } } }] }] } });
    let app = cluster("app", echo(), json!({}));
    bootstrap(json!([listener("inbound", any_port(), chain)]), json!([agent, app]))
}

fn walkthrough(api_type: &str) {
    let files = Files::new(&format!("sds-{api_type}"));
    let socket = files.path("socket");
    let (sds, _runtime) = serve(socket.clone());
    let ca = Ca::new();
    let (first, identity) = (ca.workload(SERVER), ca.workload("spiffe://cluster.local/ns/a/sa/b"));
    sds.put("default", &certificate_secret("default", &first));
    sds.put("ROOTCA", &validation_secret("ROOTCA", &ca.pem));
    let proxy = Proxy::start(&config(&socket, api_type));
    let client = Client::new(Some(&identity));
    let shown = || {
        client.connect(proxy.address("inbound"), "a").unwrap().conn.peer_certificates().unwrap()[0].to_vec()
    };
    assert_eq!(shown(), chain(&first.chain)[0].to_vec());
    assert_eq!(*sds.streams.lock().unwrap(), 1, "one stream for all names");
    // A key that belongs to another certificate: refused by name, and what was stays.
    let mixed = Pair { chain: first.chain.clone(), key: ca.workload(SERVER).key };
    sds.put("default", &certificate_secret("default", &mixed));
    wait("the NACK", || !sds.nacks.lock().unwrap().is_empty());
    let nack = sds.nacks.lock().unwrap()[0].clone();
    assert!(nack.starts_with("default: tls_certificate.private_key: does not belong"), "{nack}");
    assert_eq!(shown(), chain(&first.chain)[0].to_vec());
    // Authorities that are none: mutual TLS never verifies nothing.
    sds.put("ROOTCA", &json!({ "name": "ROOTCA", "validation_context": {} }));
    wait("the second NACK", || {
        sds.nacks.lock().unwrap().iter().any(|nack| nack.contains("trusted_ca: is required"))
    });
    assert!(Client::new(None).get(proxy.address("inbound"), "a").is_err());
    let second = ca.workload(SERVER);
    sds.put("ROOTCA", &validation_secret("ROOTCA", &ca.pem));
    sds.put("default", &certificate_secret("default", &second));
    wait("the new certificate", || shown() == chain(&second.chain)[0].to_vec());
    assert!(client.get(proxy.address("inbound"), "a").unwrap().starts_with("HTTP/1.1 200"));
}

#[test]
fn secrets_come_over_the_agents_socket_in_the_state_of_the_world() {
    walkthrough("GRPC");
}

#[test]
fn secrets_come_over_the_agents_socket_by_delta() {
    walkthrough("DELTA_GRPC");
}

#[test]
fn until_its_secrets_come_a_listener_refuses_and_nothing_else_suffers() {
    let files = Files::new("sds-none");
    let mut config = config(&files.path("nobody"), "GRPC");
    let plain = json!([{ "filters": [manager("app", json!({}))] }]);
    config["static_resources"]["listeners"].as_array_mut().unwrap().push(listener(
        "plain",
        any_port(),
        plain,
    ));
    let chain = &mut config["static_resources"]["listeners"][0]["filter_chains"][0];
    let context = &mut chain["transport_socket"]["typed_config"]["common_tls_context"];
    let wait = json!("0.2s");
    context["tls_certificate_sds_secret_configs"][0]["sds_config"]["initial_fetch_timeout"] = wait.clone();
    context["combined_validation_context"]["validation_context_sds_secret_config"]["sds_config"]["initial_fetch_timeout"] =
        wait;
    let proxy = Proxy::start(&config);
    assert!(Client::default().get(proxy.address("inbound"), "a").is_err());
    assert!(plain_get(proxy.address("plain"), "").unwrap().starts_with("HTTP/1.1 200"));
}

#[test]
fn a_secret_that_cannot_be_used_is_named_by_its_field() {
    let read = |secret: Value| -> String { convert::secret(&message(&secret)).unwrap_err().to_string() };
    let pair = Ca::new().workload(SERVER);
    let bad = |chain: &str, key: &str| {
        let pair = Pair { chain: chain.to_owned(), key: key.to_owned() };
        read(certificate_secret("a", &pair))
    };
    assert!(bad("", &pair.key).starts_with("tls_certificate.certificate_chain: the chain is empty"));
    assert!(bad("junk", &pair.key).starts_with("tls_certificate.certificate_chain: "));
    assert!(bad(&pair.chain, "junk").starts_with("tls_certificate.private_key: is not a PEM private key"));
    assert!(
        read(validation_secret("a", "junk"))
            .starts_with("validation_context.trusted_ca: holds no certificate")
    );
}
