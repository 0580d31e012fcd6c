//! What is known about a request (or TCP connection): the access log, metrics and header formats read it.

use crate::config::{Cluster, Metadata, Route, TrafficDirection, UpstreamSource};
use crate::http::{Headers, RequestHead, ResponseHead};
use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

pub use crate::tls_info::{CertificateInfo, TlsInfo};

/// Envoy's response flags as a set of bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ResponseFlags(u32);

macro_rules! flags {
    ($($(#[$doc:meta])* $name:ident = $bit:literal, $short:literal, $long:literal;)*) => {
        impl ResponseFlags {
            $($(#[$doc])* pub const $name: ResponseFlags = ResponseFlags(1 << $bit);)*
            /// Every flag with its short (`UH`) and long (`NoHealthyUpstream`) name, in Envoy's order.
            pub const ALL: &'static [(ResponseFlags, &'static str, &'static str)] =
                &[$((ResponseFlags::$name, $short, $long)),*];
        }
    };
}

flags! {
    /// The local service failed its health check.
    LH = 0, "LH", "FailedLocalHealthCheck";
    /// No healthy upstream host.
    UH = 1, "UH", "NoHealthyUpstream";
    /// Upstream request timeout.
    UT = 2, "UT", "UpstreamRequestTimeout";
    /// The connection or stream was reset locally.
    LR = 3, "LR", "LocalReset";
    /// The upstream reset the stream.
    UR = 4, "UR", "UpstreamRemoteReset";
    /// Connection to the upstream failed.
    UF = 5, "UF", "UpstreamConnectionFailure";
    /// The upstream closed the connection.
    UC = 6, "UC", "UpstreamConnectionTermination";
    /// A circuit breaker's limit was reached.
    UO = 7, "UO", "UpstreamOverflow";
    /// No route.
    NR = 8, "NR", "NoRouteFound";
    /// The fault filter delayed the request.
    DI = 9, "DI", "DelayInjected";
    /// The fault filter aborted the request.
    FI = 10, "FI", "FaultInjected";
    /// Rate limited.
    RL = 11, "RL", "RateLimited";
    /// The external authorization service refused.
    UAEX = 12, "UAEX", "UnauthorizedExternalService";
    /// The rate limit service failed.
    RLSE = 13, "RLSE", "RatelimitServiceError";
    /// The downstream closed the connection.
    DC = 14, "DC", "DownstreamConnectionTermination";
    /// The retry limit was reached, or no connection could be made in any attempt.
    URX = 15, "URX", "UpstreamRetryLimitExceeded";
    /// The stream was idle for too long.
    SI = 16, "SI", "StreamIdleTimeout";
    /// An `x-envoy-*` header is invalid.
    IH = 17, "IH", "InvalidEnvoyRequestHeaders";
    /// The downstream broke HTTP.
    DPE = 18, "DPE", "DownstreamProtocolError";
    /// The upstream broke HTTP.
    UPE = 19, "UPE", "UpstreamProtocolError";
    /// The stream lived longer than its maximum.
    UMSDR = 20, "UMSDR", "UpstreamMaxStreamDurationReached";
    /// The overload manager ended the request.
    OM = 21, "OM", "OverloadManagerTerminated";
    /// The downstream request lasted too long.
    DT = 22, "DT", "DurationTimeout";
    /// The route's cluster does not exist.
    NC = 23, "NC", "NoClusterFound";
    /// The downstream's stream was reset.
    DR = 24, "DR", "DownstreamRemoteReset";
}

impl ResponseFlags {
    /// Whether no flag is set.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether every flag of `other` is set.
    pub fn contains(self, other: ResponseFlags) -> bool {
        self.0 & other.0 == other.0
    }

    /// Sets the flags of `other`.
    pub fn insert(&mut self, other: ResponseFlags) {
        self.0 |= other.0;
    }

    /// The set bits.
    pub fn bits(self) -> u32 {
        self.0
    }

    /// Short names joined by `,`; `-` when empty (`%RESPONSE_FLAGS%`).
    pub fn write_short(self, out: &mut Vec<u8>) {
        let mut first = true;
        for (flag, short, _) in Self::ALL {
            if self.contains(*flag) {
                if !first {
                    out.push(b',');
                }
                out.extend_from_slice(short.as_bytes());
                first = false;
            }
        }
        if first {
            out.push(b'-');
        }
    }
}

impl std::fmt::Display for ResponseFlags {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut text = Vec::new();
        self.write_short(&mut text);
        f.write_str(&String::from_utf8_lossy(&text))
    }
}

/// The protocol of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1.
    Http11,
    /// HTTP/2.
    Http2,
}

impl Protocol {
    /// As Envoy writes it (`HTTP/1.1`).
    pub fn as_str(self) -> &'static str {
        match self {
            Protocol::Http10 => "HTTP/1.0",
            Protocol::Http11 => "HTTP/1.1",
            Protocol::Http2 => "HTTP/2",
        }
    }
}

/// What is known about a downstream connection; shared by its requests.
#[derive(Clone, Debug)]
pub struct ConnectionInfo {
    /// A number of the connection, unique in the process.
    pub id: u64,
    /// The worker that serves it (index of statistics shards).
    pub worker: usize,
    /// Name of the listener that accepted it, or that it was handed to.
    pub listener: Arc<str>,
    /// Direction of that listener.
    pub direction: TrafficDirection,
    /// Name of the filter chain.
    pub filter_chain: Arc<str>,
    /// The local address: the original destination where it was redirected.
    pub local: SocketAddr,
    /// The local address with the port at which we listen: what would lead back here.
    pub socket_local: SocketAddr,
    /// The address of the peer, after PROXY protocol.
    pub remote: SocketAddr,
    /// The address of the peer's socket.
    pub direct_remote: SocketAddr,
    /// Whose address upstream connections bear; none: the proxy's own.
    pub source: Option<UpstreamSource>,
    /// Server name that the client asked for by TLS.
    pub server_name: Option<Arc<str>>,
    /// Downstream TLS.
    pub tls: Option<Arc<TlsInfo>>,
    /// Why the TLS handshake failed (`%DOWNSTREAM_TRANSPORT_FAILURE_REASON%`).
    pub transport_failure: Option<Box<str>>,
    /// When it was accepted.
    pub start: Instant,
    /// When it was accepted, by the wall clock.
    pub start_wall: SystemTime,
}

/// Istio's workload metadata of a peer, from metadata exchange or discovery.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerMetadata {
    /// Workload (deployment) name.
    pub workload: Option<Arc<str>>,
    /// Namespace.
    pub namespace: Option<Arc<str>>,
    /// Pod name.
    pub instance: Option<Arc<str>>,
    /// `app` label.
    pub app: Option<Arc<str>>,
    /// `version` label.
    pub version: Option<Arc<str>>,
    /// Canonical service.
    pub canonical_service: Option<Arc<str>>,
    /// Canonical revision.
    pub canonical_revision: Option<Arc<str>>,
    /// Cluster id.
    pub cluster: Option<Arc<str>>,
}

/// Points in time of a request, as offsets from [`RequestInfo::start`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Timings {
    /// Last byte of the request received (`%REQUEST_DURATION%`).
    pub request_end: Option<Duration>,
    /// First byte of the request sent upstream.
    pub upstream_first_tx: Option<Duration>,
    /// Last byte of the request sent upstream.
    pub upstream_last_tx: Option<Duration>,
    /// First byte of the response received from upstream (`%RESPONSE_DURATION%`).
    pub upstream_first_rx: Option<Duration>,
    /// Last byte of the response received from upstream.
    pub upstream_last_rx: Option<Duration>,
    /// First byte of the response sent downstream.
    pub response_start: Option<Duration>,
    /// The request was complete: last byte sent downstream (`%DURATION%`).
    pub end: Option<Duration>,
}

/// Byte counts. Bodies only where Envoy counts bodies; wire counts include heads.
#[derive(Clone, Copy, Debug, Default)]
pub struct ByteCounts {
    /// Body bytes received from downstream (`%BYTES_RECEIVED%`).
    pub received: u64,
    /// Body bytes sent downstream (`%BYTES_SENT%`).
    pub sent: u64,
    /// Bytes of the request head as received.
    pub request_headers: u64,
    /// Bytes of the response head as sent.
    pub response_headers: u64,
    /// Bytes sent upstream, heads included.
    pub upstream_wire_sent: u64,
    /// Bytes received from upstream, heads included.
    pub upstream_wire_received: u64,
}

/// What is known about the upstream side of the last attempt.
#[derive(Clone, Debug, Default)]
pub struct UpstreamInfo {
    /// The cluster that the route chose.
    pub cluster: Option<Arc<Cluster>>,
    /// The endpoint's address.
    pub host: Option<SocketAddr>,
    /// Our address of the upstream connection.
    pub local: Option<SocketAddr>,
    /// Why the transport failed (`%UPSTREAM_TRANSPORT_FAILURE_REASON%`).
    pub failure: Option<Box<str>>,
    /// Upstream protocol.
    pub protocol: Option<Protocol>,
    /// Upstream TLS.
    pub tls: Option<Arc<TlsInfo>>,
    /// Attempts so far.
    pub attempts: u32,
}

/// All that is known about one request or one TCP session.
#[derive(Clone, Debug)]
pub struct RequestInfo {
    /// The downstream connection.
    pub connection: Arc<ConnectionInfo>,
    /// When its first byte was read.
    pub start: Instant,
    /// When its first byte was read, by the wall clock.
    pub start_wall: SystemTime,
    /// Later points in time.
    pub timings: Timings,
    /// Downstream protocol; none for TCP.
    pub protocol: Option<Protocol>,
    /// Response flags.
    pub flags: ResponseFlags,
    /// Status code; 0 when no response was sent.
    pub code: u16,
    /// Envoy's `%RESPONSE_CODE_DETAILS%`.
    pub details: Option<Cow<'static, str>>,
    /// `%CONNECTION_TERMINATION_DETAILS%`.
    pub termination: Option<Cow<'static, str>>,
    /// Byte counts.
    pub bytes: ByteCounts,
    /// The matched route.
    pub route: Option<Arc<Route>>,
    /// Name of the matched virtual host.
    pub virtual_host: Option<Arc<str>>,
    /// Upstream side.
    pub upstream: UpstreamInfo,
    /// Trusted client address (`%DOWNSTREAM_REMOTE_ADDRESS%`), from `x-forwarded-for` where the manager trusts it.
    pub remote: SocketAddr,
    /// Whether the request is gRPC.
    pub grpc: bool,
    /// `grpc-status` of a gRPC response, from headers or trailers.
    pub grpc_status: Option<u32>,
    /// Istio's metadata of the downstream peer.
    pub downstream_peer: Option<Arc<PeerMetadata>>,
    /// Istio's metadata of the upstream peer.
    pub upstream_peer: Option<Arc<PeerMetadata>>,
    /// What filters told (dynamic metadata).
    pub metadata: Metadata,
}

impl RequestInfo {
    /// A request that begins now on `connection`.
    pub fn new(connection: Arc<ConnectionInfo>, protocol: Option<Protocol>) -> Self {
        RequestInfo {
            remote: connection.remote,
            connection,
            start: Instant::now(),
            start_wall: SystemTime::now(),
            timings: Timings::default(),
            protocol,
            flags: ResponseFlags::default(),
            code: 0,
            details: None,
            termination: None,
            bytes: ByteCounts::default(),
            route: None,
            virtual_host: None,
            upstream: UpstreamInfo::default(),
            grpc: false,
            grpc_status: None,
            downstream_peer: None,
            upstream_peer: None,
            metadata: Metadata::default(),
        }
    }

    /// Time since the start.
    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }
}

/// What a log line, a metric or a format reads: the request and what was exchanged so far.
#[derive(Clone, Copy)]
pub struct LogContext<'a> {
    /// The request's facts.
    pub info: &'a RequestInfo,
    /// The request head as it was sent upstream; none for TCP.
    pub request: Option<&'a RequestHead>,
    /// The response head as it was sent downstream; none before it is known.
    pub response: Option<&'a ResponseHead>,
    /// The response's trailers.
    pub trailers: Option<&'a Headers>,
}

/// Receives every finished request or TCP session: access logs, Istio's metrics.
///
/// Called on the worker that served it; implementations must not block.
pub trait AccessLog: Send + Sync + std::fmt::Debug {
    /// The request has ended.
    fn log(&self, context: &LogContext<'_>);

    /// A TCP session began (Istio's `tcp_connections_opened`).
    fn opened(&self, _context: &LogContext<'_>) {}
}

/// A compiled `%FORMAT%` string.
pub trait ValueFormat: Send + Sync + std::fmt::Debug {
    /// Appends the formatted value to `out`; appends nothing when every operator is empty.
    fn write(&self, context: &LogContext<'_>, out: &mut Vec<u8>);
}

/// What a synchronous filter decides about a request.
#[derive(Debug)]
pub enum Verdict {
    /// Go on with the next filter.
    Continue,
    /// Answer at once.
    Reply(crate::error::LocalReply),
}

/// An HTTP filter that needs no waiting: metadata exchange, authorization, header edits.
pub trait HttpExtension: Send + Sync + std::fmt::Debug {
    /// Before routing is final and the request is forwarded.
    fn on_request(&self, _request: &mut RequestHead, _info: &mut RequestInfo) -> Verdict {
        Verdict::Continue
    }

    /// Before the response is sent downstream.
    fn on_response(&self, _request: &RequestHead, _response: &mut ResponseHead, _info: &mut RequestInfo) {}
}

/// A network filter that needs no waiting: decides whether a connection may go on.
pub trait NetworkExtension: Send + Sync + std::fmt::Debug {
    /// Whether the connection may go on; false closes it.
    fn on_connection(&self, info: &mut RequestInfo) -> bool;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_written_in_envoys_order_and_dash_when_none() {
        let mut flags = ResponseFlags::default();
        assert_eq!(flags.to_string(), "-");
        flags.insert(ResponseFlags::URX);
        flags.insert(ResponseFlags::UF);
        assert_eq!(flags.to_string(), "UF,URX");
    }
}
