//! All series by their labels.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};

use super::histogram::{Histogram, Total};
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

    /// Writes all series.
    pub(super) fn write(&self, out: &mut String) {
        let http = self.http.lock().unwrap_or_else(PoisonError::into_inner);
        counter(&http, "istio_requests_total", |series| &series.requests, out);
        histogram(&http, "istio_request_duration_milliseconds", |series| &series.duration, out);
        histogram(&http, "istio_request_bytes", |series| &series.request_bytes, out);
        histogram(&http, "istio_response_bytes", |series| &series.response_bytes, out);
        drop(http);
        let tcp = self.tcp.lock().unwrap_or_else(PoisonError::into_inner);
        counter(&tcp, "istio_tcp_connections_opened_total", |series| &series.opened, out);
        counter(&tcp, "istio_tcp_connections_closed_total", |series| &series.closed, out);
        counter(&tcp, "istio_tcp_sent_bytes_total", |series| &series.sent, out);
        counter(&tcp, "istio_tcp_received_bytes_total", |series| &series.received, out);
    }
}

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
    name: &str,
    of: impl Fn(&S) -> &Count,
    out: &mut String,
) {
    if table.is_empty() {
        return;
    }
    let _ = writeln!(out, "# TYPE {name} counter");
    for (labels, workers) in table {
        let sum: u64 = workers.iter().map(|series| of(series).get()).sum();
        let _ = writeln!(out, "{name}{{{labels}}} {sum}");
    }
}

fn histogram<S>(
    table: &BTreeMap<Arc<str>, Vec<Arc<S>>>,
    name: &str,
    of: impl Fn(&S) -> &Histogram,
    out: &mut String,
) {
    if table.is_empty() {
        return;
    }
    let _ = writeln!(out, "# TYPE {name} histogram");
    for (labels, workers) in table {
        let mut total = Total::default();
        workers.iter().for_each(|series| total.add(of(series)));
        total.write(name, labels, out);
    }
}
