//! What the proxy gets from its agent.

use std::time::Duration;

use lateen_agent::security::{Security, Source};
use lateen_identity::{Authority, LeafRequest, TrustBundle, identities};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::mesh::{HOUR, Mesh, write};
use crate::sds_client::{Delta, Sotw, Text};

fn leaf(chain: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(chain.as_bytes()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_workload_gets_its_identity_and_the_next_before_it_ends() {
    let mesh = Mesh::start(Duration::from_secs(4), Duration::ZERO).await;
    let pod = mesh.pod("default", "sleep").await;
    let agent = pod.agent();
    let mut stream = Delta::open(&pod.options.sds_socket, &["default", "ROOTCA"]).await;
    stream.until(&["default", "ROOTCA"]).await;
    let (chain, key) = stream.certificate("default");
    assert_eq!(identities(&leaf(&chain))[0].to_string(), "spiffe://cluster.local/ns/default/sa/sleep");
    assert!(lateen_identity::matches(&chain, &key).unwrap());
    let root = TrustBundle::from_pem(&stream.roots("ROOTCA")).unwrap();
    assert_eq!(root.certificates().len(), 1);
    assert!(agent.certificate_expiry().is_some());

    let (_, end) = lateen_identity::pem_validity(&chain).unwrap();
    assert_eq!(stream.next().await, ["default"]);
    assert!(std::time::SystemTime::now() < end, "the next comes before the last ends");
    let (next, next_key) = stream.certificate("default");
    assert_ne!((&next, &next_key), (&chain, &key), "with a key of its own");
    assert!(lateen_identity::matches(&next, &next_key).unwrap());
    drop(agent);
    mesh.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_a_secret_serves_envoy() {
    let mesh = Mesh::start(Duration::from_secs(4), Duration::ZERO).await;
    let pod = mesh.pod("default", "sleep").await;
    let agent = pod.agent();
    let mut roots = Sotw::open(&pod.options.sds_socket, "ROOTCA").await;
    let mut certificate = Sotw::open(&pod.options.sds_socket, "default").await;
    assert!(matches!(roots.next().await, Text::Roots(_)));
    let first = certificate.next().await;
    assert!(matches!(first, Text::Certificate { .. }));
    assert_ne!(certificate.next().await, first);
    drop(agent);
    mesh.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_good_certificate_stays_while_the_authority_is_away() {
    let mesh = Mesh::start(Duration::from_secs(2), Duration::ZERO).await;
    let pod = mesh.pod("default", "sleep").await;
    let agent = pod.agent();
    let mut stream = Delta::open(&pod.options.sds_socket, &["default"]).await;
    stream.until(&["default"]).await;
    let token = std::fs::read_to_string(&pod.options.token_file).unwrap();
    write(&pod.options.token_file, "nonsense");
    let last = loop {
        let held = stream.certificate("default");
        match tokio::time::timeout(Duration::from_secs(3), stream.next()).await {
            Ok(_) => {}
            Err(_) => break held,
        }
    };
    // A new stream still gets it, and once the token is good again the next follows.
    let mut again = Delta::open(&pod.options.sds_socket, &["default"]).await;
    again.until(&["default"]).await;
    assert_eq!(again.certificate("default"), last);
    write(&pod.options.token_file, &token);
    again.next().await;
    assert_ne!(again.certificate("default"), last);
    drop(agent);
    mesh.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mounted_files_are_served_and_followed() {
    let mesh = Mesh::start(HOUR, Duration::ZERO).await;
    let mut pod = mesh.pod("default", "sleep").await;
    let mounted = mesh.directory.join("certs");
    std::fs::create_dir_all(&mounted).unwrap();
    let authority = Authority::create("somebody", HOUR).unwrap();
    let [chain, key, root] = ["cert-chain.pem", "key.pem", "root-cert.pem"].map(|f| mounted.join(f));
    let issue = || authority.issue(&LeafRequest::server(["a"], HOUR)).unwrap();
    let first = issue();
    std::fs::write(&chain, first.chain_pem()).unwrap();
    std::fs::write(&key, first.key_pem()).unwrap();
    std::fs::write(&root, authority.certificate_pem()).unwrap();
    pod.options.source = Source::Files(mounted.clone());
    let agent = Security::start(pod.options.clone()).unwrap();
    let (named, named_root) =
        (format!("file-cert:{}~{}", chain.display(), key.display()), format!("file-root:{}", root.display()));
    let missing = format!("file-root:{}", mounted.join("later.pem").display());
    let names = ["default", "ROOTCA", &named, &named_root, &missing];
    let mut stream = Delta::open(&pod.options.sds_socket, &names).await;
    stream.until(&names[..4]).await;
    assert_eq!(stream.certificate("default"), (first.chain_pem().to_owned(), first.key_pem().to_owned()));
    assert_eq!(stream.certificate(&named), stream.certificate("default"));
    assert_eq!(stream.roots(&named_root), authority.certificate_pem());

    // Half a replacement is not taken; the whole is.
    let second = issue();
    write(&chain, second.chain_pem());
    tokio::time::sleep(Duration::from_millis(300)).await;
    write(&key, second.key_pem());
    let wanted = (second.chain_pem().to_owned(), second.key_pem().to_owned());
    while stream.certificate("default") != wanted || stream.certificate(&named) != wanted {
        stream.next().await;
        let (chain, key) = stream.certificate("default");
        assert!(lateen_identity::matches(&chain, &key).unwrap());
    }
    // A file that comes later is served then.
    write(&mounted.join("later.pem"), authority.certificate_pem());
    stream.until(&[&missing]).await;
    drop(agent);
    mesh.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_control_plane_is_relayed_in_the_workloads_name() {
    use futures::StreamExt;
    use lateen_xds::TypeUrl;
    use lateen_xds::pb::envoy::config::core::v3::Node;
    use lateen_xds::pb::envoy::service::discovery::v3::DeltaDiscoveryRequest;
    use lateen_xds::pb::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
    use lateen_xds::pb::google::protobuf::{Struct, Value, value::Kind};
    let mesh = Mesh::start(HOUR, Duration::ZERO).await;
    let pod = mesh.pod("default", "sleep").await;
    let agent = pod.agent();
    let mut client =
        AggregatedDiscoveryServiceClient::new(crate::sds_client::channel(&pod.options.xds_socket).await);
    let mut stream = async |namespace: &str| {
        let account = Value { kind: Some(Kind::StringValue("sleep".to_owned())) };
        let node = Node {
            id: format!("sidecar~10.0.0.1~sleep-1.{namespace}~{namespace}.svc.cluster.local"),
            metadata: Some(Struct { fields: [("SERVICE_ACCOUNT".to_owned(), account)].into() }),
            ..Node::default()
        };
        let request = DeltaDiscoveryRequest {
            node: Some(node),
            type_url: TypeUrl::Cluster.as_str().to_owned(),
            ..Default::default()
        };
        // The stream stays open, as a proxy's does.
        let requests = futures::stream::iter([request]).chain(futures::stream::pending());
        let mut responses = client.delta_aggregated_resources(requests).await?.into_inner();
        responses.message().await
    };
    let response = stream("default").await.unwrap().unwrap();
    assert_eq!(response.type_url, TypeUrl::Cluster.as_str());
    // The relay proves who we are, and so nobody else.
    assert_eq!(stream("bank").await.unwrap_err().code(), tonic::Code::PermissionDenied);
    drop(agent);
    mesh.stop().await;
}
