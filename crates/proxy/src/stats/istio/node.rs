//! Who a proxy is, by its node metadata.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use lateen_xds::pb::google::protobuf::value::Kind;
use lateen_xds::pb::google::protobuf::{Struct, Value};
use prost::Message as _;

use crate::request_info::PeerMetadata;

/// Keys of the node metadata that peers are told.
const TOLD: [&str; 8] = [
    "NAME",
    "NAMESPACE",
    "OWNER",
    "WORKLOAD_NAME",
    "CLUSTER_ID",
    "MESH_ID",
    "INSTANCE_IPS",
    "APP_CONTAINERS",
];
/// Labels that peers are told.
const TOLD_LABELS: [&str; 4] =
    ["app", "version", "service.istio.io/canonical-name", "service.istio.io/canonical-revision"];

/// A proxy's identity.
#[derive(Debug, Default)]
pub struct Node {
    /// For labels.
    pub peer: Arc<PeerMetadata>,
    /// `x-envoy-peer-metadata`.
    pub header: Bytes,
    /// `x-envoy-peer-metadata-id`.
    pub id: Bytes,
    /// What peers are told over TCP.
    pub announcement: Bytes,
}

impl Node {
    /// Reads the node of the bootstrap.
    pub fn new(id: &str, metadata: Option<&Struct>) -> Node {
        let Some(metadata) = metadata else {
            return Node { id: Bytes::from(id.to_owned()), ..Node::default() };
        };
        let mut told = Struct::default();
        for key in TOLD {
            if let Some(value) = metadata.fields.get(key) {
                told.fields.insert(key.to_owned(), value.clone());
            }
        }
        if let Some(Kind::StructValue(labels)) =
            metadata.fields.get("LABELS").and_then(|value| value.kind.as_ref())
        {
            let fields = labels.fields.iter().filter(|(key, _)| TOLD_LABELS.contains(&key.as_str()));
            let labels = Struct { fields: fields.map(|(key, value)| (key.clone(), value.clone())).collect() };
            told.fields.insert("LABELS".to_owned(), Value { kind: Some(Kind::StructValue(labels)) });
        }
        Node {
            peer: Arc::new(read_peer(metadata)),
            header: Bytes::from(STANDARD.encode(told.encode_to_vec())),
            id: Bytes::from(id.to_owned()),
            announcement: crate::tcp::announcement(told, id),
        }
    }
}

/// Reads node metadata, our own or a peer's.
pub fn read_peer(metadata: &Struct) -> PeerMetadata {
    let text = |fields: &Struct, key: &str| match fields.fields.get(key).and_then(|value| value.kind.as_ref())
    {
        Some(Kind::StringValue(text)) if !text.is_empty() => Some(Arc::from(text.as_str())),
        _ => None,
    };
    let empty = Struct::default();
    let labels = match metadata.fields.get("LABELS").and_then(|value| value.kind.as_ref()) {
        Some(Kind::StructValue(labels)) => labels,
        _ => &empty,
    };
    let (app, version) = (text(labels, "app"), text(labels, "version"));
    let workload: Option<Arc<str>> = text(metadata, "WORKLOAD_NAME");
    PeerMetadata {
        namespace: text(metadata, "NAMESPACE"),
        instance: text(metadata, "NAME"),
        canonical_service: text(labels, "service.istio.io/canonical-name")
            .or_else(|| app.clone())
            .or_else(|| workload.clone()),
        canonical_revision: text(labels, "service.istio.io/canonical-revision")
            .or_else(|| version.clone())
            .or_else(|| Some("latest".into())),
        cluster: text(metadata, "CLUSTER_ID"),
        workload,
        app,
        version,
    }
}
