//! Messages of Istio's own extensions, of which the two planes use a part.

use std::collections::BTreeMap;

use prost::Message;

/// The configuration of `istio.stats` (`stats.PluginConfig`).
///
/// Source: Istio's proxy extensions, `stats/config.proto`.
#[derive(Clone, PartialEq, Message)]
pub struct StatsConfig {
    /// Changes to single metrics, applied in order.
    #[prost(message, repeated, tag = "8")]
    pub metrics: Vec<MetricConfig>,
}

/// A change to a metric.
#[derive(Clone, PartialEq, Message)]
pub struct MetricConfig {
    /// Labels to add or to change, with CEL expressions for their values.
    #[prost(btree_map = "string, string", tag = "1")]
    pub dimensions: BTreeMap<String, String>,
    /// The metric's name without `istio_`; every metric when empty.
    #[prost(string, tag = "2")]
    pub name: String,
    /// Labels to leave out.
    #[prost(string, repeated, tag = "3")]
    pub tags_to_remove: Vec<String>,
    /// Whether the metric is left out.
    #[prost(bool, tag = "5")]
    pub drop: bool,
}

impl StatsConfig {
    /// The type's name, which stands behind `type.googleapis.com/`.
    pub const NAME: &'static str = "stats.PluginConfig";
}

/// The configuration of `istio.alpn`: names by which Istio's proxies tell each other what they speak.
///
/// Source: Istio's proxy, `source/extensions/filters/http/alpn/config.proto`.
#[derive(Clone, PartialEq, Message)]
pub struct AlpnConfig {
    /// The names for each version of HTTP.
    #[prost(message, repeated, tag = "1")]
    pub alpn_override: Vec<AlpnOverride>,
}

/// What is announced for a version of HTTP.
#[derive(Clone, PartialEq, Message)]
pub struct AlpnOverride {
    /// 0: HTTP/1.0, 1: HTTP/1.1, 2: HTTP/2.
    #[prost(int32, tag = "1")]
    pub upstream_protocol: i32,
    /// The names, the best first.
    #[prost(string, repeated, tag = "2")]
    pub alpn_override: Vec<String>,
}

impl AlpnConfig {
    /// The type's name, which stands behind `type.googleapis.com/`.
    pub const NAME: &'static str = "istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig";
}

/// Names and their addresses, for the resolver of an agent (`istio.networking.nds.v1.NameTable`).
///
/// Source: Istio, `pkg/dns/proto/nds.proto`.
#[derive(Clone, PartialEq, Message)]
pub struct NameTable {
    /// By host; a host may begin with `*.`.
    #[prost(btree_map = "string, message", tag = "1")]
    pub table: BTreeMap<String, NameInfo>,
}

/// What a host of a [`NameTable`] stands for.
#[derive(Clone, PartialEq, Message)]
pub struct NameInfo {
    /// Its addresses.
    #[prost(string, repeated, tag = "1")]
    pub ips: Vec<String>,
    /// Where it is declared: [`NameTable::KUBERNETES`] or [`NameTable::EXTERNAL`].
    #[prost(string, tag = "2")]
    pub registry: String,
    /// The name of the Kubernetes service; for a pod of a headless service with the pod's before it.
    #[prost(string, tag = "3")]
    pub shortname: String,
    /// The namespace of the Kubernetes service.
    #[prost(string, tag = "4")]
    pub namespace: String,
}

impl NameTable {
    /// The name of the one resource that holds the whole table.
    pub const WHOLE: &'static str = "names";
    /// The key of the node's metadata by which an agent says that it takes a table for each host, which its resource is
    /// named after.
    pub const BY_HOST: &'static str = "LATEEN_NAMES_BY_HOST";
    /// The name of a last, empty table among those of hosts. Resources come sorted by name, so that who has it has the others.
    pub const LAST: &'static str = "~";
    /// The registry of Kubernetes services, which may be called by short names.
    pub const KUBERNETES: &'static str = "Kubernetes";
    /// The registry of ServiceEntries.
    pub const EXTERNAL: &'static str = "External";
}
