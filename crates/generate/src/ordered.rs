//! Metadata whose encoding is always the same.
//!
//! `google.protobuf.Struct` is made of maps, and the generated types keep them in an order that differs from one
//! value to the next: the same metadata would be different bytes, and look like a change. These types have the same
//! wire form with sorted keys.

use std::collections::BTreeMap;

/// `envoy.config.core.v3.Metadata`, without typed entries.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Metadata {
    #[prost(btree_map = "string, message", tag = "1")]
    filter_metadata: BTreeMap<String, Struct>,
}

/// `google.protobuf.Struct`.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Struct {
    #[prost(btree_map = "string, message", tag = "1")]
    fields: BTreeMap<String, Value>,
}

/// `google.protobuf.Value`, as far as it is used here.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Value {
    #[prost(oneof = "Kind", tags = "2, 3, 5, 6")]
    kind: Option<Kind>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Kind {
    #[prost(double, tag = "2")]
    Number(f64),
    #[prost(string, tag = "3")]
    Text(String),
    #[prost(message, tag = "5")]
    Object(Struct),
    #[prost(message, tag = "6")]
    List(List),
}

/// `google.protobuf.ListValue`.
#[derive(Clone, PartialEq, prost::Message)]
struct List {
    #[prost(message, repeated, tag = "1")]
    values: Vec<Value>,
}

/// The field `metadata` of `envoy.config.cluster.v3.Cluster`, to be appended to an encoded cluster.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ClusterMetadata {
    #[prost(message, optional, tag = "25")]
    pub metadata: Option<Metadata>,
}

pub(crate) fn text(value: &str) -> Value {
    Value { kind: Some(Kind::Text(value.to_owned())) }
}

pub(crate) fn number(value: impl Into<f64>) -> Value {
    Value { kind: Some(Kind::Number(value.into())) }
}

pub(crate) fn list(values: Vec<Value>) -> Value {
    Value { kind: Some(Kind::List(List { values })) }
}

pub(crate) fn object(fields: impl IntoIterator<Item = (&'static str, Value)>) -> Value {
    Value { kind: Some(Kind::Object(structure(fields))) }
}

/// Metadata with entries under Istio's key.
pub(crate) fn istio(fields: impl IntoIterator<Item = (&'static str, Value)>) -> Metadata {
    Metadata { filter_metadata: [(crate::proto::ISTIO.to_owned(), structure(fields))].into() }
}

fn structure(fields: impl IntoIterator<Item = (&'static str, Value)>) -> Struct {
    Struct { fields: fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lateen_xds::pb::envoy::config::cluster::v3::Cluster;
    use prost::Message;

    #[test]
    fn appended_metadata_is_read_as_part_of_the_cluster() {
        let mut body = Cluster { name: "c".into(), ..Cluster::default() }.encode_to_vec();
        let metadata = istio([("subset", text("v1")), ("default_original_port", number(80))]);
        body.extend(ClusterMetadata { metadata: Some(metadata) }.encode_to_vec());
        let read = Cluster::decode(body.as_slice()).expect("well formed");
        assert_eq!(read.name, "c");
        assert_eq!(read.metadata.expect("metadata").filter_metadata["istio"].fields.len(), 2);
    }
}
