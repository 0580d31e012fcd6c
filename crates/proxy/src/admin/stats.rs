//! `/stats` and `/stats/prometheus`.

use regex::Regex;
use serde_json::json;

use super::{Query, Reply};
use crate::run::Server;
use crate::stats::{Kind, Metric, collect, write_prometheus};

pub(super) fn answer(server: &Server, query: &Query) -> Reply {
    match query.get("format") {
        Some("prometheus") => return prometheus(server, query),
        Some("json" | "text") | None => {}
        Some(other) => {
            return Reply::text(400, format!("format `{other}` is not one of text, json, prometheus\n"));
        }
    }
    let metrics = match selected(server, query) {
        Ok(metrics) => metrics,
        Err(error) => return Reply::text(400, error),
    };
    if query.get("format") == Some("json") {
        let stats: Vec<_> =
            metrics.iter().map(|metric| json!({ "name": metric.name, "value": metric.value })).collect();
        return Reply::json(&json!({ "stats": stats }));
    }
    let mut text = String::new();
    for metric in metrics {
        text.push_str(&format!("{}: {}\n", metric.name, metric.value));
    }
    Reply::text(200, text)
}

/// `/stats/prometheus`: Envoy's statistics and Istio's metrics.
pub(super) fn prometheus(server: &Server, query: &Query) -> Reply {
    let metrics = match selected(server, query) {
        Ok(metrics) => metrics,
        Err(error) => return Reply::text(400, error),
    };
    let mut body = String::new();
    server.context.istio.write_prometheus(&mut body);
    write_prometheus(&metrics, &mut body);
    Reply { status: 200, content_type: "text/plain; version=0.0.4; charset=utf-8", body }
}

/// The values that `filter`, `type` and `usedonly` leave.
fn selected(server: &Server, query: &Query) -> Result<Vec<Metric>, String> {
    let filter = match query.get("filter") {
        Some(pattern) => Some(Regex::new(pattern).map_err(|error| format!("Invalid regex: {error}\n"))?),
        None => None,
    };
    let kind = match query.get("type") {
        Some("Counters") => Some(Kind::Counter),
        Some("Gauges") => Some(Kind::Gauge),
        _ => None,
    };
    let used = query.has("usedonly");
    let mut metrics = collect(&server.store, &server.stats);
    metrics.retain(|metric| {
        filter.as_ref().is_none_or(|filter| filter.is_match(&metric.name))
            && kind.is_none_or(|kind| metric.kind == kind)
            && !(used && metric.value == 0)
    });
    Ok(metrics)
}
