//! Certificates that live briefly, under load, while the root is replaced: nobody may notice.
//!
//! `LATEEN_ROTATION=full` runs five minutes with lives of 30 s at 1,000 requests a second; without it the same in short.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime};

use lateen_identity::{Authority, TrustBundle, identities};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{ClientConfig, DigitallySignedStruct, ServerConfig, SignatureScheme};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::mesh::{HOUR, Mesh};
use crate::sds_client::Delta;

/// How long and how hard.
struct Run {
    life: Duration,
    duration: Duration,
    requests_per_second: u32,
    propagation: Duration,
}

impl Run {
    fn from_environment() -> Run {
        let seconds = Duration::from_secs;
        if std::env::var("LATEEN_ROTATION").as_deref() == Ok("full") {
            let (life, duration) = (seconds(30), seconds(300));
            Run { life, duration, requests_per_second: 1000, propagation: seconds(5) }
        } else {
            let (life, duration) = (seconds(5), seconds(20));
            Run { life, duration, requests_per_second: 200, propagation: seconds(1) }
        }
    }
}

/// What a proxy makes of its secrets.
#[derive(Clone)]
struct Tls {
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
    roots: usize,
}

/// Verifies the chain, as meshes do: not the name by which it was called, but the identity.
#[derive(Debug)]
struct Mutual(Arc<dyn ClientCertVerifier>);

impl ServerCertVerifier for Mutual {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.0.verify_client_cert(leaf, intermediates, now)?;
        assert_eq!(identities(leaf)[0].service_account(), "server");
        Ok(ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, leaf, signature)
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, leaf, signature)
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

fn tls(stream: &Delta) -> Tls {
    let provider = || -> Arc<CryptoProvider> { Arc::new(aws_lc_rs::default_provider()) };
    let (chain, key) = stream.certificate("default");
    let chain: Vec<_> = CertificateDer::pem_slice_iter(chain.as_bytes()).map(Result::unwrap).collect();
    let key = || PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    let trust = TrustBundle::from_pem(&stream.roots("ROOTCA")).unwrap();
    let roots = Arc::new(trust.roots().unwrap());
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider()).build().unwrap();
    let server = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(Arc::clone(&verifier))
        .with_single_cert(chain.clone(), key())
        .unwrap();
    let mut client = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Mutual(verifier)))
        .with_client_auth_cert(chain, key())
        .unwrap();
    client.resumption = rustls::client::Resumption::disabled();
    Tls { server: Arc::new(server), client: Arc::new(client), roots: trust.certificates().len() }
}

/// Follows a workload's secrets; counts its certificates.
async fn follow(socket: &Path) -> (watch::Receiver<Tls>, Arc<AtomicU64>, JoinHandle<()>) {
    let mut stream = Delta::open(socket, &["default", "ROOTCA"]).await;
    stream.until(&["default", "ROOTCA"]).await;
    let (sender, receiver) = watch::channel(tls(&stream));
    let certificates = Arc::new(AtomicU64::new(1));
    let count = Arc::clone(&certificates);
    let following = tokio::spawn(async move {
        loop {
            if stream.next().await.iter().any(|name| name == "default") {
                count.fetch_add(1, Relaxed);
            }
            if sender.send(tls(&stream)).is_err() {
                return;
            }
        }
    });
    (receiver, certificates, following)
}

/// Answers each byte with itself, over mutual TLS.
async fn serve(listener: TcpListener, tls: watch::Receiver<Tls>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let acceptor = TlsAcceptor::from(Arc::clone(&tls.borrow().server));
        tokio::spawn(async move {
            let Ok(mut stream) = acceptor.accept(stream).await else { return };
            let mut byte = [0];
            while stream.read_exact(&mut byte).await.is_ok() {
                if stream.write_all(&byte).await.is_err() || stream.flush().await.is_err() {
                    return;
                }
            }
        });
    }
}

type Stream = tokio_rustls::client::TlsStream<TcpStream>;

async fn connect(address: std::net::SocketAddr, tls: &watch::Receiver<Tls>) -> std::io::Result<Stream> {
    let config = Arc::clone(&tls.borrow().client);
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from("server.default.svc.cluster.local").unwrap();
    TlsConnector::from(config).connect(name, stream).await
}

async fn ask(stream: &mut Stream) -> std::io::Result<()> {
    stream.write_all(b"x").await?;
    stream.flush().await?;
    let mut byte = [0];
    stream.read_exact(&mut byte).await?;
    Ok(())
}

#[derive(Default)]
struct Tally {
    answered: AtomicU64,
    connections: AtomicU64,
    failed: std::sync::Mutex<Vec<String>>,
}

/// One client: requests at a pace, every tenth on a connection of its own.
async fn load(
    address: std::net::SocketAddr,
    tls: watch::Receiver<Tls>,
    pace: Duration,
    stop: Arc<AtomicBool>,
    tally: Arc<Tally>,
) {
    let mut kept = connect(address, &tls).await.unwrap();
    let mut ticks = tokio::time::interval(pace);
    let mut number = 0_u64;
    while !stop.load(Relaxed) {
        ticks.tick().await;
        number += 1;
        let outcome = if number.is_multiple_of(10) {
            tally.connections.fetch_add(1, Relaxed);
            match connect(address, &tls).await {
                Ok(mut stream) => ask(&mut stream).await,
                Err(error) => Err(error),
            }
        } else {
            ask(&mut kept).await
        };
        match outcome {
            Ok(()) => drop(tally.answered.fetch_add(1, Relaxed)),
            Err(error) => tally.failed.lock().unwrap().push(error.to_string()),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_request_fails_while_certificates_and_the_root_are_replaced() {
    let run = Run::from_environment();
    let mesh = Mesh::start(run.life, run.propagation).await;
    let (client_pod, server_pod) = (mesh.pod("default", "client").await, mesh.pod("default", "server").await);
    let agents = (client_pod.agent(), server_pod.agent());
    let (client, client_certificates, following_client) = follow(&client_pod.options.sds_socket).await;
    let (server, server_certificates, following_server) = follow(&server_pod.options.sds_socket).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(serve(listener, server));
    let (stop, tally) = (Arc::new(AtomicBool::new(false)), Arc::new(Tally::default()));
    const CLIENTS: u32 = 8;
    let pace = Duration::from_secs(1) * CLIENTS / run.requests_per_second;
    let start = Instant::now();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| tokio::spawn(load(address, client.clone(), pace, stop.clone(), tally.clone())))
        .collect();

    tokio::time::sleep(run.duration / 2).await;
    let root = Authority::create("operator", 10 * HOUR).unwrap();
    mesh.plug(&root.intermediate("mesh", HOUR, SystemTime::now()).unwrap()).await;
    tokio::time::sleep((run.duration / 2).saturating_sub(start.elapsed() - run.duration / 2)).await;
    stop.store(true, Relaxed);
    for client in clients {
        client.await.unwrap();
    }

    let (answered, connections) = (tally.answered.load(Relaxed), tally.connections.load(Relaxed));
    let failed = tally.failed.lock().unwrap().clone();
    println!(
        "{answered} requests answered in {:.1} s, {connections} of them over new connections, {} failed; \
         certificates: client {}, server {}; roots at the end: {}",
        start.elapsed().as_secs_f64(),
        failed.len(),
        client_certificates.load(Relaxed),
        server_certificates.load(Relaxed),
        client.borrow().roots,
    );
    assert!(failed.is_empty(), "{failed:?}");
    let wanted = run.duration.as_secs() * u64::from(run.requests_per_second);
    assert!(answered > wanted * 8 / 10, "only {answered} of {wanted}");
    let rotations = run.duration.as_secs() / (run.life.as_secs() / 2).max(1);
    for count in [&client_certificates, &server_certificates] {
        assert!(count.load(Relaxed) + 2 >= rotations, "{} of {rotations}", count.load(Relaxed));
    }
    // The last certificates are below the new root.
    let mut last = Delta::open(&server_pod.options.sds_socket, &["default", "ROOTCA"]).await;
    last.until(&["default", "ROOTCA"]).await;
    let chain: Vec<_> = CertificateDer::pem_slice_iter(last.certificate("default").0.as_bytes())
        .map(Result::unwrap)
        .collect();
    let verifier = WebPkiClientVerifier::builder_with_provider(
        Arc::new(root.roots().unwrap()),
        Arc::new(aws_lc_rs::default_provider()),
    );
    verifier.build().unwrap().verify_client_cert(&chain[0], &chain[1..], UnixTime::now()).unwrap();
    serving.abort();
    following_client.abort();
    following_server.abort();
    drop(agents);
    mesh.stop().await;
}
