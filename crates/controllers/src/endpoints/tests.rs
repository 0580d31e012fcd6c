use std::sync::Arc;

use k8s_openapi::api::core::v1::{Endpoints, Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::ResourceExt;
use serde_json::{Value, json};

use super::{backend, legacy, mirror, selects, slices};
use crate::store::Store;

fn service(spec: Value) -> Service {
    let mut spec = spec;
    spec["selector"] = json!({ "app": "web" });
    serde_json::from_value(json!({
        "metadata": { "name": "web", "namespace": "default", "uid": "s", "labels": { "team": "a" } }, "spec": spec,
    }))
    .unwrap()
}

fn pod(name: &str, ip: &str, ready: bool) -> Value {
    let ready = if ready { "True" } else { "False" };
    json!({
        "metadata": { "name": name, "namespace": "default", "uid": name, "labels": { "app": "web" } },
        "spec": { "nodeName": "lateen", "containers": [
            { "name": "web", "ports": [{ "name": "http", "containerPort": 8080 }] },
        ] },
        "status": { "phase": "Running", "podIP": ip, "conditions": [{ "type": "Ready", "status": ready }] },
    })
}

fn pods(list: &[Value]) -> Vec<Arc<Pod>> {
    list.iter().map(|pod| Arc::new(serde_json::from_value(pod.clone()).unwrap())).collect()
}

fn nodes() -> Store<Node> {
    let nodes = Store::default();
    let zone = json!({ "topology.kubernetes.io/zone": "z1" });
    nodes.apply(serde_json::from_value(json!({ "metadata": { "name": "lateen", "labels": zone } })).unwrap());
    nodes
}

fn created(service: &Service, list: &[Value]) -> Vec<EndpointSlice> {
    slices::plan(service, &backend::all(service, &pods(list), &nodes()), &[]).create
}

#[test]
fn a_slice_names_addresses_ports_conditions_and_targets() {
    let service = service(json!({ "clusterIP": "10.96.0.5", "ports": [
        { "name": "http", "port": 80, "targetPort": "http", "appProtocol": "http" },
    ] }));
    let slices = created(&service, &[pod("a", "10.244.0.2", true), pod("b", "10.244.0.3", false)]);
    assert_eq!(slices.len(), 1);
    let slice = json!(slices[0]);
    assert_eq!(
        slice["ports"],
        json!([{ "name": "http", "port": 8080, "protocol": "TCP", "appProtocol": "http" }])
    );
    assert_eq!(
        slice["endpoints"][0],
        json!({
            "addresses": ["10.244.0.2"], "conditions": { "ready": true, "serving": true, "terminating": false },
            "nodeName": "lateen", "zone": "z1",
            "targetRef": { "kind": "Pod", "name": "a", "namespace": "default", "uid": "a" },
        })
    );
    assert_eq!(slice["endpoints"][1]["conditions"]["ready"], false);
    let labels = slices[0].labels();
    assert_eq!(labels["kubernetes.io/service-name"], "web");
    assert_eq!(labels["team"], "a");
    assert_eq!(slices[0].metadata.generate_name.as_deref(), Some("web-"));
}

#[test]
fn pods_that_end_are_marked_and_those_that_ended_are_left_out() {
    let mut ending = pod("a", "10.244.0.2", true);
    ending["metadata"]["deletionTimestamp"] = json!("2024-01-01T00:00:00Z");
    let mut ended = pod("b", "10.244.0.3", false);
    ended["status"]["phase"] = json!("Succeeded");
    let mut unplaced = pod("c", "", false);
    unplaced["status"]["podIP"] = Value::Null;
    let service = service(json!({ "ports": [{ "port": 80 }] }));
    let list = [ending, ended, unplaced];
    let slices = created(&service, &list);
    assert_eq!(slices[0].endpoints.len(), 1);
    let conditions = json!(slices[0].endpoints[0].conditions);
    assert_eq!(conditions, json!({ "ready": false, "serving": true, "terminating": true }));
    let endpoints = legacy::endpoints(&service, &backend::all(&service, &pods(&list), &nodes()));
    assert_eq!(endpoints.subsets, None);
}

#[test]
fn not_ready_addresses_are_published_on_request() {
    let service = service(json!({ "publishNotReadyAddresses": true, "ports": [{ "port": 80 }] }));
    let slices = created(&service, &[pod("a", "10.244.0.2", false)]);
    assert_eq!(slices[0].endpoints[0].conditions.as_ref().unwrap().ready, Some(true));
}

#[test]
fn headless_services_give_hostnames_and_the_label() {
    let mut peer = pod("web-0", "10.244.0.2", true);
    peer["spec"]["hostname"] = json!("web-0");
    peer["spec"]["subdomain"] = json!("web");
    let service = service(json!({ "clusterIP": "None" }));
    let slices = created(&service, &[peer]);
    assert_eq!(slices[0].endpoints[0].hostname.as_deref(), Some("web-0"));
    assert!(slices[0].labels().contains_key("service.kubernetes.io/headless"));
    assert_eq!(slices[0].ports, None);
}

#[test]
fn pods_that_serve_a_name_on_different_ports_go_into_different_slices() {
    let mut other = pod("b", "10.244.0.3", true);
    other["spec"]["containers"][0]["ports"][0]["containerPort"] = json!(9090);
    let service = service(json!({ "ports": [{ "port": 80, "targetPort": "http" }] }));
    let list = [pod("a", "10.244.0.2", true), other];
    let ports: Vec<_> =
        created(&service, &list).iter().map(|s| s.ports.as_ref().unwrap()[0].port.unwrap()).collect();
    assert_eq!(ports, [8080, 9090]);
    let endpoints = legacy::endpoints(&service, &backend::all(&service, &pods(&list), &nodes()));
    assert_eq!(endpoints.subsets.unwrap().len(), 2);
}

#[test]
fn a_service_without_pods_has_an_empty_slice() {
    let slices = created(&service(json!({ "ports": [{ "port": 80, "targetPort": 8080 }] })), &[]);
    assert_eq!((slices.len(), slices[0].endpoints.len()), (1, 0));
    assert_eq!(slices[0].ports.as_ref().unwrap()[0].port, Some(8080));
}

#[test]
fn slices_hold_a_hundred_endpoints_each() {
    let list: Vec<_> =
        (0..250).map(|i| pod(&format!("p{i}"), &format!("10.244.1.{}", i % 250 + 1), true)).collect();
    let sizes: Vec<_> = created(&service(json!({ "ports": [{ "port": 80 }] })), &list)
        .iter()
        .map(|s| s.endpoints.len())
        .collect();
    assert_eq!(sizes, [100, 100, 50]);
}

#[test]
fn an_unchanged_service_causes_no_writes_and_a_changed_pod_one_update() {
    let service = service(json!({ "ports": [{ "port": 80, "targetPort": 8080 }] }));
    let existing: Vec<_> = created(&service, &[pod("a", "10.244.0.2", false)])
        .into_iter()
        .map(|mut slice| {
            slice.metadata.name = Some("web-abcde".into());
            Arc::new(slice)
        })
        .collect();
    let plan =
        |list: &[Value]| slices::plan(&service, &backend::all(&service, &pods(list), &nodes()), &existing);
    let same = plan(&[pod("a", "10.244.0.2", false)]);
    assert!(same.create.is_empty() && same.update.is_empty() && same.delete.is_empty(), "{same:?}");
    let ready = plan(&[pod("a", "10.244.0.2", true)]);
    assert_eq!((ready.create.len(), ready.update.len(), ready.delete.len()), (0, 1, 0));
    assert_eq!(ready.update[0].name_any(), "web-abcde");
}

#[test]
fn both_families_get_slices_of_their_own() {
    let mut dual = pod("a", "10.244.0.2", true);
    dual["status"]["podIPs"] = json!([{ "ip": "10.244.0.2" }, { "ip": "fd00::2" }]);
    let service = service(json!({ "ipFamilies": ["IPv4", "IPv6"], "ports": [{ "port": 80 }] }));
    let slices = created(&service, &[dual]);
    let found: Vec<_> =
        slices.iter().map(|s| (s.address_type.as_str(), s.endpoints[0].addresses[0].as_str())).collect();
    assert_eq!(found, [("IPv4", "10.244.0.2"), ("IPv6", "fd00::2")]);
}

#[test]
fn legacy_endpoints_tell_ready_from_not_ready() {
    let service = service(json!({ "ports": [{ "port": 80, "targetPort": 8080 }] }));
    let list = [pod("a", "10.244.0.2", true), pod("b", "10.244.0.3", false)];
    let endpoints = legacy::endpoints(&service, &backend::all(&service, &pods(&list), &nodes()));
    let subset = json!(endpoints.subsets.unwrap()[0]);
    assert_eq!(subset["addresses"][0]["ip"], "10.244.0.2");
    assert_eq!(subset["notReadyAddresses"][0]["ip"], "10.244.0.3");
    assert_eq!(subset["ports"], json!([{ "port": 8080, "protocol": "TCP" }]));
}

#[test]
fn services_without_a_selector_and_external_names_select_nothing() {
    let labels = [("app".to_owned(), "web".to_owned())].into();
    assert!(selects(&service(json!({})), Some(&labels)));
    assert!(!selects(&service(json!({ "type": "ExternalName" })), Some(&labels)));
    assert!(!selects(&Service::default(), Some(&labels)));
}

#[test]
fn endpoints_of_the_user_are_mirrored() {
    let service: Service =
        serde_json::from_value(json!({ "metadata": { "name": "db", "namespace": "default" } })).unwrap();
    let endpoints: Endpoints = serde_json::from_value(json!({
        "metadata": { "name": "db", "namespace": "default", "uid": "e" },
        "subsets": [{ "addresses": [{ "ip": "192.0.2.1" }], "notReadyAddresses": [{ "ip": "192.0.2.2" }],
                      "ports": [{ "name": "sql", "port": 3306 }] }],
    }))
    .unwrap();
    let plan = mirror::plan(&service, &endpoints, &[]);
    assert_eq!(plan.create.len(), 1);
    let slice = json!(plan.create[0]);
    assert_eq!(slice["endpoints"][0]["addresses"], json!(["192.0.2.1"]));
    assert_eq!(slice["endpoints"][1]["conditions"]["ready"], false);
    assert_eq!(slice["ports"], json!([{ "name": "sql", "port": 3306, "protocol": "TCP" }]));
    assert_eq!(slice["metadata"]["labels"]["endpointslice.kubernetes.io/managed-by"], mirror_manager());
}

fn mirror_manager() -> &'static str {
    "endpointslicemirroring-controller.k8s.io"
}
