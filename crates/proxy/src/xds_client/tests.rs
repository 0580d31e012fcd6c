use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use lateen_xds::client::{Client, Flavour, Update};
use lateen_xds::json::Pool;
use lateen_xds::pb::envoy::config::core::v3::Node;
use lateen_xds::pb::envoy::service::discovery::v3::{DeltaDiscoveryResponse, Resource};
use lateen_xds::{TypeUrl, any};
use prost::{Message, Name};

use super::Applier;
use crate::convert::tests::context;

struct Bench {
    applier: Applier,
    client: Client,
    changes: Arc<AtomicU32>,
}

fn bench() -> Bench {
    let changes = Arc::new(AtomicU32::new(0));
    let counted = changes.clone();
    let on_listeners = Arc::new(move || {
        counted.fetch_add(1, Ordering::Relaxed);
    });
    let applier = Applier::new(Arc::new(context()), Arc::default(), Arc::default(), true, on_listeners);
    let mut client = Client::new(Node::default(), Flavour::Delta);
    client.subscribe_all(TypeUrl::Cluster);
    client.subscribe_all(TypeUrl::Listener);
    Bench { applier, client, changes }
}

fn resource<M: Message + Name + Default>(name: &str, yaml: &str) -> Resource {
    let message: M = Pool::load().unwrap().read(yaml).unwrap();
    Resource {
        name: name.to_owned(),
        version: "1".to_owned(),
        resource: Some(any(&message)),
        ..Resource::default()
    }
}

impl Bench {
    /// Sends resources through client and applier; the reasons of rejections.
    fn send(&mut self, kind: TypeUrl, resources: Vec<Resource>, removed: &[&str]) -> Vec<String> {
        self.applier.subscribe(&mut self.client);
        let update: Update = self
            .client
            .receive_delta(DeltaDiscoveryResponse {
                type_url: kind.as_str().to_owned(),
                resources,
                removed_resources: removed.iter().map(|name| (*name).to_owned()).collect(),
                ..DeltaDiscoveryResponse::default()
            })
            .unwrap();
        let rejected = self.applier.apply(&update);
        self.client.settle(&update, &rejected);
        rejected.into_iter().map(|rejection| format!("{}: {}", rejection.name, rejection.reason)).collect()
    }

    fn cluster_in_force(&self, name: &str) -> bool {
        self.applier.context.store.clusters().contains_key(name)
    }

    fn listeners(&self) -> usize {
        self.applier.context.store.listeners().by_name.len()
    }
}

fn eds(name: &str) -> Resource {
    let yaml = format!(
        "{{name: {name}, type: EDS, eds_cluster_config: {{eds_config: {{ads: {{}}, initial_fetch_timeout: 0s}}}}}}"
    );
    resource::<lateen_xds::pb::envoy::config::cluster::v3::Cluster>(name, &yaml)
}

fn assignment(name: &str) -> Resource {
    let yaml = format!(
        "{{cluster_name: {name}, endpoints: [{{lb_endpoints: [{{endpoint: {{address: {{socket_address: \
         {{address: 10.0.0.1, port_value: 80}}}}}}}}]}}]}}"
    );
    resource::<lateen_xds::pb::envoy::config::endpoint::v3::ClusterLoadAssignment>(name, &yaml)
}

pub(super) fn listener(name: &str, routes: &str) -> Resource {
    let hcm = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
    let yaml = format!(
        r#"
name: {name}
address: {{ socket_address: {{ address: 127.0.0.1, port_value: 0 }} }}
filter_chains:
- filters:
  - name: http
    typed_config:
      "@type": type.googleapis.com/{hcm}
      stat_prefix: x
      rds: {{ route_config_name: "{routes}", config_source: {{ ads: {{}}, initial_fetch_timeout: 0s }} }}
      http_filters:
      - name: router
        typed_config: {{ "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }}
"#
    );
    resource::<lateen_xds::pb::envoy::config::listener::v3::Listener>(name, &yaml)
}

pub(super) fn routes(yaml: &str) -> Resource {
    resource::<lateen_xds::pb::envoy::config::route::v3::RouteConfiguration>("80", yaml)
}

#[tokio::test]
async fn a_cluster_is_used_when_its_endpoints_have_come() {
    let mut bench = bench();
    assert!(bench.send(TypeUrl::Cluster, vec![eds("a")], &[]).is_empty());
    assert!(!bench.cluster_in_force("a"));
    assert!(bench.send(TypeUrl::Endpoints, vec![assignment("a")], &[]).is_empty());
    assert!(bench.cluster_in_force("a"));
}

#[tokio::test]
async fn a_listener_waits_for_clusters_and_routes() {
    let mut bench = bench();
    bench.send(TypeUrl::Cluster, vec![eds("a")], &[]);
    bench.send(TypeUrl::Listener, vec![listener("l", "80")], &[]);
    bench.send(TypeUrl::Endpoints, vec![assignment("a")], &[]);
    assert_eq!((bench.listeners(), bench.changes.load(Ordering::Relaxed)), (0, 0));
    bench.send(TypeUrl::Route, vec![routes("{name: '80', virtual_hosts: [{name: a, domains: ['*']}]}")], &[]);
    assert_eq!((bench.listeners(), bench.changes.load(Ordering::Relaxed)), (1, 1));
    assert!(bench.applier.stats.live.load(Ordering::Relaxed));
}

#[tokio::test]
async fn virtual_hosts_come_and_go_one_by_one() {
    let mut bench = bench();
    bench.send(TypeUrl::Cluster, Vec::new(), &[]);
    bench.send(TypeUrl::Listener, vec![listener("l", "80")], &[]);
    bench.send(TypeUrl::Route, vec![routes("{name: '80', vhds: {config_source: {ads: {}}}}")], &[]);
    assert_eq!(bench.listeners(), 0, "no virtual host has come");
    let host = |name: &str| {
        let yaml = format!(
            "{{name: {name}, domains: [{name}], routes: [{{match: {{prefix: /}}, route: {{cluster: c}}}}]}}"
        );
        resource::<lateen_xds::pb::envoy::config::route::v3::VirtualHost>(&format!("80/{name}"), &yaml)
    };
    assert!(bench.send(TypeUrl::VirtualHost, vec![host("a"), host("b")], &[]).is_empty());
    assert_eq!(bench.listeners(), 1);
    bench.send(TypeUrl::VirtualHost, Vec::new(), &["80/a"]);
    let table = bench.applier.context.store.route_slot("80").load().unwrap();
    assert!(table.find(b"a").is_none() && table.find(b"b").is_some());
}

#[tokio::test]
async fn a_bad_resource_is_rejected_by_name_and_the_last_good_one_stays() {
    let mut bench = bench();
    bench.send(TypeUrl::Cluster, vec![eds("a")], &[]);
    bench.send(TypeUrl::Endpoints, vec![assignment("a")], &[]);
    let bad = resource::<lateen_xds::pb::envoy::config::cluster::v3::Cluster>("a", "{name: a, type: STATIC}");
    let rejected = bench.send(TypeUrl::Cluster, vec![bad, eds("b")], &[]);
    assert_eq!(rejected.len(), 1);
    assert!(rejected[0].starts_with("a: load_assignment: is required"), "{rejected:?}");
    assert!(bench.cluster_in_force("a"));
    bench.send(TypeUrl::Endpoints, vec![assignment("b")], &[]);
    assert!(bench.cluster_in_force("b"), "the good one of the same response is used");
}

#[tokio::test]
async fn a_removed_cluster_is_gone() {
    let mut bench = bench();
    bench.send(TypeUrl::Cluster, vec![eds("a")], &[]);
    bench.send(TypeUrl::Endpoints, vec![assignment("a")], &[]);
    bench.send(TypeUrl::Cluster, Vec::new(), &["a"]);
    assert!(!bench.cluster_in_force("a"));
}
