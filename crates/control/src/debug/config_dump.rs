use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use lateen_xds::TypeUrl;
use lateen_xds::json::Pool;
use lateen_xds::pb::google::protobuf::Any;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::Context;

/// The query of the page.
#[derive(Debug, Deserialize)]
pub(super) struct Which {
    #[serde(rename = "proxyID", default)]
    pub(super) proxy: String,
}

/// `/debug/config_dump?proxyID=POD.NAMESPACE`: what a proxy was sent, by type, as protobuf JSON.
pub(super) async fn config_dump(State(context): State<Arc<Context>>, Query(which): Query<Which>) -> Response {
    let Some(connection) = context.registry.find(&which.proxy) else {
        let message =
            format!("proxyID={:?}: no such proxy is connected; /debug/syncz lists them\n", which.proxy);
        return (StatusCode::NOT_FOUND, message).into_response();
    };
    let pool = match Pool::load() {
        Ok(pool) => pool,
        Err(error) => return (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    };
    let mut configs = Vec::new();
    for type_url in TypeUrl::ALL {
        let mut found = Vec::new();
        connection.session().visit_subscribed(type_url, &mut |resource| found.push(Arc::clone(resource)));
        let resources = found.iter().map(|resource| {
            // Keys are never shown.
            if type_url == TypeUrl::Secret {
                return json!({"name": resource.name, "version": format!("{:016x}", resource.version)});
            }
            let any = Any { type_url: type_url.as_str().into(), value: resource.body.to_vec() };
            json!({
                "name": resource.name,
                "version": format!("{:016x}", resource.version),
                "resource": pool.write_any(&any),
            })
        });
        let resources: Vec<Value> = resources.collect();
        if !resources.is_empty() {
            configs.push(
                json!({"type": type_url.short(), "type_url": type_url.as_str(), "resources": resources}),
            );
        }
    }
    Json(json!({"proxy": connection.id, "configs": configs})).into_response()
}
