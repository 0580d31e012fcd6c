//! Objects as a cluster would hold them.

use serde_json::{Value, json};

use crate::fake_api::FakeApi;

pub const SERVICES: &str = "/api/v1/services";
pub const PODS: &str = "/api/v1/pods";
pub const NAMESPACES: &str = "/api/v1/namespaces";
pub const SLICES: &str = "/apis/discovery.k8s.io/v1/endpointslices";
pub const VIRTUAL_SERVICES: &str = "/apis/networking.istio.io/v1/virtualservices";
pub const DESTINATION_RULES: &str = "/apis/networking.istio.io/v1/destinationrules";
pub const GATEWAYS: &str = "/apis/networking.istio.io/v1/gateways";
pub const LEASES: &str = "/apis/coordination.k8s.io/v1/leases";
pub const MUTATING: &str = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations";

pub fn meta(namespace: &str, name: &str) -> Value {
    json!({"namespace": namespace, "name": name, "creationTimestamp": "2026-01-01T00:00:00Z"})
}

/// A service with a pod for each version, on port 9080.
pub fn deploy(api: &FakeApi, number: u8, name: &str, versions: &[&str]) {
    api.put(
        SERVICES,
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": meta("default", name),
            "spec": {
                "clusterIP": format!("10.96.1.{number}"), "clusterIPs": [format!("10.96.1.{number}")],
                "selector": {"app": name},
                "ports": [{"name": "http", "port": 9080, "targetPort": 9080, "protocol": "TCP"}],
            },
        }),
    );
    let mut endpoints = Vec::new();
    for (at, version) in versions.iter().enumerate() {
        let ip = format!("10.244.{number}.{}", at + 1);
        let pod = format!("{name}-{version}");
        let mut metadata = meta("default", &pod);
        metadata["labels"] = json!({"app": name, "version": version});
        api.put(
            PODS,
            json!({
                "apiVersion": "v1", "kind": "Pod", "metadata": metadata,
                "spec": {
                    "containers": [{"name": name, "image": name, "ports": [{"containerPort": 9080}]}],
                    "serviceAccountName": format!("bookinfo-{name}"),
                },
                "status": {
                    "phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}],
                    "conditions": [{"type": "Ready", "status": "True"}],
                },
            }),
        );
        endpoints.push(json!({
            "addresses": [ip], "conditions": {"ready": true, "serving": true},
            "targetRef": {"kind": "Pod", "namespace": "default", "name": pod},
        }));
    }
    let mut metadata = meta("default", &format!("{name}-abc"));
    metadata["labels"] = json!({"kubernetes.io/service-name": name});
    api.put(
        SLICES,
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": metadata,
            "addressType": "IPv4", "endpoints": endpoints,
            "ports": [{"name": "http", "port": 9080, "protocol": "TCP"}],
        }),
    );
}

/// Bookinfo's four services and the rules of its tutorial.
pub fn bookinfo(api: &FakeApi) {
    let subsets = ["v1", "v2", "v3"].map(|v| json!({"name": v, "labels": {"version": v}}));
    deploy(api, 1, "productpage", &["v1"]);
    deploy(api, 2, "details", &["v1"]);
    deploy(api, 3, "reviews", &["v1", "v2", "v3"]);
    deploy(api, 4, "ratings", &["v1"]);
    api.put(
        DESTINATION_RULES,
        json!({
            "apiVersion": "networking.istio.io/v1", "kind": "DestinationRule", "metadata": meta("default", "reviews"),
            "spec": {
                "host": "reviews",
                "subsets": subsets,
            },
        }),
    );
    api.put(VIRTUAL_SERVICES, split(50));
}

/// `reviews`: that many per cent to v1, the rest to v3.
pub fn split(v1: u32) -> Value {
    json!({
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": meta("default", "reviews"),
        "spec": {
            "hosts": ["reviews"],
            "http": [{"route": [
                {"destination": {"host": "reviews", "subset": "v1"}, "weight": v1},
                {"destination": {"host": "reviews", "subset": "v3"}, "weight": 100 - v1},
            ]}],
        },
    })
}

/// The tutorial's gateway, and a gateway pod's route through it.
pub fn ingress(api: &FakeApi) {
    api.put(
        GATEWAYS,
        json!({
            "apiVersion": "networking.istio.io/v1", "kind": "Gateway", "metadata": meta("default", "bookinfo-gateway"),
            "spec": {
                "selector": {"istio": "ingressgateway"},
                "servers": [{"port": {"number": 8080, "name": "http", "protocol": "HTTP"}, "hosts": ["*"]}],
            },
        }),
    );
    api.put(
        VIRTUAL_SERVICES,
        json!({
            "apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": meta("default", "bookinfo"),
            "spec": {
                "hosts": ["*"], "gateways": ["bookinfo-gateway"],
                "http": [{
                    "match": [{"uri": {"exact": "/productpage"}}, {"uri": {"prefix": "/static"}}],
                    "route": [{"destination": {"host": "productpage", "port": {"number": 9080}}}],
                }],
            },
        }),
    );
}
