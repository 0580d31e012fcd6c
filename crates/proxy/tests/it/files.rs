//! Configuration that comes from files.

use crate::harness::*;
use lateen_proxy::bootstrap::{Options, load};
use lateen_proxy::run::{Server, Settings};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

/// A directory that goes with the test.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("lateen-it-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Directory(path)
    }

    /// Puts a file in place as Kubernetes and careful users do: written apart, then moved.
    fn put(&self, name: &str, text: &str) -> PathBuf {
        let (path, new) = (self.0.join(name), self.0.join(format!(".{name}")));
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, &path).unwrap();
        path
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn endpoints(address: SocketAddr) -> String {
    format!(
        "resources:
- \"@type\": type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment
  cluster_name: web
  endpoints:
  - lb_endpoints:
    - endpoint: {{ address: {{ socket_address: {{ address: {}, port_value: {} }} }} }}
",
        address.ip(),
        address.port()
    )
}

fn clusters(eds: &Path) -> String {
    format!(
        "resources:
- \"@type\": type.googleapis.com/envoy.config.cluster.v3.Cluster
  name: web
  type: EDS
  eds_cluster_config: {{ eds_config: {{ path_config_source: {{ path: {} }} }} }}
",
        eds.display()
    )
}

const LISTENERS: &str = r#"resources:
- "@type": type.googleapis.com/envoy.config.listener.v3.Listener
  name: http
  address: { socket_address: { address: 127.0.0.1, port_value: 0 } }
  filter_chains:
  - filters:
    - name: http
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
        stat_prefix: files
        route_config:
          virtual_hosts: [{ name: all, domains: ["*"], routes: [{ match: { prefix: / }, route: { cluster: web } }] }]
        http_filters:
        - name: router
          typed_config: { "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }
"#;

pub fn wait_for(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + WAIT;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

pub fn start(yaml: String) -> (tokio::runtime::Runtime, Arc<Server>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let bootstrap = load(&Options { config_yaml: Some(yaml), ..Options::default() }).unwrap();
    let settings = Settings { concurrency: Some(1), ..Settings::default() };
    let server = runtime.block_on(Server::start(bootstrap, settings)).unwrap();
    (runtime, server)
}

#[test]
fn listeners_clusters_and_endpoints_come_from_files_and_follow_them() {
    let directory = Directory::new("all");
    let eds = directory.put("eds.yaml", &endpoints(says("first")));
    let cds = directory.put("cds.yaml", &clusters(&eds));
    let lds = directory.put("lds.yaml", LISTENERS);
    let (_runtime, server) = start(format!(
        "{{node: {{id: n}}, dynamic_resources: {{cds_config: {{path_config_source: {{path: {}}}}}, \
         lds_config: {{path: {}}}}}}}",
        cds.display(),
        lds.display()
    ));
    wait_for("ready", || server.is_ready());
    let address = server.bound_addresses("http")[0];
    assert_eq!(get(address, "/").body, "first");
    directory.put("eds.yaml", &endpoints(says("second")));
    wait_for("the second endpoint", || get(address, "/").body == "second");
    // What cannot be used changes nothing, and what comes later does.
    directory.put("eds.yaml", "resources: [");
    let rejected = || server.stats.xds[3].rejected.load(std::sync::atomic::Ordering::Relaxed);
    wait_for("the broken file is seen", || rejected() > 0);
    assert_eq!(get(address, "/").body, "second");
    directory.put("eds.yaml", &endpoints(says("third")));
    wait_for("the third endpoint", || get(address, "/").body == "third");
    directory.put("lds.yaml", "resources: []");
    wait_for("the listener is gone", || server.bound_addresses("http").is_empty());
    server.stop();
}

#[test]
fn a_static_cluster_takes_endpoints_from_a_file_that_comes_later() {
    let directory = Directory::new("static");
    let eds = directory.0.join("eds.yaml");
    let listener = LISTENERS.replace("resources:", "listeners:").replace(
        "- \"@type\": type.googleapis.com/envoy.config.listener.v3.Listener\n  name: http",
        "- name: http",
    );
    let cluster = format!(
        "{{name: web, type: EDS, eds_cluster_config: {{eds_config: {{path_config_source: {{path: {}}}}}}}}}",
        eds.display()
    );
    let indented: String = listener.lines().map(|line| format!("  {line}\n")).collect();
    let (_runtime, server) = start(format!("static_resources:\n  clusters: [{cluster}]\n{indented}"));
    let address = server.bound_addresses("http")[0];
    assert_eq!(get(address, "/").status(), 503);
    directory.put("eds.yaml", &endpoints(says("late")));
    wait_for("the endpoint", || get(address, "/").body == "late");
    server.stop();
}
