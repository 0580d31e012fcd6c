//! The mesh that is measured: services of two versions with one pod each, a rule of two subsets and a route that
//! splits between them.

use lateen_mesh::Resource;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// Every object of the mesh.
pub fn all(services: usize) -> impl Iterator<Item = Resource> {
    (0..services).flat_map(|n| [service(n), pod(n, 1), pod(n, 2), slice(n, &[1, 2]), rule(n), route(n, 50)])
}

/// Another split for one service.
pub fn route_change(round: usize) -> Resource {
    route(7, 10 + (round as u32 % 80))
}

/// One endpoint of a service goes and comes.
pub fn endpoint_change(round: usize) -> Resource {
    if round.is_multiple_of(2) { slice(7, &[1]) } else { slice(7, &[1, 2]) }
}

/// Name of a pod.
pub fn pod_name(n: usize, version: usize) -> String {
    format!("svc-{n}-v{version}")
}

/// Address of a pod.
pub fn pod_ip(n: usize, version: usize) -> String {
    format!("10.{}.{}.{version}", 100 + n / 250, n % 250)
}

fn meta(name: &str) -> Value {
    json!({"namespace": "default", "name": name, "creationTimestamp": "2026-01-01T00:00:00Z"})
}

fn read<T: DeserializeOwned>(value: Value) -> T
where
    Resource: From<T>,
{
    serde_json::from_value(value).expect("the objects of this file are well formed")
}

fn service(n: usize) -> Resource {
    let ip = format!("10.96.{}.{}", n / 250, n % 250 + 1);
    Resource::from(read::<k8s_openapi::api::core::v1::Service>(json!({
        "apiVersion": "v1", "kind": "Service", "metadata": meta(&format!("svc-{n}")),
        "spec": {
            "clusterIP": ip, "clusterIPs": [ip], "selector": {"app": format!("svc-{n}")},
            "ports": [{"name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP"}],
        },
    })))
}

fn pod(n: usize, version: usize) -> Resource {
    let mut metadata = meta(&pod_name(n, version));
    metadata["labels"] = json!({"app": format!("svc-{n}"), "version": format!("v{version}")});
    let ip = pod_ip(n, version);
    Resource::from(read::<k8s_openapi::api::core::v1::Pod>(json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": metadata,
        "spec": {"containers": [{"name": "app", "image": "app", "ports": [{"containerPort": 8080}]}]},
        "status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}],
                   "conditions": [{"type": "Ready", "status": "True"}]},
    })))
}

fn slice(n: usize, versions: &[usize]) -> Resource {
    let mut metadata = meta(&format!("svc-{n}-x"));
    metadata["labels"] = json!({"kubernetes.io/service-name": format!("svc-{n}")});
    let endpoints: Vec<Value> = versions
        .iter()
        .map(|version| {
            json!({"addresses": [pod_ip(n, *version)], "conditions": {"ready": true},
                   "targetRef": {"kind": "Pod", "namespace": "default", "name": pod_name(n, *version)}})
        })
        .collect();
    Resource::from(read::<k8s_openapi::api::discovery::v1::EndpointSlice>(json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": metadata, "addressType": "IPv4",
        "endpoints": endpoints, "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
    })))
}

fn rule(n: usize) -> Resource {
    let subsets = ["v1", "v2"].map(|v| json!({"name": v, "labels": {"version": v}}));
    Resource::from(read::<lateen_api::DestinationRule>(json!({
        "apiVersion": "networking.istio.io/v1", "kind": "DestinationRule", "metadata": meta(&format!("svc-{n}")),
        "spec": {"host": format!("svc-{n}"), "subsets": subsets},
    })))
}

fn route(n: usize, v1: u32) -> Resource {
    let host = format!("svc-{n}");
    let to = |subset: &str, weight: u32| json!({"destination": {"host": host, "subset": subset}, "weight": weight});
    Resource::from(read::<lateen_api::VirtualService>(json!({
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": meta(&host),
        "spec": {"hosts": [host], "http": [{"route": [to("v1", v1), to("v2", 100 - v1)]}]},
    })))
}
