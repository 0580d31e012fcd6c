//! The filter that makes Istio's metrics.

use lateen_mesh::Settings;
use lateen_mesh::telemetry::{TagChange, is_text};
use lateen_xds::istio::{MetricConfig, StatsConfig};
use lateen_xds::pb::google::protobuf::Any;
use prost::Message;

/// The filter's name, both among HTTP filters and among network filters.
pub(crate) const NAME: &str = "istio.stats";

/// The filter's configuration; `None` where no metrics are wanted.
pub(crate) fn config(settings: &Settings) -> Option<Any> {
    let metrics = &settings.observed.metrics;
    if metrics.disabled {
        return None;
    }
    let changes = metrics.changes.iter().map(|(name, change)| {
        let mut config =
            MetricConfig { name: name.clone(), drop: change.drop == Some(true), ..MetricConfig::default() };
        for (tag, change) in &change.tags {
            match change {
                TagChange::Remove => config.tags_to_remove.push(tag.clone()),
                // Lateen's proxies, the only ones that have the filter, know no CEL; analysis tells of the rest.
                TagChange::Set(expression) if !is_text(expression) => {}
                TagChange::Set(expression) => drop(config.dimensions.insert(tag.clone(), expression.clone())),
            }
        }
        config
    });
    let config = StatsConfig { metrics: changes.collect() };
    let type_url = format!("type.googleapis.com/{}", StatsConfig::NAME);
    Some(Any { type_url, value: config.encode_to_vec() })
}
