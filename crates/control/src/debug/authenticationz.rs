use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use lateen_analysis::{Caller, tls_check};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::Context;

/// The query of the page.
#[derive(Debug, Deserialize)]
pub(super) struct Which {
    #[serde(rename = "proxyID", default)]
    proxy: String,
}

/// `/debug/authenticationz?proxyID=POD.NAMESPACE`: whether a pod (without one, any of each service's own namespace)
/// and the services that it may call agree on mutual TLS.
pub(super) async fn authenticationz(
    State(context): State<Arc<Context>>,
    Query(which): Query<Which>,
) -> Response {
    let mesh = context.hub.mesh();
    let pod = match which.proxy.rsplit_once('.') {
        Some((name, namespace)) => mesh.workload(namespace, name),
        None => None,
    };
    if pod.is_none() && !which.proxy.is_empty() {
        let message = format!("proxyID={:?}: there is no such pod; write it as POD.NAMESPACE\n", which.proxy);
        return (StatusCode::NOT_FOUND, message).into_response();
    }
    let caller = pod.map(|pod| Caller { namespace: &pod.meta.namespace, labels: &pod.labels });
    let lines = tls_check(&mesh, caller).into_iter().map(|line| {
        json!({
            "host": line.host,
            "port": line.port,
            "TLS_conflict_status": if line.ok { "OK" } else { "CONFLICT" },
            "server_protocol": line.server,
            "client_protocol": line.client,
            "authentication_policy_name": line.policy,
            "destination_rule_name": line.rule,
        })
    });
    Json(Value::Array(lines.collect())).into_response()
}
