//! `/stats` and `/stats/prometheus`.

use std::fmt::Write as _;

use regex::Regex;
use serde_json::{Value, json};

use super::{Query, Reply};
use crate::run::Server;
use crate::stats::histogram::{QUANTILES, Total};
use crate::stats::{Kind, Metric, write_prometheus};

pub(super) fn answer(server: &Server, query: &Query) -> Reply {
    match query.get("format") {
        Some("prometheus") => return prometheus(server, query),
        Some("json" | "text") | None => {}
        Some(other) => {
            return Reply::text(400, format!("format `{other}` is not one of text, json, prometheus\n"));
        }
    }
    let selected = match Selection::read(query) {
        Ok(selection) => selection,
        Err(error) => return Reply::text(400, error),
    };
    let metrics = selected.metrics(server);
    if query.get("format") == Some("json") {
        return Reply::json(&json!({ "stats": values(&metrics) }));
    }
    let mut text = String::new();
    for metric in metrics {
        // Writing to a string cannot fail.
        let _ = match &metric.histogram {
            Some(total) => writeln!(text, "{}: {}", metric.name, quantiles(total)),
            None => writeln!(text, "{}: {}", metric.name, metric.value),
        };
    }
    Reply::text(200, text)
}

/// Envoy's JSON: a list of values, and one object that holds all histograms.
fn values(metrics: &[Metric]) -> Vec<Value> {
    let (histograms, plain): (Vec<_>, Vec<_>) = metrics.iter().partition(|metric| metric.histogram.is_some());
    let mut values: Vec<_> =
        plain.into_iter().map(|metric| json!({ "name": metric.name, "value": metric.value })).collect();
    if histograms.is_empty() {
        return values;
    }
    let computed = |metric: &Metric| {
        let total = metric.histogram.as_deref()?;
        // There are no intervals: nothing is sent anywhere from time to time.
        let value = |percent: &f64| json!({ "interval": null, "cumulative": total.quantile(*percent) });
        Some(json!({ "name": metric.name, "values": QUANTILES.iter().map(value).collect::<Vec<_>>() }))
    };
    let computed: Vec<_> = histograms.into_iter().filter_map(computed).collect();
    values.push(json!({
        "histograms": { "supported_quantiles": QUANTILES, "computed_quantiles": computed }
    }));
    values
}

/// `P0(nan,1) P25(nan,1.05) ...`: of the last interval, which there is none of, and of all.
fn quantiles(total: &Total) -> String {
    if total.count() == 0 {
        return "No recorded values".to_owned();
    }
    let one = |percent: &f64| format!("P{percent}(nan,{:.5})", total.quantile(*percent).unwrap_or_default());
    QUANTILES.iter().map(one).collect::<Vec<_>>().join(" ")
}

/// `/stats/prometheus`: Envoy's statistics and Istio's metrics.
pub(super) fn prometheus(server: &Server, query: &Query) -> Reply {
    let selected = match Selection::read(query) {
        Ok(selection) => selection,
        Err(error) => return Reply::text(400, error),
    };
    let mut body = String::new();
    let kind = |name: &str| match name.ends_with("_total") {
        true => Kind::Counter,
        false => Kind::Histogram,
    };
    server.context.istio.write_prometheus(|name| selected.wants(name, kind(name)), &mut body);
    write_prometheus(&selected.metrics(server), &mut body);
    Reply { status: 200, content_type: "text/plain; version=0.0.4; charset=utf-8", body }
}

/// What `filter`, `type` and `usedonly` leave.
struct Selection {
    filter: Option<Regex>,
    kind: Option<Kind>,
    used: bool,
}

impl Selection {
    fn read(query: &Query) -> Result<Selection, String> {
        let filter = query.get("filter").map(Regex::new).transpose();
        let kind = match query.get("type") {
            None | Some("All") => None,
            Some("Counters") => Some(Kind::Counter),
            Some("Gauges") => Some(Kind::Gauge),
            Some("Histograms") => Some(Kind::Histogram),
            Some(other) => {
                return Err(format!("type `{other}` is not one of All, Counters, Gauges, Histograms\n"));
            }
        };
        let filter = filter.map_err(|error| format!("Invalid regex: {error}\n"))?;
        Ok(Selection { filter, kind, used: query.has("usedonly") })
    }

    fn wants(&self, name: &str, kind: Kind) -> bool {
        self.filter.as_ref().is_none_or(|filter| filter.is_match(name))
            && self.kind.is_none_or(|wanted| kind == wanted)
    }

    fn metrics(&self, server: &Server) -> Vec<Metric> {
        let mut metrics = server.metrics();
        metrics.retain(|metric| self.wants(&metric.name, metric.kind) && !(self.used && metric.value == 0));
        metrics
    }
}
