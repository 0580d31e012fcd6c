//! The tracers in use: listeners that send to the same collector in the same way share one.

use crate::config::{TraceCounts, TraceProtocol, Tracer};
use lateen_xds::pb::envoy::config::core::v3::Node;
use lateen_xds::pb::envoy::config::trace::v3::tracing::Http;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Tracers by the hash of their configuration, and what they say about this proxy.
#[derive(Debug, Default)]
pub struct Tracers {
    /// The node's id.
    pub node: Arc<str>,
    /// The node's cluster: the name of the service in traces.
    pub service: Arc<str>,
    /// The tracer of managers that name none (`tracing` of the bootstrap).
    pub default: Option<Http>,
    known: Mutex<HashMap<u64, Weak<Tracer>>>,
}

impl Tracers {
    /// Tracers of a node.
    pub fn new(node: Option<&Node>, default: Option<Http>) -> Self {
        let (id, service) = node.map_or(("", ""), |node| (&*node.id, &*node.cluster));
        Tracers { node: id.into(), service: service.into(), default, known: Mutex::default() }
    }

    /// The tracer of a configuration, made where it is not in use yet.
    ///
    /// # Errors
    /// What making it fails with.
    pub fn share<E>(&self, hash: u64, make: impl FnOnce() -> Result<Tracer, E>) -> Result<Arc<Tracer>, E> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tracer) = known.get(&hash).and_then(Weak::upgrade) {
            return Ok(tracer);
        }
        known.retain(|_, tracer| tracer.strong_count() > 0);
        let tracer = Arc::new(make()?);
        known.insert(hash, Arc::downgrade(&tracer));
        Ok(tracer)
    }

    /// What became of the spans of the tracers in use, by the name of their protocol.
    pub fn counts(&self) -> BTreeMap<&'static str, TraceCounts> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all: BTreeMap<&'static str, TraceCounts> = BTreeMap::new();
        for tracer in known.values().filter_map(Weak::upgrade) {
            let name = match tracer.protocol {
                TraceProtocol::Zipkin => "zipkin",
                TraceProtocol::OtlpGrpc | TraceProtocol::OtlpHttp => "opentelemetry",
            };
            let counts = all.entry(name).or_default();
            for (sum, one) in [(&counts.sent, &tracer.counts.sent), (&counts.dropped, &tracer.counts.dropped)]
            {
                sum.fetch_add(one.load(Ordering::Relaxed), Ordering::Relaxed);
            }
        }
        all
    }
}
