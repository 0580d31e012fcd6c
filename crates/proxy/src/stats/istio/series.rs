//! Recording: one look-up in the worker's own table.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use super::labels::{self, Reporter};
use super::registry::{HttpSeries, Registry, TcpSeries};
use crate::config::Cluster;
use crate::request_info::{AccessLog, CertificateInfo, LogContext, PeerMetadata, TlsInfo};

/// Combinations that a worker remembers; beyond that it starts anew.
const REMEMBERED: usize = 4096;

/// What tells series apart, by identity. The table keeps what the addresses belong to alive, so that an address is not
/// used again for something else.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    registry: usize,
    cluster: usize,
    peer: usize,
    mutual: bool,
    certificates: [usize; 2],
    reporter: Reporter,
    code: u16,
    grpc: bool,
    grpc_status: Option<u32>,
    flags: u32,
    /// Hash of the authority where the service is named by it.
    authority: u64,
}

/// What a key's addresses belong to.
struct Pins {
    _registry: Arc<Registry>,
    _cluster: Option<Arc<Cluster>>,
    _peer: Option<Arc<PeerMetadata>>,
    _certificates: [Option<Arc<CertificateInfo>>; 2],
}

type Table<S> = RefCell<HashMap<Key, (Arc<S>, Pins)>>;

thread_local! {
    static HTTP: Table<HttpSeries> = RefCell::default();
    static TCP: Table<TcpSeries> = RefCell::default();
}

fn address<T>(value: Option<&Arc<T>>) -> usize {
    value.map_or(0, |value| Arc::as_ptr(value) as usize)
}

/// The peer and the TLS session with it.
fn peer<'a>(
    context: &LogContext<'a>,
    reporter: Reporter,
) -> (&'a Option<Arc<PeerMetadata>>, &'a Option<Arc<TlsInfo>>) {
    let info = context.info;
    match reporter {
        Reporter::Source => (&info.upstream_peer, &info.upstream.tls),
        Reporter::Destination => (&info.downstream_peer, &info.connection.tls),
    }
}

/// The peer's certificate and our own: sessions with the same ones share their series.
fn certificates(tls: Option<&TlsInfo>) -> [Option<&Arc<CertificateInfo>>; 2] {
    tls.map_or([None, None], |tls| [tls.peer.as_ref(), tls.local.as_ref()])
}

impl Pins {
    fn new(context: &LogContext<'_>, reporter: Reporter, registry: &Arc<Registry>) -> Pins {
        let (peer, tls) = peer(context, reporter);
        Pins {
            _registry: registry.clone(),
            _cluster: context.info.upstream.cluster.clone(),
            _peer: peer.clone(),
            _certificates: certificates(tls.as_deref()).map(|info| info.cloned()),
        }
    }
}

impl Key {
    fn new(context: &LogContext<'_>, reporter: Reporter, registry: &Arc<Registry>) -> Key {
        use std::hash::{DefaultHasher, Hasher};
        let info = context.info;
        let (peer, tls) = peer(context, reporter);
        let cluster = info.upstream.cluster.as_ref();
        let mut authority = 0;
        if cluster.is_none_or(|cluster| cluster.services.is_empty())
            && let Some(request) = context.request
        {
            let mut hasher = DefaultHasher::new();
            hasher.write(&request.authority);
            authority = hasher.finish();
        }
        Key {
            registry: Arc::as_ptr(registry) as usize,
            cluster: address(cluster),
            peer: address(peer.as_ref()),
            mutual: tls.as_ref().is_some_and(|tls| tls.is_mutual()),
            certificates: certificates(tls.as_deref()).map(address),
            reporter,
            code: info.code,
            grpc: info.grpc,
            grpc_status: info.grpc_status,
            flags: info.flags.bits(),
            authority,
        }
    }
}

/// Runs `record` with the counters of a key.
fn with<S>(
    table: &'static std::thread::LocalKey<Table<S>>,
    key: Key,
    make: impl FnOnce() -> (Arc<S>, Pins),
    record: impl FnOnce(&S),
) {
    table.with_borrow_mut(|table| {
        if let Some((series, _)) = table.get(&key) {
            return record(series);
        }
        if table.len() >= REMEMBERED {
            table.clear();
        }
        let (series, _) = table.entry(key).or_insert_with(make);
        record(series);
    });
}

/// Records HTTP requests.
#[derive(Debug)]
pub(super) struct HttpRecorder {
    registry: Arc<Registry>,
    own: Arc<PeerMetadata>,
    reporter: Reporter,
}

impl HttpRecorder {
    pub(super) fn new(registry: Arc<Registry>, own: Arc<PeerMetadata>, reporter: Reporter) -> Self {
        HttpRecorder { registry, own, reporter }
    }
}

impl AccessLog for HttpRecorder {
    fn log(&self, context: &LogContext<'_>) {
        let info = context.info;
        let make = || {
            let labels =
                labels::render(context, self.reporter, &self.own, Some((info.code, info.grpc_status)));
            (self.registry.http(&labels), Pins::new(context, self.reporter, &self.registry))
        };
        with(&HTTP, Key::new(context, self.reporter, &self.registry), make, |series| {
            let time = info.timings.end.unwrap_or_else(|| info.elapsed());
            series.requests.inc();
            series.duration.record(u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
            series.request_bytes.record(info.bytes.received + info.bytes.request_headers);
            series.response_bytes.record(info.bytes.sent + info.bytes.response_headers);
        });
    }
}

/// Records TCP connections.
#[derive(Debug)]
pub(super) struct TcpRecorder {
    registry: Arc<Registry>,
    own: Arc<PeerMetadata>,
    reporter: Reporter,
}

impl TcpRecorder {
    pub(super) fn new(registry: Arc<Registry>, own: Arc<PeerMetadata>, reporter: Reporter) -> Self {
        TcpRecorder { registry, own, reporter }
    }

    fn record(&self, context: &LogContext<'_>, record: impl FnOnce(&TcpSeries)) {
        let make = || {
            let labels = labels::render(context, self.reporter, &self.own, None);
            (self.registry.tcp(&labels), Pins::new(context, self.reporter, &self.registry))
        };
        with(&TCP, Key::new(context, self.reporter, &self.registry), make, record);
    }
}

impl AccessLog for TcpRecorder {
    fn log(&self, context: &LogContext<'_>) {
        let bytes = &context.info.bytes;
        self.record(context, |series| {
            series.closed.inc();
            series.sent.add(bytes.sent);
            series.received.add(bytes.received);
        });
    }

    fn opened(&self, context: &LogContext<'_>) {
        self.record(context, |series| series.opened.inc());
    }
}
