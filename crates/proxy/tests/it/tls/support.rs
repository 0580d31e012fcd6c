//! Certificates, bootstraps, proxies in this process, and a client that speaks TLS.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use lateen_proxy::bootstrap::{Options, load};
use lateen_proxy::run::{Server, Settings};
use lateen_xds::pb::envoy::config::bootstrap::v3::Bootstrap;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256, SanType,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::{Value, json};

pub const DAY: Duration = Duration::from_secs(86_400);
pub const WAIT: Duration = Duration::from_secs(10);

/// An authority for tests.
pub struct Ca {
    issuer: Issuer<'static, KeyPair>,
    pub pem: String,
}

/// A certificate and its key, PEM.
#[derive(Clone)]
pub struct Pair {
    pub chain: String,
    pub key: String,
}

/// What a leaf says.
pub struct Leaf<'a> {
    pub uri: Option<&'a str>,
    pub dns: &'a [&'a str],
    pub from: SystemTime,
    pub until: SystemTime,
    pub rsa: bool,
}

impl Leaf<'_> {
    pub fn workload(uri: &str) -> Leaf<'_> {
        let now = SystemTime::now();
        Leaf { uri: Some(uri), dns: &[], from: now - Duration::from_secs(120), until: now + DAY, rsa: false }
    }

    pub fn host<'a>(dns: &'a [&'a str]) -> Leaf<'a> {
        Leaf { uri: None, dns, ..Leaf::workload("") }
    }
}

impl Ca {
    pub fn new() -> Ca {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::OrganizationName, "cluster.local");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.not_before = (SystemTime::now() - DAY).into();
        let certificate = params.self_signed(&key).unwrap();
        Ca { pem: certificate.pem(), issuer: Issuer::new(params, key) }
    }

    pub fn issue(&self, leaf: &Leaf<'_>) -> Pair {
        let kind = if leaf.rsa { &PKCS_RSA_SHA256 } else { &PKCS_ECDSA_P256_SHA256 };
        let key = KeyPair::generate_for(kind).unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        if leaf.uri.is_none() {
            params.distinguished_name.push(DnType::OrganizationName, "Lateen, \"tests\"");
        }
        params.not_before = leaf.from.into();
        params.not_after = leaf.until.into();
        params.subject_alt_names.extend(leaf.uri.map(|uri| SanType::URI(uri.try_into().unwrap())));
        params
            .subject_alt_names
            .extend(leaf.dns.iter().map(|name| SanType::DnsName((*name).try_into().unwrap())));
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Pair { chain: certificate.pem(), key: key.serialize_pem() }
    }

    /// A list of revoked certificates, PEM, with one on it.
    pub fn revoke(&self, pair: &Pair) -> String {
        use rcgen::{CertificateRevocationListParams, KeyIdMethod, RevokedCertParams, SerialNumber};
        use x509_parser::prelude::{FromDer as _, X509Certificate};
        let leaf = chain(&pair.chain);
        let serial = X509Certificate::from_der(&leaf[0]).unwrap().1.raw_serial().to_vec();
        let now = SystemTime::now();
        let revoked = RevokedCertParams {
            serial_number: SerialNumber::from_slice(&serial),
            revocation_time: (now - DAY).into(),
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: (now - DAY).into(),
            next_update: (now + DAY).into(),
            crl_number: SerialNumber::from(1u64),
            issuing_distribution_point: None,
            revoked_certs: vec![revoked],
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).unwrap().pem().unwrap()
    }

    pub fn workload(&self, uri: &str) -> Pair {
        self.issue(&Leaf::workload(uri))
    }
}

/// A secret as SDS sends it.
pub fn certificate_secret(name: &str, pair: &Pair) -> Value {
    json!({ "@type": SECRET, "name": name, "tls_certificate": certificate(pair) })
}

pub fn validation_secret(name: &str, ca: &str) -> Value {
    json!({ "@type": SECRET, "name": name, "validation_context": { "trusted_ca": { "inline_string": ca } } })
}

pub const SECRET: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret";

pub fn certificate(pair: &Pair) -> Value {
    json!({
        "certificate_chain": { "inline_string": pair.chain },
        "private_key": { "inline_string": pair.key },
    })
}

/// Secrets in files, which are replaced as a whole.
pub struct Files {
    directory: PathBuf,
}

impl Files {
    pub fn new(name: &str) -> Files {
        let directory = std::env::temp_dir().join(format!("lateen-tls-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        Files { directory }
    }

    pub fn put(&self, name: &str, secret: Value) {
        // Envoy reads a file by its extension.
        let file = self.directory.join(name).with_extension("json");
        let text = json!({ "resources": [secret] }).to_string();
        std::fs::write(file.with_extension("new"), text).unwrap();
        std::fs::rename(file.with_extension("new"), file).unwrap();
    }

    pub fn workload(&self, ca: &str, pair: &Pair) {
        self.put("default", certificate_secret("default", pair));
        self.put("ROOTCA", validation_secret("ROOTCA", ca));
    }

    /// An `SdsSecretConfig` of a file of that name.
    pub fn sds(&self, name: &str) -> Value {
        let path = self.path(&format!("{name}.json"));
        json!({ "name": name, "sds_config": { "path_config_source": { "path": path }, "resource_api_version": "V3" } })
    }

    pub fn path(&self, name: &str) -> String {
        self.directory.join(name).display().to_string()
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

pub fn inspector() -> Value {
    json!([{ "name": "envoy.filters.listener.tls_inspector", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector" } }])
}

pub fn socket_address(address: SocketAddr) -> Value {
    json!({ "socket_address": { "address": address.ip().to_string(), "port_value": address.port() } })
}

/// A connection manager that sends everything to one cluster.
pub fn manager(cluster: &str, more: Value) -> Value {
    let mut manager = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "http",
        "route_config": { "name": "local", "virtual_hosts": [{ "name": "all", "domains": ["*"],
            "routes": [{ "match": { "prefix": "/" }, "route": { "cluster": cluster } }] }] },
        "http_filters": [{ "name": "router", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router" } }],
    });
    merge(&mut manager, more);
    json!({ "name": "http", "typed_config": manager })
}

pub fn tcp_proxy(cluster: &str) -> Value {
    json!({ "name": "tcp", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
        "stat_prefix": "tcp", "cluster": cluster } })
}

pub fn merge(into: &mut Value, more: Value) {
    if let (Value::Object(into), Value::Object(more)) = (into, more) {
        into.extend(more);
    }
}

pub fn downstream_tls(common: Value, more: Value) -> Value {
    let mut context = json!({
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        "common_tls_context": common,
    });
    merge(&mut context, more);
    json!({ "name": "envoy.transport_sockets.tls", "typed_config": context })
}

pub fn upstream_tls(common: Value, more: Value) -> Value {
    let mut context = json!({
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        "common_tls_context": common,
    });
    merge(&mut context, more);
    json!({ "name": "envoy.transport_sockets.tls", "typed_config": context })
}

pub fn cluster(name: &str, address: SocketAddr, more: Value) -> Value {
    let mut cluster = json!({
        "name": name, "type": "STATIC", "connect_timeout": "5s",
        "load_assignment": { "cluster_name": name, "endpoints": [{ "lb_endpoints": [
            { "endpoint": { "address": socket_address(address) } }] }] },
    });
    merge(&mut cluster, more);
    cluster
}

pub fn listener(name: &str, address: SocketAddr, chains: Value) -> Value {
    json!({ "name": name, "address": socket_address(address), "listener_filters": inspector(), "filter_chains": chains })
}

pub fn any_port() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

pub fn bootstrap(listeners: Value, clusters: Value) -> Value {
    json!({
        "node": { "id": "test", "cluster": "test" },
        "admin": { "address": socket_address(any_port()) },
        "static_resources": { "listeners": listeners, "clusters": clusters },
    })
}

#[derive(clap::Parser)]
struct Line {
    #[command(flatten)]
    options: Options,
}

/// A proxy in this process.
pub struct Proxy {
    pub server: Arc<Server>,
    _runtime: tokio::runtime::Runtime,
}

impl Proxy {
    pub fn start(config: &Value) -> Proxy {
        Proxy::with(config, |_| {})
    }

    /// A proxy whose bootstrap is edited before it is used.
    pub fn with(config: &Value, edit: impl FnOnce(&mut Bootstrap)) -> Proxy {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let mut options = <Line as clap::Parser>::parse_from(["proxy"]).options;
        options.config_yaml = Some(config.to_string());
        let mut bootstrap = load(&options).unwrap();
        edit(&mut bootstrap);
        let settings = Settings { concurrency: Some(1), ..Settings::default() };
        let server = runtime.block_on(Server::start(bootstrap, settings)).unwrap();
        Proxy { server, _runtime: runtime }
    }

    pub fn address(&self, listener: &str) -> SocketAddr {
        self.server.bound_addresses(listener)[0]
    }

    /// What administration answers.
    pub fn admin(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(self.server.admin.unwrap()).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text.split_once("\r\n\r\n").unwrap().1.to_owned()
    }

    /// The sum of the statistics that end so.
    pub fn stat(&self, end: &str) -> u64 {
        let text = self.admin("/stats");
        let values = text.lines().filter_map(|line| line.split_once(": "));
        values
            .filter(|(name, _)| name.ends_with(end))
            .filter_map(|(_, value)| value.parse::<u64>().ok())
            .sum()
    }

    /// Waits until a statistic has a value: a peer may know of an end before it is counted.
    pub fn counts(&self, end: &str, value: u64) {
        wait(&format!("{end} = {value}"), || self.stat(end) == value);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.server.stop();
    }
}

pub fn wait(what: &str, mut condition: impl FnMut() -> bool) {
    let end = std::time::Instant::now() + WAIT;
    while !condition() {
        assert!(std::time::Instant::now() < end, "{what} did not come");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Waits until something succeeds; else tells the last failure.
pub fn wait_or<T>(mut attempt: impl FnMut() -> Result<T, String>) -> T {
    let end = std::time::Instant::now() + WAIT;
    loop {
        match attempt() {
            Ok(done) => return done,
            Err(last) => assert!(std::time::Instant::now() < end, "still: {last}"),
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A TLS client's settings.
#[derive(Clone, Default)]
pub struct Client {
    pub pair: Option<Pair>,
    pub alpn: Vec<&'static str>,
}

pub type Stream = rustls::StreamOwned<rustls::ClientConnection, TcpStream>;

impl Client {
    pub fn new(pair: Option<&Pair>) -> Client {
        Client { pair: pair.cloned(), alpn: Vec::new() }
    }

    /// Does the handshake, and one read or write more where the verdict comes after it (TLS 1.3).
    pub fn connect(&self, address: SocketAddr, name: &str) -> std::io::Result<Stream> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(lateen_identity::AnyServer::new(provider)));
        let mut config = match &self.pair {
            Some(pair) => builder.with_client_auth_cert(chain(&pair.chain), key(&pair.key)).unwrap(),
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = self.alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let connection = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
        let tcp = TcpStream::connect(address)?;
        tcp.set_read_timeout(Some(WAIT))?;
        let mut stream = rustls::StreamOwned::new(connection, tcp);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(stream)
    }

    /// One request; the answer's head and body.
    pub fn get(&self, address: SocketAddr, name: &str) -> std::io::Result<String> {
        let mut stream = self.connect(address, name)?;
        request(&mut stream, "")
    }
}

pub fn chain(pem: &str) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<_, _>>().unwrap()
}

pub fn key(pem: &str) -> PrivateKeyDer<'static> {
    PrivateKeyDer::from_pem_slice(pem.as_bytes()).unwrap()
}

/// One request on an open connection, which stays open; head and body of the answer.
pub fn request(stream: &mut (impl Read + Write), headers: &str) -> std::io::Result<String> {
    write!(stream, "GET / HTTP/1.1\r\nHost: app\r\n{headers}\r\n")?;
    stream.flush()?;
    let mut text = Vec::new();
    let mut byte = [0u8; 4096];
    loop {
        let n = stream.read(&mut byte)?;
        if n == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        text.extend_from_slice(&byte[..n]);
        let all = String::from_utf8_lossy(&text).into_owned();
        if let Some((head, body)) = all.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(": ")?;
                name.eq_ignore_ascii_case("content-length").then(|| value.parse::<usize>().unwrap())
            });
            if body.len() >= length.unwrap_or(0) {
                return Ok(all);
            }
        }
    }
}

/// One request in plain text on a connection of its own.
pub fn plain_get(address: SocketAddr, headers: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(WAIT))?;
    request(&mut stream, headers)
}
