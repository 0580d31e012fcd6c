//! One scrape for application and proxy: the agent merges both
//! (<https://istio.io/latest/docs/ops/integrations/prometheus/#option-1-metrics-merging>).

use std::collections::BTreeMap;

use serde_json::json;

use crate::InjectError;
use crate::annotations::{self, MERGE_METRICS};
use crate::settings::Settings;

const SCRAPE: &str = "prometheus.io/scrape";
const PATH: &str = "prometheus.io/path";
const PORT: &str = "prometheus.io/port";
pub(crate) const MERGED_PATH: &str = "/stats/prometheus";

/// Points the pod's scrape annotations at the agent; returns the value of `ISTIO_PROMETHEUS_ANNOTATIONS` if the
/// application serves metrics of its own.
pub(crate) fn merge(
    settings: &Settings<'_>,
    metadata: &mut BTreeMap<String, String>,
) -> Result<Option<String>, InjectError> {
    let wanted = annotations::flag(settings.pod, MERGE_METRICS, settings.config.prometheus_merge)?;
    let refused = metadata.get(SCRAPE).and_then(|text| annotations::truth(text)) == Some(false);
    if !wanted || refused || settings.status_port == 0 {
        return Ok(None);
    }
    let status = settings.status_port.to_string();
    let original = |name| metadata.get(name).cloned().unwrap_or_default();
    let (scrape, path, port) = (original(SCRAPE), original(PATH), original(PORT));
    // A pod whose annotations already lead to the agent has no metrics of its own to merge.
    let own = (!scrape.is_empty() && port != status)
        .then(|| json!({ "scrape": scrape, "path": path, "port": port }).to_string());
    metadata.insert(SCRAPE.to_owned(), "true".to_owned());
    metadata.insert(PATH.to_owned(), MERGED_PATH.to_owned());
    metadata.insert(PORT.to_owned(), status);
    Ok(own)
}
