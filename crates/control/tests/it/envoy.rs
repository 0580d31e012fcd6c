//! A real Envoy as sidecar and as gateway: it must take everything.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::Running;
use crate::debug::{get, get_json};
use crate::fake_api::FakeApi;
use crate::objects::{VIRTUAL_SERVICES, bookinfo, ingress, split};

const SIDECAR: &str = "sidecar~10.244.1.1~productpage-v1.default~default.svc.cluster.local";
const GATEWAY: &str = "router~10.244.9.1~istio-ingressgateway-x.istio-system~istio-system.svc.cluster.local";
const PATIENCE: Duration = Duration::from_secs(60);

struct Envoy {
    child: Child,
    admin: SocketAddr,
    directory: PathBuf,
}

impl Drop for Envoy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// The program, or `None` (after saying so) where there is none and none is required.
fn program() -> Option<PathBuf> {
    let named = std::env::var_os("LATEEN_ENVOY").map(PathBuf::from);
    let found = named.or_else(|| {
        let path = std::env::var_os("PATH")?;
        std::env::split_paths(&path).map(|folder| folder.join("envoy")).find(|file| file.is_file())
    });
    if found.is_none() {
        assert!(
            std::env::var("LATEEN_PEERS").as_deref() != Ok("required"),
            "envoy is required and was not found"
        );
        println!("skipped: envoy was not found (LATEEN_ENVOY or PATH)");
    }
    found
}

fn bootstrap(node: &str, xds: SocketAddr, delta: bool) -> String {
    let api_type = if delta { "DELTA_GRPC" } else { "GRPC" };
    let labels = if node.starts_with("router") { "{istio: ingressgateway}" } else { "{app: productpage}" };
    format!(
        "node:
  id: {node}
  cluster: test
  metadata: {{LABELS: {labels}, ISTIO_VERSION: 1.30.0}}
admin:
  address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}
dynamic_resources:
  ads_config:
    api_type: {api_type}
    transport_api_version: V3
    set_node_on_first_message_only: true
    grpc_services: [{{envoy_grpc: {{cluster_name: xds-grpc}}}}]
  cds_config: {{ads: {{}}, initial_fetch_timeout: 0s, resource_api_version: V3}}
  lds_config: {{ads: {{}}, initial_fetch_timeout: 0s, resource_api_version: V3}}
static_resources:
  clusters:
  - name: xds-grpc
    type: STATIC
    connect_timeout: 1s
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        '@type': type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {{http2_protocol_options: {{}}}}
    load_assignment:
      cluster_name: xds-grpc
      endpoints:
      - lb_endpoints:
        - endpoint: {{address: {{socket_address: {{address: {}, port_value: {}}}}}}}
",
        xds.ip(),
        xds.port()
    )
}

impl Envoy {
    async fn start(program: &PathBuf, node: &str, xds: SocketAddr, delta: bool) -> Envoy {
        let name = format!("lateen-envoy-{}-{}-{delta}", std::process::id(), &node[..6]);
        let directory = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&directory).unwrap();
        let (config, address) = (directory.join("envoy.yaml"), directory.join("admin"));
        std::fs::write(&config, bootstrap(node, xds, delta)).unwrap();
        let log = std::fs::File::create(directory.join("log")).unwrap();
        let child = Command::new(program)
            .args(["--concurrency", "1", "--disable-hot-restart", "-l", "warning", "-c"])
            .arg(&config)
            .arg("--admin-address-path")
            .arg(&address)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut envoy = Envoy { child, admin: ([127, 0, 0, 1], 0).into(), directory };
        let deadline = Instant::now() + PATIENCE;
        envoy.admin = loop {
            let text = std::fs::read_to_string(&address).unwrap_or_default();
            if let Ok(admin) = text.parse() {
                break admin;
            }
            assert!(Instant::now() < deadline, "envoy does not start:\n{}", envoy.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        envoy
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.directory.join("log")).unwrap_or_default()
    }

    async fn stat(&self, name: &str) -> u64 {
        let (_, body) = get(self.admin, &format!("/stats?filter=^{}$", name.replace('.', "\\."))).await;
        let value = body.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")));
        value.and_then(|text| text.trim().parse().ok()).unwrap_or(0)
    }

    /// Waits until a page contains a text.
    async fn shows(&self, page: &str, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let (_, body) = get(self.admin, page).await;
            if body.contains(text) {
                return;
            }
            assert!(Instant::now() < deadline, "{page} never shows {text}:\n{body}\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn refused_nothing(&self) {
        let (_, stats) = get(self.admin, "/stats?filter=update_rejected").await;
        let refused: Vec<&str> = stats.lines().filter(|l| l.contains(": ") && !l.ends_with(": 0")).collect();
        assert!(refused.is_empty(), "{refused:?}\n{}", self.log());
        assert!(self.stat("cluster_manager.cds.update_success").await > 0, "{}", self.log());
        assert!(self.stat("listener_manager.lds.update_success").await > 0, "{}", self.log());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_takes_everything_as_sidecar_and_as_gateway_over_both_protocols() {
    let Some(program) = program() else { return };
    let api = FakeApi::start().await;
    bookinfo(&api);
    ingress(&api);
    let running = Running::start(api).await;
    for delta in [true, false] {
        let sidecar = Envoy::start(&program, SIDECAR, running.addresses.xds, delta).await;
        sidecar.shows("/ready", "LIVE").await;
        sidecar.shows("/listeners", "virtualOutbound").await;
        sidecar
            .shows("/clusters", "outbound|9080|v2|reviews.default.svc.cluster.local::10.244.3.2:9080")
            .await;
        running.api.put(VIRTUAL_SERVICES, split(10));
        sidecar.shows("/config_dump?resource=dynamic_route_configs", "\"weight\": 10").await;
        running.api.put(VIRTUAL_SERVICES, split(20));
        sidecar.shows("/config_dump?resource=dynamic_route_configs", "\"weight\": 20").await;
        sidecar.refused_nothing().await;

        let gateway = Envoy::start(&program, GATEWAY, running.addresses.xds, delta).await;
        gateway.shows("/ready", "LIVE").await;
        gateway.shows("/listeners", "0.0.0.0_8080").await;
        gateway.shows("/config_dump?resource=dynamic_route_configs", "/productpage").await;
        gateway.refused_nothing().await;

        let syncz = get_json(running.addresses.http, "/debug/syncz").await;
        for line in syncz.as_array().unwrap() {
            for kind in ["cluster", "listener", "route"] {
                assert_eq!(line[format!("{kind}_status")], "SYNCED", "{line}");
            }
        }
    }
    running.stop().await;
}
