//! Services, workloads and endpoints.

use std::sync::Arc;

use lateen_mesh::{Change, ConfigKey, Kind, Labels, ServiceId, World};

use crate::kit::{WEB, put};

fn id(name: &str) -> ServiceId {
    ServiceId { host: format!("{name}.default.svc.cluster.local").into(), namespace: "default".into() }
}

#[test]
fn endpoints_are_the_ready_addresses_with_their_pods_labels() {
    let mut world = World::new();
    put(&mut world, WEB);
    let (mesh, _) = world.snapshot();
    let endpoints = mesh.endpoints(&id("web"));
    let [one] = endpoints.of_port(80) else { panic!("{endpoints:?}") };
    assert_eq!((&*one.address, one.port), ("10.244.0.1", 8080));
    assert_eq!(one.labels.get("version").map(String::as_str), Some("v1"));
    assert_eq!(one.workload.as_ref().map(|w| w.identity.canonical_name.as_str()), Some("web"));
    assert!(mesh.endpoints(&id("other")).of_port(1234).is_empty());
}

#[test]
fn udp_ports_are_not_proxied() {
    let mut world = World::new();
    put(&mut world, WEB);
    let (mesh, _) = world.snapshot();
    let other = mesh.service_for("other.default.svc.cluster.local", "default").unwrap();
    assert_eq!(other.ports.iter().map(|p| p.number).collect::<Vec<_>>(), [1234]);
}

#[test]
fn an_endpoint_change_rebuilds_the_endpoints_of_its_service_and_nothing_else() {
    let mut world = World::new();
    put(&mut world, WEB);
    let (before, _) = world.snapshot();
    let ready = WEB.split("---").last().unwrap().replace("ready: false", "ready: true");
    assert_eq!(put(&mut world, &ready), Change::Endpoints);
    let (after, changes) = world.snapshot();
    assert!(changes.endpoints_only());
    assert_eq!(changes.endpoints.iter().collect::<Vec<_>>(), [&id("web")]);
    assert_eq!(after.endpoints(&id("web")).of_port(80).len(), 2);
    assert!(Arc::ptr_eq(&before.services, &after.services));
    assert!(Arc::ptr_eq(&before.virtual_services, &after.virtual_services));
    assert!(Arc::ptr_eq(before.endpoints(&id("other")), after.endpoints(&id("other"))));
}

#[test]
fn what_the_mesh_does_not_read_changes_nothing() {
    let mut world = World::new();
    put(&mut world, WEB);
    let (before, _) = world.snapshot();
    let touched = WEB.replace("metadata: {name: web}", "metadata: {name: web, resourceVersion: '9'}");
    assert_eq!(put(&mut world, &touched), Change::None);
    let (after, changes) = world.snapshot();
    assert!(changes.is_empty() && Arc::ptr_eq(&before, &after));
}

#[test]
fn relabelled_pods_and_nodes_reach_the_endpoints() {
    let mut world = World::new();
    put(&mut world, WEB);
    world.snapshot();
    let pod = WEB.split("---").nth(2).unwrap();
    put(&mut world, &pod.replace("version: v1", "version: v2"));
    let node = "
kind: Node
metadata: {name: node-1, labels: {topology.kubernetes.io/region: eu, topology.kubernetes.io/zone: eu-1}}
";
    put(&mut world, node);
    let (mesh, changes) = world.snapshot();
    assert!(changes.endpoints.contains(&id("web")));
    let endpoint = &mesh.endpoints(&id("web")).of_port(80)[0];
    assert_eq!(endpoint.labels.get("version").map(String::as_str), Some("v2"));
    assert_eq!((&*endpoint.locality.region, &*endpoint.locality.zone), ("eu", "eu-1"));
}

#[test]
fn a_pod_serves_the_services_that_select_it_on_its_named_ports() {
    let mut world = World::new();
    put(&mut world, WEB);
    let (mesh, _) = world.snapshot();
    let pod = mesh.workload("default", "web-0").unwrap();
    let inbound = mesh.inbound("default", &pod.labels, |name| pod.named_port(name));
    let found: Vec<_> = inbound.iter().map(|i| (&*i.service.meta.name, i.port.number, i.target)).collect();
    assert_eq!(found, [("web", 80, 8080)]);
    assert!(mesh.inbound("elsewhere", &pod.labels, |_| None).is_empty());
    assert!(mesh.inbound("default", &Labels::new(), |_| None).is_empty());
}

#[test]
fn service_entries_take_workloads_that_they_select() {
    let mut world = World::new();
    put(&mut world, WEB);
    put(
        &mut world,
        "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: mixed}
spec:
  hosts: [mixed.example.com]
  resolution: STATIC
  location: MESH_INTERNAL
  ports: [{number: 80, name: http, protocol: HTTP, targetPort: 8888}]
  workloadSelector: {labels: {app: web}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: vm}
spec: {address: 192.0.2.7, labels: {app: web}, ports: {http: 9999}, locality: eu/eu-2}
",
    );
    let (mesh, _) = world.snapshot();
    let service = mesh.service_for("mixed.example.com", "default").unwrap();
    let endpoints = mesh.endpoints(&service.id).of_port(80);
    let found: Vec<_> = endpoints.iter().map(|e| (&*e.address, e.port, &*e.locality.zone)).collect();
    assert_eq!(found, [("10.244.0.1", 8888, ""), ("192.0.2.7", 9999, "eu-2")]);
    world.remove(&ConfigKey::new(Kind::WorkloadEntry, "default", "vm"));
    let (mesh, _) = world.snapshot();
    assert_eq!(mesh.endpoints(&service.id).of_port(80).len(), 1);
}

#[test]
fn a_removed_service_is_gone_with_its_endpoints() {
    let mut world = World::new();
    put(&mut world, WEB);
    world.snapshot();
    assert_eq!(world.remove(&ConfigKey::new(Kind::Service, "default", "web")), Change::Config);
    let (mesh, changes) = world.snapshot();
    assert!(changes.config && changes.endpoints.contains(&id("web")));
    assert!(mesh.service_for("web.default.svc.cluster.local", "default").is_none());
    assert!(mesh.endpoints(&id("web")).by_port.is_empty());
}
