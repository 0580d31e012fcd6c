use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::CONTENT_TYPE;
use serde_json::{Value, json};

use crate::Context;

const PAGES: &str = "/debug/syncz\n/debug/config_dump?proxyID=POD.NAMESPACE\n/debug/ndsz?proxyID=POD.NAMESPACE\n/debug/authenticationz?proxyID=POD.NAMESPACE\n\
                     /debug/config_distribution?resource=KIND/NAMESPACE/NAME@GENERATION\n\
                     /debug/endpointz\n/debug/registryz\n\
                     /debug/configz\n/metrics\n/ready\n/version\n";

/// `/debug`: the pages that there are.
pub(super) async fn index() -> &'static str {
    PAGES
}

/// `/ready`: 200 once the first lists are in.
pub(super) async fn ready(State(context): State<Arc<Context>>) -> Response {
    if context.hub.is_ready() {
        StatusCode::OK.into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "waiting for the first lists of the Kubernetes API\n")
            .into_response()
    }
}

/// `/metrics`.
pub(super) async fn metrics(State(context): State<Arc<Context>>) -> Response {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], context.metrics.render()).into_response()
}

/// `/version`, in the form of Istio's build information.
pub(super) async fn version() -> Json<Value> {
    Json(json!({"version": env!("CARGO_PKG_VERSION"), "revision": "", "status": "Clean", "tag": "lateen"}))
}

/// `/debug/registryz`: every service.
pub(super) async fn registryz(State(context): State<Arc<Context>>) -> Json<Value> {
    let mesh = context.hub.mesh();
    let services = mesh.services.all().iter().map(|service| {
        let ports: Vec<Value> = service
            .ports
            .iter()
            .map(|p| json!({"name": p.name, "port": p.number, "protocol": format!("{:?}", p.protocol)}))
            .collect();
        let addresses: Vec<String> =
            service.addresses.iter().map(|a| format!("{}/{}", a.ip, a.prefix)).collect();
        json!({
            "hostname": service.id.host,
            "namespace": service.id.namespace,
            "addresses": addresses,
            "ports": ports,
            "resolution": format!("{:?}", service.resolution),
            "registry": format!("{:?}", service.origin),
            "meshExternal": service.external,
        })
    });
    Json(services.collect())
}

/// `/debug/endpointz`: every endpoint, by service and port.
pub(super) async fn endpointz(State(context): State<Arc<Context>>) -> Json<Value> {
    let mesh = context.hub.mesh();
    let mut lines = Vec::new();
    for service in mesh.services.all() {
        for (port, endpoints) in &mesh.endpoints(&service.id).by_port {
            let list: Vec<Value> = endpoints
                .iter()
                .map(|e| {
                    json!({
                        "address": e.address,
                        "port": e.port,
                        "labels": *e.labels,
                        "locality": {"region": e.locality.region, "zone": e.locality.zone, "subzone": e.locality.subzone},
                        "weight": e.weight,
                    })
                })
                .collect();
            lines.push(json!({"svc": format!("{}:{port}", service.id.host), "endpoints": list}));
        }
    }
    Json(Value::Array(lines))
}

/// `/debug/configz`: the names of the resources that the mesh is made of.
pub(super) async fn configz(State(context): State<Arc<Context>>) -> Json<Value> {
    let mesh = context.hub.mesh();
    let mut lines = Vec::new();
    let mut add = |kind: &str, namespace: &str, name: &str| {
        lines.push(json!({"kind": kind, "metadata": {"namespace": namespace, "name": name}}));
    };
    let gateways = mesh.virtual_services.gateways().flat_map(|(_, list)| list);
    let mut seen = std::collections::BTreeSet::new();
    for service in mesh.virtual_services.mesh.iter().chain(gateways) {
        if seen.insert((&service.meta.namespace, &service.meta.name)) {
            add("VirtualService", &service.meta.namespace, &service.meta.name);
        }
    }
    for gateway in &mesh.gateways.all {
        add("Gateway", &gateway.meta.namespace, &gateway.meta.name);
    }
    Json(Value::Array(lines))
}
