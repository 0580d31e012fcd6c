use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use lateen_xds::TypeUrl;
use lateen_xds::istio::NameTable;
use prost::Message;
use serde_json::{Map, Value, json};

use super::config_dump::Which;
use crate::Context;

/// `/debug/ndsz?proxyID=POD.NAMESPACE`: the names that a proxy's agent resolves; none unless it captures DNS.
pub(super) async fn ndsz(State(context): State<Arc<Context>>, Query(which): Query<Which>) -> Response {
    let Some(connection) = context.registry.find(&which.proxy) else {
        let message =
            format!("proxyID={:?}: no such proxy is connected; /debug/syncz lists them\n", which.proxy);
        return (StatusCode::NOT_FOUND, message).into_response();
    };
    let view = context.hub.view(&connection.proxy);
    let mut table = Map::new();
    for resource in view.0.iter(TypeUrl::NameTable) {
        let names = NameTable::decode(resource.body.clone()).unwrap_or_default();
        table.extend(names.table.into_iter().map(|(host, info)| {
            let mut shown = json!({ "ips": info.ips, "registry": info.registry });
            for (field, text) in [("shortname", info.shortname), ("namespace", info.namespace)] {
                if !text.is_empty() {
                    shown[field] = Value::String(text);
                }
            }
            (host, shown)
        }));
    }
    Json(json!({ "table": table })).into_response()
}
