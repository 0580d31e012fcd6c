//! What the policy tests speak with: a certificate authority, peers, tokens, a proxy of ours and an Envoy.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lateen_proxy::run::{Server, Settings};
use lateen_xds::json::Pool;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A certificate authority.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub root: String,
}

/// A certificate chain and its key, in PEM.
pub struct Pair {
    pub chain: String,
    pub key: String,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let root = params.self_signed(&key).unwrap().pem();
        Authority { issuer: Issuer::new(params, key), root }
    }

    pub fn issue(&self, subject: Option<&str>, sans: Vec<SanType>) -> Pair {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        if let Some(name) = subject {
            params.distinguished_name.push(DnType::CommonName, name);
        }
        params.subject_alt_names = sans;
        let key = KeyPair::generate().unwrap();
        let chain = params.signed_by(&key, &self.issuer).unwrap().pem();
        Pair { chain, key: key.serialize_pem() }
    }
}

pub fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().unwrap())
}

pub fn dns(text: &str) -> SanType {
    SanType::DnsName(text.try_into().unwrap())
}

/// Who signs tokens.
pub struct Signer {
    pair: EcdsaKeyPair,
    random: SystemRandom,
}

pub fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

impl Signer {
    pub fn new() -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        Signer { pair, random: SystemRandom::new() }
    }

    /// The public key as a key set.
    pub fn jwks(&self) -> String {
        let (x, y) = self.pair.public_key().as_ref()[1..].split_at(32);
        let key =
            json!({"kty": "EC", "crv": "P-256", "kid": "k1", "alg": "ES256", "x": encode(x), "y": encode(y)});
        json!({ "keys": [key] }).to_string()
    }

    pub fn sign_with(&self, header: Value, claims: Value) -> String {
        let signed = format!("{}.{}", encode(header.to_string()), encode(claims.to_string()));
        let signature = self.pair.sign(&self.random, signed.as_bytes()).unwrap();
        format!("{signed}.{}", encode(signature))
    }

    pub fn sign(&self, claims: Value) -> String {
        self.sign_with(json!({"alg": "ES256", "kid": "k1"}), claims)
    }
}

/// A proxy of ours in this process, ended with the test.
pub struct Ours {
    server: Arc<Server>,
    _runtime: tokio::runtime::Runtime,
}

impl Ours {
    pub fn start(bootstrap: &Value) -> Self {
        let bootstrap = Pool::load().unwrap().read(&bootstrap.to_string()).unwrap();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let settings = Settings { concurrency: Some(1), ..Settings::default() };
        let server = runtime.block_on(Server::start(bootstrap, settings)).unwrap();
        Ours { server, _runtime: runtime }
    }

    pub fn address(&self, listener: &str) -> SocketAddr {
        self.server.bound_addresses(listener)[0]
    }

    /// The value of one metric in Prometheus' text, by the beginning of its line; 0 where there is none.
    pub fn metric(&self, begins: &str) -> u64 {
        let text = self.server.prometheus();
        let lines = text.lines().filter(|line| line.starts_with(begins));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
    }
}

impl Drop for Ours {
    fn drop(&mut self) {
        self.server.stop();
    }
}

/// A real Envoy with the same configuration.
pub struct Envoy {
    child: Child,
    directory: PathBuf,
    admin: SocketAddr,
}

impl Envoy {
    /// None: there is no Envoy here.
    pub fn start(bootstrap: &Value) -> Option<Self> {
        let Some(program) = program() else {
            let required = std::env::var("LATEEN_PEERS").is_ok_and(|value| value == "required");
            assert!(
                !required,
                "LATEEN_PEERS=required, but there is no envoy on PATH and LATEEN_ENVOY is not set"
            );
            eprintln!("skipped: no envoy on PATH, LATEEN_ENVOY is not set");
            return None;
        };
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("lateen-policy-{}-{number}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&directory).unwrap();
        let mut bootstrap = bootstrap.clone();
        bootstrap["admin"] =
            json!({"address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}});
        let (config, admin) = (directory.join("envoy.json"), directory.join("admin"));
        let _ = std::fs::remove_file(&admin);
        std::fs::write(&config, bootstrap.to_string()).unwrap();
        let log = std::fs::File::create(directory.join("log")).unwrap();
        let child = Command::new(program)
            .arg("-c")
            .arg(&config)
            .arg("--admin-address-path")
            .arg(&admin)
            .args(["--concurrency", "1", "--use-dynamic-base-id", "-l", "warning"])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut envoy = Envoy { child, directory, admin: ([127, 0, 0, 1], 0).into() };
        envoy.wait(&admin);
        Some(envoy)
    }

    fn wait(&mut self, path: &std::path::Path) {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let log = || std::fs::read_to_string(self.directory.join("log")).unwrap_or_default();
            assert!(self.child.try_wait().unwrap().is_none(), "envoy ended: {}", log());
            assert!(Instant::now() < deadline, "envoy does not start: {}", log());
            if let Some(admin) = std::fs::read_to_string(path).ok().and_then(|text| text.trim().parse().ok())
            {
                self.admin = admin;
                let answer = crate::harness::get(self.admin, "/ready");
                if answer.status() == 200 {
                    return;
                }
            }
            std::thread::yield_now();
        }
    }

    pub fn address(&self, listener: &str) -> SocketAddr {
        let answer = crate::harness::get(self.admin, "/listeners?format=json");
        let listeners: Value = serde_json::from_str(&answer.body).unwrap();
        let all = listeners["listener_statuses"].as_array().unwrap();
        let found = all.iter().find(|status| status["name"] == listener).expect("the listener");
        let address = &found["local_address"]["socket_address"];
        let port = address["port_value"].as_u64().unwrap();
        SocketAddr::new(address["address"].as_str().unwrap().parse().unwrap(), u16::try_from(port).unwrap())
    }
}

impl Drop for Envoy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = || std::env::split_paths(&path).map(|dir| dir.join("envoy")).find(|file| file.is_file());
    std::env::var_os("LATEEN_ENVOY").map(PathBuf::from).or_else(on_path)
}

/// `typed_config` of an extension.
pub fn typed(kind: &str, mut config: Value) -> Value {
    config["@type"] = Value::from(format!("type.googleapis.com/{kind}"));
    config
}

/// An HTTP filter.
pub fn filter(name: &str, kind: &str, config: Value) -> Value {
    json!({"name": name, "typed_config": typed(kind, config)})
}

pub fn router() -> Value {
    filter("envoy.filters.http.router", "envoy.extensions.filters.http.router.v3.Router", json!({}))
}

/// A listener with one connection manager.
pub fn listener(name: &str, manager: Value, socket: Option<Value>) -> Value {
    let kind = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
    let manager = filter("envoy.filters.network.http_connection_manager", kind, manager);
    network_listener(name, json!([manager]), socket)
}

/// A listener with a chain of network filters.
pub fn network_listener(name: &str, filters: Value, socket: Option<Value>) -> Value {
    let mut chain = json!({ "filters": filters });
    let mut inspectors = json!([]);
    if let Some(socket) = socket {
        chain["transport_socket"] = socket;
        let kind = "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector";
        inspectors = json!([filter("envoy.filters.listener.tls_inspector", kind, json!({}))]);
    }
    json!({
        "name": name,
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
        "listener_filters": inspectors,
        "filter_chains": [chain],
    })
}

/// A cluster of one address.
pub fn cluster(name: &str, address: SocketAddr, http2: bool) -> Value {
    let endpoint = json!({"endpoint": {"address": {"socket_address":
        {"address": address.ip().to_string(), "port_value": address.port()}}}});
    let mut cluster = json!({
        "name": name,
        "type": "STATIC",
        "connect_timeout": "2s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]},
    });
    if http2 {
        let kind = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
        let options = json!({"explicit_http_config": {"http2_protocol_options": {}}});
        cluster["typed_extension_protocol_options"] = json!({ kind: typed(kind, options) });
    }
    cluster
}
