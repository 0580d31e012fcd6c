//! Metadata whose encoding is always the same.
//!
//! `google.protobuf.Struct` is made of maps, and the generated types keep them in an order that differs from one
//! value to the next: the same metadata would be different bytes, and look like a change. These types have the same
//! wire form with sorted keys.

use std::collections::BTreeMap;

use lateen_xds::pb::envoy::config::core::v3 as core;
use lateen_xds::pb::envoy::config::endpoint::v3 as endpoint;
use lateen_xds::pb::envoy::config::rbac::v3 as rbac;
use lateen_xds::pb::envoy::extensions::filters::http::jwt_authn::v3 as jwt_authn;
use lateen_xds::pb::google::protobuf::UInt32Value;
use prost::Message;

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

/// Metadata of single texts, each under a filter and a key.
pub(crate) fn texts<'a>(entries: impl Iterator<Item = (&'a str, &'a str, String)>) -> Option<Metadata> {
    let mut filter_metadata: BTreeMap<String, Struct> = BTreeMap::new();
    for (filter, key, value) in entries {
        filter_metadata.entry(filter.to_owned()).or_default().fields.insert(key.to_owned(), text(&value));
    }
    (!filter_metadata.is_empty()).then_some(Metadata { filter_metadata })
}

/// `envoy.config.endpoint.v3.ClusterLoadAssignment`, as far as it is used here.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ClusterLoadAssignment {
    #[prost(string, tag = "1")]
    pub cluster_name: String,
    #[prost(message, repeated, tag = "2")]
    pub endpoints: Vec<LocalityLbEndpoints>,
}

/// `envoy.config.endpoint.v3.LocalityLbEndpoints`, as far as it is used here.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct LocalityLbEndpoints {
    #[prost(message, optional, tag = "1")]
    pub locality: Option<core::Locality>,
    #[prost(message, repeated, tag = "2")]
    pub lb_endpoints: Vec<LbEndpoint>,
    #[prost(message, optional, tag = "3")]
    pub load_balancing_weight: Option<UInt32Value>,
    #[prost(uint32, tag = "5")]
    pub priority: u32,
}

/// `envoy.config.endpoint.v3.LbEndpoint`, as far as it is used here.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct LbEndpoint {
    #[prost(message, optional, tag = "1")]
    pub endpoint: Option<endpoint::Endpoint>,
    #[prost(int32, tag = "2")]
    pub health_status: i32,
    #[prost(message, optional, tag = "3")]
    pub metadata: Option<Metadata>,
    #[prost(message, optional, tag = "4")]
    pub load_balancing_weight: Option<UInt32Value>,
}

impl ClusterLoadAssignment {
    /// The same as the type that stands within clusters.
    pub fn embedded(&self) -> endpoint::ClusterLoadAssignment {
        // The two have one wire form; what is encoded here is always well formed.
        endpoint::ClusterLoadAssignment::decode(self.encode_to_vec().as_slice()).unwrap_or_default()
    }
}

/// `envoy.config.rbac.v3.RBAC`.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Rbac {
    #[prost(int32, tag = "1")]
    pub action: i32,
    #[prost(btree_map = "string, message", tag = "2")]
    pub policies: BTreeMap<String, rbac::Policy>,
}

/// `envoy.extensions.filters.http.rbac.v3.RBAC`.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct HttpRbac {
    #[prost(message, optional, tag = "1")]
    pub rules: Option<Rbac>,
    #[prost(message, optional, tag = "2")]
    pub shadow_rules: Option<Rbac>,
    #[prost(string, tag = "3")]
    pub shadow_rules_stat_prefix: String,
}

/// `envoy.extensions.filters.network.rbac.v3.RBAC`.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct TcpRbac {
    #[prost(message, optional, tag = "1")]
    pub rules: Option<Rbac>,
    #[prost(message, optional, tag = "2")]
    pub shadow_rules: Option<Rbac>,
    #[prost(string, tag = "3")]
    pub stat_prefix: String,
    #[prost(string, tag = "5")]
    pub shadow_rules_stat_prefix: String,
}

/// `envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication`.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct JwtAuthentication {
    #[prost(btree_map = "string, message", tag = "1")]
    pub providers: BTreeMap<String, jwt_authn::JwtProvider>,
    #[prost(message, repeated, tag = "2")]
    pub rules: Vec<jwt_authn::RequirementRule>,
    #[prost(bool, tag = "4")]
    pub bypass_cors_preflight: bool,
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
