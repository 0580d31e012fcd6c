//! `cargo xtask bench mtls`: a client's and a server's sidecar with mutual TLS between them, Lateen's pair beside
//! Envoy's in one run: requests and full handshakes a CPU-second of the pair, and memory an idle connection.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use lateen_identity::{Authority, Leaf, LeafRequest, SpiffeId};
use serde_json::{Value, json};

use super::process::{Pinned, free_port};
use super::{LOAD_CORE, Options, PROXY_CORE, configs, load, loopback, path};

const CONNECTIONS: usize = 64;
/// Idle connections, where processes may have the files for them: two sockets each, and some more.
const IDLE: usize = 10_000;
const OTHER_FILES: usize = 600;
/// Connections before those that are counted.
const WARM: usize = 100;

/// Ports of one pair.
#[derive(Clone, Copy)]
struct Ports {
    /// Plain HTTP into the client's sidecar: connections are kept; a connection for each request; plain TCP.
    keep: u16,
    once: u16,
    tcp: u16,
    /// Mutual TLS into the server's sidecar: HTTP, TCP.
    mutual: u16,
    mutual_tcp: u16,
    /// What stands behind.
    upstream: u16,
    upstream_tcp: u16,
}

#[derive(Debug, Default)]
struct Row {
    name: &'static str,
    requests: f64,
    handshakes: f64,
    idle_client_kib: f64,
    idle_server_kib: f64,
}

/// Runs the benchmark.
pub fn run(options: &Options, lateen: &Path) -> Result<()> {
    let folder = std::env::temp_dir().join(format!("lateen-mtls-{}", std::process::id()));
    fs::create_dir_all(folder.join("upstream"))?;
    let result = compare(options, lateen, &folder);
    fs::remove_dir_all(&folder)?;
    result
}

fn compare(options: &Options, lateen: &Path, folder: &Path) -> Result<()> {
    let idle = idle_connections()?;
    let (upstream, upstream_tcp) = (free_port()?, TcpListener::bind("127.0.0.1:0")?);
    let base = configs::Ports {
        http1: 0,
        http2: 0,
        tcp: 0,
        admin: 0,
        upstream_http1: upstream,
        upstream_http2: free_port()?,
    };
    let config = folder.join("upstream/nginx.conf");
    fs::write(&config, configs::upstream(&base, &path(&folder.join("upstream"))))?;
    let log = folder.join("upstream.log");
    let mut nginx = Pinned::start(LOAD_CORE, Path::new("nginx"), &["-c", &path(&config)], &log)?;
    nginx.wait_for(loopback(upstream), &log)?;
    let tcp_port = upstream_tcp.local_addr()?.port();
    std::thread::spawn(move || echo(&upstream_tcp));
    let identities = Identities::new()?;
    let mut rows = Vec::new();
    let wanted = |name: &str| options.only.is_empty() || options.only.iter().any(|only| only == name);
    for (name, program) in [("envoy", options.envoy.as_path()), ("lateen", lateen)] {
        if wanted(name) {
            eprintln!("measuring {name} ...");
            let pair = Pair::start(name, program, &identities, [upstream, tcp_port], folder).context(name)?;
            rows.push(pair.measure(name, options.seconds, idle).context(name)?);
        }
    }
    print_table(&rows, idle);
    Ok(())
}

/// Raises our limit of open files, which the programs under measurement inherit, as far as we may; gives the idle
/// connections that it leaves room for.
fn idle_connections() -> Result<usize> {
    let limits = fs::read_to_string("/proc/self/limits")?;
    let line =
        limits.lines().find_map(|line| line.strip_prefix("Max open files")).context("no limit of files")?;
    let most = match line.split_whitespace().nth(1).context("no hard limit of files")? {
        "unlimited" => usize::MAX,
        number => number.parse()?,
    };
    let files = most.min(2 * (IDLE + WARM) + OTHER_FILES);
    let pid = std::process::id().to_string();
    let raised =
        Command::new("prlimit").args(["--pid", &pid, &format!("--nofile={files}:{most}")]).status()?;
    ensure!(raised.success(), "prlimit cannot raise the limit of files to {files}");
    ensure!(files > 2 * WARM + OTHER_FILES, "{files} open files are too few");
    Ok((files - OTHER_FILES) / 2 - WARM)
}

/// Answers each connection's first bytes with the same and then keeps it.
fn echo(listener: &TcpListener) {
    let mut kept = Vec::new();
    for stream in listener.incoming() {
        let Ok(mut stream) = stream else { return };
        let mut bytes = [0; 1024];
        if stream.read_exact(&mut bytes).is_ok() && stream.write_all(&bytes).is_ok() {
            kept.push(stream);
        }
        // Those of the pair before are closed by now.
        if kept.len() > IDLE {
            kept.drain(..IDLE / 2);
        }
    }
}

struct Identities {
    root: String,
    client: Leaf,
    server: Leaf,
}

const CLIENT: (&str, &str) = ("default", "client");
const SERVER: (&str, &str) = ("default", "server");

impl Identities {
    fn new() -> Result<Self> {
        let day = Duration::from_secs(86_400);
        let authority = Authority::create("cluster.local", day)?;
        let leaf = |(namespace, account): (&str, &str)| -> Result<Leaf> {
            let identities = vec![SpiffeId::new("cluster.local", namespace, account)?];
            Ok(authority.issue(&LeafRequest { identities, lifetime: day, ..LeafRequest::default() })?)
        };
        Ok(Identities {
            root: authority.certificate_pem().to_owned(),
            client: leaf(CLIENT)?,
            server: leaf(SERVER)?,
        })
    }

    fn common(&self, leaf: &Leaf, prefix: &str, alpn: &[&str]) -> Value {
        json!({
            "alpn_protocols": alpn,
            "tls_certificates": [{
                "certificate_chain": { "inline_string": leaf.chain_pem() },
                "private_key": { "inline_string": leaf.key_pem() },
            }],
            "validation_context": {
                "trusted_ca": { "inline_string": self.root },
                "match_typed_subject_alt_names": [{ "san_type": "URI", "matcher": { "prefix": prefix } }],
            },
        })
    }

    fn downstream(&self) -> Value {
        json!({ "name": "envoy.transport_sockets.tls", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
            "common_tls_context": self.common(&self.server, "spiffe://cluster.local/", &["istio", "http/1.1"]),
            "require_client_certificate": true } })
    }

    fn upstream(&self, sessions: u32) -> Value {
        let server = format!("spiffe://cluster.local/ns/{}/sa/{}", SERVER.0, SERVER.1);
        json!({ "name": "envoy.transport_sockets.tls", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
            "common_tls_context": self.common(&self.client, &server, &["istio", "http/1.1"]),
            "sni": "outbound_.80_._.server.default.svc.cluster.local",
            "max_session_keys": sessions } })
    }
}

fn address(port: u16) -> Value {
    json!({ "socket_address": { "address": "127.0.0.1", "port_value": port } })
}

fn cluster(name: &str, port: u16, requests: Option<u32>, socket: Option<Value>) -> Value {
    let many = json!({ "max_connections": 65_536, "max_pending_requests": 65_536, "max_requests": 65_536 });
    let mut cluster = json!({ "name": name, "type": "STATIC", "connect_timeout": "5s",
        "circuit_breakers": { "thresholds": [many] },
        "load_assignment": { "cluster_name": name, "endpoints": [{ "lb_endpoints": [{ "endpoint": { "address": address(port) } }] }] } });
    if let Some(requests) = requests {
        cluster["typed_extension_protocol_options"] = json!({
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": { "http_protocol_options": {} },
                "common_http_protocol_options": { "max_requests_per_connection": requests } } });
    }
    if let Some(socket) = socket {
        cluster["transport_socket"] = socket;
    }
    cluster
}

fn listener(name: &str, port: u16, cluster: &str, http: bool, socket: Option<Value>) -> Value {
    let filter = if http {
        json!({ "name": "http", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": name, "codec_type": "HTTP1", "forward_client_cert_details": "SANITIZE_SET",
            "set_current_client_cert_details": { "uri": true },
            "route_config": { "name": name, "virtual_hosts": [{ "name": "all", "domains": ["*"],
                "routes": [{ "match": { "prefix": "/" }, "route": { "cluster": cluster } }] }] },
            "http_filters": [{ "name": "router", "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router" } }] } })
    } else {
        json!({ "name": "tcp", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
            "stat_prefix": name, "cluster": cluster } })
    };
    let mut chain = json!({ "filters": [filter] });
    if let Some(socket) = socket {
        chain["transport_socket"] = socket;
    }
    json!({ "name": name, "address": address(port), "filter_chains": [chain] })
}

struct Pair {
    client: Pinned,
    server: Pinned,
    ports: Ports,
}

impl Pair {
    fn start(
        name: &str,
        program: &Path,
        identities: &Identities,
        [upstream, upstream_tcp]: [u16; 2],
        folder: &Path,
    ) -> Result<Pair> {
        let ports = Ports {
            keep: free_port()?,
            once: free_port()?,
            tcp: free_port()?,
            mutual: free_port()?,
            mutual_tcp: free_port()?,
            upstream,
            upstream_tcp,
        };
        let server = json!({ "static_resources": {
            "listeners": [
                listener("mutual", ports.mutual, "app", true, Some(identities.downstream())),
                listener("mutual_tcp", ports.mutual_tcp, "app_tcp", false, Some(identities.downstream())),
            ],
            "clusters": [cluster("app", ports.upstream, None, None), cluster("app_tcp", ports.upstream_tcp, None, None)],
        } });
        let client = json!({ "static_resources": {
            "listeners": [
                listener("keep", ports.keep, "keep", true, None),
                listener("once", ports.once, "once", true, None),
                listener("tcp", ports.tcp, "tcp", false, None),
            ],
            "clusters": [
                cluster("keep", ports.mutual, None, Some(identities.upstream(1))),
                cluster("once", ports.mutual, Some(1), Some(identities.upstream(0))),
                cluster("tcp", ports.mutual_tcp, None, Some(identities.upstream(1))),
            ],
        } });
        let launch = |side: &str, config: &Value, wait: &[u16]| -> Result<Pinned> {
            let file: PathBuf = folder.join(format!("{name}-{side}.json"));
            fs::write(&file, config.to_string())?;
            let file = path(&file);
            let mut arguments = vec!["-c", &file, "--concurrency", "1", "-l", "warning"];
            match name {
                "lateen" => arguments.insert(0, "proxy"),
                _ => arguments.push("--use-dynamic-base-id"),
            }
            let log = folder.join(format!("{name}-{side}.log"));
            let mut started = Pinned::start(PROXY_CORE, program, &arguments, &log)?;
            for port in wait {
                started.wait_for(loopback(*port), &log)?;
            }
            Ok(started)
        };
        let server = launch("server", &server, &[ports.mutual, ports.mutual_tcp])?;
        let client = launch("client", &client, &[ports.keep, ports.once, ports.tcp])?;
        Ok(Pair { client, server, ports })
    }

    fn measure(&self, name: &'static str, seconds: u32, idle: usize) -> Result<Row> {
        let (idle_client_kib, idle_server_kib) = self.idle(idle)?;
        Ok(Row {
            name,
            // A first second opens the connections, whose handshakes are not what is measured.
            requests: {
                load::wrk(LOAD_CORE, self.ports.keep, CONNECTIONS, 1)?;
                self.per_cpu_second(|| load::wrk(LOAD_CORE, self.ports.keep, CONNECTIONS, seconds))?
            },
            handshakes: self
                .per_cpu_second(|| load::wrk(LOAD_CORE, self.ports.once, CONNECTIONS / 4, seconds))?,
            idle_client_kib,
            idle_server_kib,
        })
    }

    fn cpu_seconds(&self) -> Result<f64> {
        Ok(self.client.cpu_seconds()? + self.server.cpu_seconds()?)
    }

    fn per_cpu_second(&self, load: impl Fn() -> Result<load::Outcome>) -> Result<f64> {
        let before = self.cpu_seconds()?;
        let outcome = load()?;
        Ok(outcome.requests / (self.cpu_seconds()? - before))
    }

    /// Memory of each side for a connection that has carried a KiB each way and waits.
    fn idle(&self, wanted: usize) -> Result<(f64, f64)> {
        let open = || -> Result<TcpStream> {
            let mut stream = TcpStream::connect(loopback(self.ports.tcp))?;
            stream.set_read_timeout(Some(Duration::from_secs(20)))?;
            let mut bytes = [7; 1024];
            stream.write_all(&bytes)?;
            stream.read_exact(&mut bytes)?;
            Ok(stream)
        };
        // What the first connections bring into memory is not theirs.
        let warm = (0..WARM).map(|_| open()).collect::<Result<Vec<_>>>()?;
        let before = (self.client.rss_kib()?, self.server.rss_kib()?);
        let idle = (0..wanted).map(|_| open()).collect::<Result<Vec<_>>>()?;
        let after = (self.client.rss_kib()?, self.server.rss_kib()?);
        if idle.len() != wanted || warm.len() != WARM {
            bail!("not all connections were made");
        }
        let each = |before: u64, after: u64| after.saturating_sub(before) as f64 / wanted as f64;
        Ok((each(before.0, after.0), each(before.1, after.1)))
    }
}

fn print_table(rows: &[Row], idle: usize) {
    println!(
        "mutual TLS between two sidecars, per CPU-second of the pair (times Envoy's); {idle} idle connections"
    );
    println!(
        "{:<8} {:>20} {:>20} {:>18} {:>18}",
        "", "requests", "full handshakes", "KiB idle, client", "KiB idle, server"
    );
    let envoy = rows.iter().find(|row| row.name == "envoy");
    let cell = |value: f64, of: Option<f64>| match of {
        Some(envoy) => format!("{value:.0} ({:.2}x)", value / envoy),
        None => format!("{value:.0}"),
    };
    for row in rows {
        println!(
            "{:<8} {:>20} {:>20} {:>18.1} {:>18.1}",
            row.name,
            cell(row.requests, envoy.map(|envoy| envoy.requests)),
            cell(row.handshakes, envoy.map(|envoy| envoy.handshakes)),
            row.idle_client_kib,
            row.idle_server_kib,
        );
    }
}
