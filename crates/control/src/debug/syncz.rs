use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use lateen_generate::ProxyKind;
use lateen_xds::TypeUrl;
use lateen_xds::server::SyncState;
use serde_json::{Map, Value, json};

use crate::Context;
use crate::ads::Connection;

/// The types that Istio's page shows, with their names there.
const SHOWN: [(TypeUrl, &str); 7] = [
    (TypeUrl::Cluster, "cluster"),
    (TypeUrl::Listener, "listener"),
    (TypeUrl::Route, "route"),
    (TypeUrl::Endpoints, "endpoint"),
    (TypeUrl::VirtualHost, "virtualhost"),
    (TypeUrl::Secret, "secret"),
    (TypeUrl::ExtensionConfig, "extensionconfig"),
];

/// `/debug/syncz`: how far every proxy is, by type.
pub(super) async fn syncz(State(context): State<Arc<Context>>) -> Json<Value> {
    Json(context.registry.all().iter().map(|connection| line(connection)).collect())
}

fn line(connection: &Connection) -> Value {
    let proxy = &connection.proxy;
    let mut line = Map::new();
    let kind = match proxy.kind {
        ProxyKind::Sidecar => "sidecar",
        ProxyKind::Gateway => "router",
    };
    line.insert("cluster_id".into(), json!(proxy.cluster));
    line.insert("proxy".into(), json!(format!("{}.{}", proxy.name, proxy.namespace)));
    line.insert("proxy_type".into(), json!(kind));
    line.insert("connection".into(), json!(connection.id));
    line.insert("istio_version".into(), json!(connection.istio_version));
    let session = connection.session();
    for (type_url, name) in SHOWN {
        let status = session.status(type_url);
        let word = match status.state() {
            SyncState::Synced => "SYNCED",
            SyncState::Stale => "STALE",
            SyncState::NotSent => "NOT SENT",
        };
        line.insert(format!("{name}_status"), json!(word));
        line.insert(format!("{name}_sent"), json!(status.sent_version));
        line.insert(format!("{name}_acked"), json!(status.acked_version));
        if let Some(nack) = &status.nack {
            line.insert(format!("{name}_error"), json!(nack.message));
        }
    }
    Value::Object(line)
}
