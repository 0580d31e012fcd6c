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
