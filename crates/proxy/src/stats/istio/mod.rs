//! Istio's standard metrics and the exchange of workload metadata.
//!
//! Source: Istio, "Istio Standard Metrics". On the path a request costs one look-up in the worker's own table, by
//! the identity of what it met (cluster, peer, code, flags); labels are put together once for each new combination.

mod changes;
mod exchange;
mod labels;
mod node;
mod registry;
mod series;
#[cfg(test)]
mod tests;

use std::sync::Arc;

pub use changes::Changes;
pub use node::{Node, read_peer};

use crate::config::TrafficDirection;
use crate::request_info::{AccessLog, HttpExtension, PeerMetadata};
use labels::Reporter;
use registry::Registry;

/// Istio's metrics of one proxy.
#[derive(Debug)]
pub struct IstioMetrics {
    node: Arc<Node>,
    registry: Arc<Registry>,
}

impl IstioMetrics {
    /// Metrics of a proxy that is this node.
    pub fn new(node: Node) -> Self {
        IstioMetrics { node: Arc::new(node), registry: Arc::default() }
    }

    /// The recorder of HTTP requests of listeners of a direction.
    pub fn http_log(&self, direction: TrafficDirection) -> Arc<dyn AccessLog> {
        Arc::new(series::HttpRecorder::new(
            self.registry.clone(),
            self.node.peer.clone(),
            reporter(direction),
        ))
    }

    /// The recorder of TCP connections of listeners of a direction.
    pub fn tcp_log(&self, direction: TrafficDirection) -> Arc<dyn AccessLog> {
        Arc::new(series::TcpRecorder::new(self.registry.clone(), self.node.peer.clone(), reporter(direction)))
    }

    /// Changes the metrics of listeners of a direction, from the next reading on.
    pub fn configure(&self, direction: TrafficDirection, changes: Changes) {
        self.registry.configure(reporter(direction), changes);
    }

    /// The filter that tells peers who we are, and learns who they are.
    pub fn exchange(&self, direction: TrafficDirection) -> Arc<dyn HttpExtension> {
        match reporter(direction) {
            Reporter::Source => Arc::new(exchange::Announce::new(&self.node)),
            Reporter::Destination => Arc::new(exchange::Learn),
        }
    }

    /// Who this proxy is.
    pub fn peer(&self) -> &Arc<PeerMetadata> {
        &self.node.peer
    }

    /// What peers are told over TCP who this proxy is.
    pub fn announcement(&self) -> bytes::Bytes {
        self.node.announcement.clone()
    }

    /// Writes the series of metrics whose name is wanted, in Prometheus' text format.
    pub fn write_prometheus(&self, wanted: impl Fn(&str) -> bool, out: &mut String) {
        self.registry.write(&wanted, out);
    }
}

fn reporter(direction: TrafficDirection) -> Reporter {
    match direction {
        TrafficDirection::Inbound => Reporter::Destination,
        TrafficDirection::Outbound | TrafficDirection::Unspecified => Reporter::Source,
    }
}

/// Reads the endpoint metadata `workload;namespace;canonical service;canonical revision;cluster`.
pub fn endpoint_peer(text: &str) -> PeerMetadata {
    let mut parts =
        text.split(';').map(|part| Some(part).filter(|part| !part.is_empty()).map(Arc::<str>::from));
    let mut next = || parts.next().flatten();
    let (workload, namespace, service, revision, cluster) = (next(), next(), next(), next(), next());
    PeerMetadata {
        workload,
        namespace,
        instance: None,
        app: service.clone(),
        version: revision.clone(),
        canonical_service: service,
        canonical_revision: revision,
        cluster,
    }
}
