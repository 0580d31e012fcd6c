//! All series by their labels.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};

use super::changes::Changes;
use super::labels::Reporter;
use crate::stats::histogram::{Histogram, Total};
use crate::upstream::stats::Count;

/// Series of each kind; what comes beyond is counted in one series without labels.
const MOST: usize = 10_000;
const OVERFLOW: &str = "reporter=\"overflow\"";

/// One worker's counters of a series of requests.
#[derive(Debug, Default)]
pub(super) struct HttpSeries {
    pub(super) requests: Count,
    pub(super) duration: Histogram,
    pub(super) request_bytes: Histogram,
    pub(super) response_bytes: Histogram,
}

/// One worker's counters of a series of connections.
#[derive(Debug, Default)]
pub(super) struct TcpSeries {
    pub(super) opened: Count,
    pub(super) closed: Count,
    pub(super) sent: Count,
    pub(super) received: Count,
}

/// Every worker's counters of a series, by its labels.
type Table<S> = Mutex<BTreeMap<Arc<str>, Vec<Arc<S>>>>;

/// All series. Locked only where a worker meets a combination for the first time, and by who reads.
#[derive(Debug, Default)]
pub(super) struct Registry {
    http: Table<HttpSeries>,
    tcp: Table<TcpSeries>,
    changes: Mutex<BySide>,
}

/// What is changed about the metrics of either reporter.
#[derive(Debug, Default)]
struct BySide {
    source: Changes,
    destination: Changes,
}

impl BySide {
    fn is_empty(&self) -> bool {
        self.source.is_empty() && self.destination.is_empty()
    }

    fn labels<'a>(&self, metric: &str, labels: &'a str) -> Option<Cow<'a, str>> {
        match labels.starts_with("reporter=\"destination\"") {
            true => self.destination.labels(metric, labels),
            false => self.source.labels(metric, labels),
        }
    }
}

impl Registry {
    /// Counters of a series for the worker that asks.
    pub(super) fn http(&self, labels: &str) -> Arc<HttpSeries> {
        register(&self.http, labels)
    }

    /// Counters of a series for the worker that asks.
    pub(super) fn tcp(&self, labels: &str) -> Arc<TcpSeries> {
        register(&self.tcp, labels)
    }

    /// Changes the metrics of a reporter.
    pub(super) fn configure(&self, reporter: Reporter, changes: Changes) {
        let mut sides = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        match reporter {
            Reporter::Source => sides.source = changes,
            Reporter::Destination => sides.destination = changes,
        }
    }

    /// Writes the series of metrics whose name is wanted.
    pub(super) fn write(&self, wanted: &dyn Fn(&str) -> bool, out: &mut String) {
        let changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        let http = self.http.lock().unwrap_or_else(PoisonError::into_inner);
        if wanted("istio_requests_total") {
            counter(&http, &changes, "istio_requests_total", |series| &series.requests, out);
        }
        let histograms: [Named<HttpSeries, Histogram>; 3] = [
            ("istio_request_duration_milliseconds", |series| &series.duration),
            ("istio_request_bytes", |series| &series.request_bytes),
            ("istio_response_bytes", |series| &series.response_bytes),
        ];
        for (name, of) in histograms.into_iter().filter(|(name, _)| wanted(name)) {
            histogram(&http, &changes, name, of, out);
        }
        drop(http);
        let tcp = self.tcp.lock().unwrap_or_else(PoisonError::into_inner);
        let counters: [Named<TcpSeries, Count>; 4] = [
            ("istio_tcp_connections_opened_total", |series| &series.opened),
            ("istio_tcp_connections_closed_total", |series| &series.closed),
            ("istio_tcp_sent_bytes_total", |series| &series.sent),
            ("istio_tcp_received_bytes_total", |series| &series.received),
        ];
        for (name, of) in counters.into_iter().filter(|(name, _)| wanted(name)) {
            counter(&tcp, &changes, name, of, out);
        }
    }
}

/// A metric's name, and where a series keeps it.
type Named<S, M> = (&'static str, fn(&S) -> &M);

fn register<S: Default>(table: &Table<S>, labels: &str) -> Arc<S> {
    let mut table = table.lock().unwrap_or_else(PoisonError::into_inner);
    let labels = if table.len() >= MOST && !table.contains_key(labels) { OVERFLOW } else { labels };
    if !table.contains_key(labels) {
        table.insert(labels.into(), Vec::new());
    }
    let Some(workers) = table.get_mut(labels) else { return Arc::default() };
    // Counters that a worker has forgotten are taken up by the next: there is still one writer.
    if let Some(free) = workers.iter().find(|series| Arc::strong_count(series) == 1) {
        return Arc::clone(free);
    }
    let series = Arc::new(S::default());
    workers.push(Arc::clone(&series));
    series
}

fn counter<S>(
    table: &BTreeMap<Arc<str>, Vec<Arc<S>>>,
    changes: &BySide,
    name: &str,
    of: impl Fn(&S) -> &Count,
    out: &mut String,
) {
    let sums = table
        .iter()
        .map(|(labels, workers)| (labels, workers.iter().map(|series| of(series).get()).sum::<u64>()));
    let sums = changed(sums, changes, name, |all: &mut u64, one| *all += one);
    if sums.is_empty() {
        return;
    }
    let _ = writeln!(out, "# TYPE {name} counter");
    for (labels, sum) in sums {
        let _ = writeln!(out, "{name}{{{labels}}} {sum}");
    }
}

fn histogram<S>(
    table: &BTreeMap<Arc<str>, Vec<Arc<S>>>,
    changes: &BySide,
    name: &str,
    of: impl Fn(&S) -> &Histogram,
    out: &mut String,
) {
    let totals = table.iter().map(|(labels, workers)| {
        let mut total = Total::default();
        workers.iter().for_each(|series| total.add(of(series)));
        (labels, total)
    });
    let totals = changed(totals, changes, name, |all: &mut Total, one| all.merge(&one));
    if totals.is_empty() {
        return;
    }
    let _ = writeln!(out, "# TYPE {name} histogram");
    for (labels, total) in totals {
        total.write(name, &labels, out);
    }
}

/// Values by their labels as a Telemetry wants them: series that a label less makes the same are added up.
fn changed<'a, T>(
    series: impl Iterator<Item = (&'a Arc<str>, T)>,
    changes: &BySide,
    name: &str,
    add: impl Fn(&mut T, T),
) -> Vec<(Cow<'a, str>, T)> {
    if changes.is_empty() {
        return series.map(|(labels, value)| (Cow::Borrowed(&**labels), value)).collect();
    }
    let mut by_labels: BTreeMap<Cow<'a, str>, T> = BTreeMap::new();
    for (labels, value) in series {
        let Some(labels) = changes.labels(name, labels) else { continue };
        match by_labels.entry(labels) {
            Entry::Vacant(free) => drop(free.insert(value)),
            Entry::Occupied(mut known) => add(known.get_mut(), value),
        }
    }
    by_labels.into_iter().collect()
}
