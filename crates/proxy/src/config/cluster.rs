//! Clusters: how upstreams are found, connected to and balanced.

use super::endpoint::{Endpoint, EndpointSlot};
use super::health_check::HealthCheck;
use super::subset::SubsetConfig;
use super::tls::TlsClient;
use crate::tls::TlsStats;
use crate::upstream::HealthStats;
use crate::upstream::stats::ClusterStats;
use arc_swap::ArcSwapOption;
use std::net::{IpAddr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// A cluster as configured. Replaced as a whole by an update; endpoints, statistics and limits in use live on.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// Name.
    pub name: Arc<str>,
    /// Name for statistics; the name where none is given.
    pub stat_name: Arc<str>,
    /// Hash of the content: an update with the same hash keeps pools. 0: unknown.
    pub hash: u64,
    /// How endpoints are found.
    pub discovery: Discovery,
    /// Where the endpoints stand.
    pub endpoints: Arc<EndpointSlot>,
    /// Limit of connection establishment; 5 s by default.
    pub connect_timeout: Duration,
    /// Load balancing.
    pub lb: LbPolicy,
    /// Send to any endpoint when fewer than this percentage are healthy (panic); 50 by default.
    pub panic_threshold: u32,
    /// In panic, fail rather than send to any endpoint (`zone_aware_lb_config.fail_traffic_on_panic`).
    pub fail_on_panic: bool,
    /// Localities take load by their weights (`locality_weighted_lb_config`).
    pub locality_weighted: bool,
    /// Subsets of the endpoints by their labels.
    pub subsets: Option<Arc<SubsetConfig>>,
    /// Circuit breakers of default priority.
    pub limits: CircuitBreakers,
    /// Circuit breakers of high priority.
    pub high_limits: CircuitBreakers,
    /// Outlier detection.
    pub outlier: Option<OutlierDetection>,
    /// Active health check.
    pub health_check: Option<Box<HealthCheck>>,
    /// Protocol spoken upstream.
    pub protocol: UpstreamProtocol,
    /// HTTP/2 settings.
    pub http2: Http2Options,
    /// An idle upstream connection is closed after this; 1 h by default, `None`: never.
    pub idle_timeout: Option<Duration>,
    /// Requests on one connection; `None`: no limit.
    pub max_requests_per_connection: Option<u32>,
    /// Life of a connection.
    pub max_connection_duration: Option<Duration>,
    /// Transport.
    pub transport: Transport,
    /// Socket settings.
    pub socket: UpstreamSocket,
    /// Whether Istio's ALPN filter may replace the ALPN protocols of connections (`istio.alpn_override` metadata).
    pub alpn_override: bool,
    /// Tell upstreams of TCP who we are, and learn who they are, where ALPN agreed on that (`istio-peer-exchange`).
    pub exchange: bool,
    /// Istio's metadata of the cluster: the services it stands for.
    pub services: Vec<ClusterService>,
}

impl Cluster {
    /// A static HTTP/1.1 cluster with Envoy's defaults.
    pub fn fixed(name: &str, addresses: impl IntoIterator<Item = SocketAddr>) -> Self {
        let set = super::endpoint::EndpointSet::of(addresses);
        Cluster::with(name, Discovery::Static, Arc::new(EndpointSlot::holding(name, set)))
    }

    /// A cluster with Envoy's defaults.
    pub fn with(name: &str, discovery: Discovery, endpoints: Arc<EndpointSlot>) -> Self {
        let name: Arc<str> = name.into();
        Cluster {
            stat_name: name.clone(),
            name,
            hash: 0,
            discovery,
            endpoints,
            connect_timeout: Duration::from_secs(5),
            lb: LbPolicy::RoundRobin,
            panic_threshold: 50,
            fail_on_panic: false,
            locality_weighted: false,
            subsets: None,
            limits: CircuitBreakers::default(),
            high_limits: CircuitBreakers::default(),
            outlier: None,
            health_check: None,
            protocol: UpstreamProtocol::Http1,
            http2: Http2Options::default(),
            idle_timeout: Some(Duration::from_secs(3600)),
            max_requests_per_connection: None,
            max_connection_duration: None,
            transport: Transport::Plain,
            socket: UpstreamSocket::default(),
            alpn_override: true,
            exchange: false,
            services: Vec::new(),
        }
    }
}

/// A service that a cluster stands for (Istio's `istio.services` metadata).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterService {
    /// Host (FQDN).
    pub host: Arc<str>,
    /// Short name.
    pub name: Arc<str>,
    /// Namespace.
    pub namespace: Arc<str>,
}

/// How endpoints are found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Discovery {
    /// They are in the configuration.
    Static,
    /// EDS gives them; the endpoint slot bears the service name.
    Eds,
    /// DNS: every address of every name.
    StrictDns(DnsDiscovery),
    /// DNS: the first address, looked up again for new connections.
    LogicalDns(DnsDiscovery),
    /// The connection's original destination.
    OriginalDst {
        /// Take the address from this request header (lower case) where it is there.
        header: Option<Box<str>>,
        /// Another port than the original.
        port: Option<u16>,
    },
}

/// Names to look up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsDiscovery {
    /// Name, port and weight of each.
    pub targets: Vec<DnsTarget>,
    /// Time between look-ups; 5 s by default.
    pub refresh: Duration,
    /// Which families are wanted.
    pub family: DnsFamily,
}

/// A name to look up.
#[derive(Clone, Debug)]
pub struct DnsTarget {
    /// Host name (or address).
    pub host: Arc<str>,
    /// Port.
    pub port: u16,
    /// What each address becomes: weight, priority, locality, metadata.
    pub template: Endpoint,
}

impl PartialEq for DnsTarget {
    fn eq(&self, other: &Self) -> bool {
        (&self.host, self.port) == (&other.host, other.port)
            && self.template.is_configured_as(&other.template)
    }
}

impl Eq for DnsTarget {}

/// Which address families a look-up wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DnsFamily {
    /// IPv6 if there is any, else IPv4 (Envoy's AUTO).
    #[default]
    Auto,
    /// IPv4 alone.
    V4Only,
    /// IPv6 alone.
    V6Only,
    /// IPv4 if there is any, else IPv6.
    V4Preferred,
    /// Both.
    All,
}

/// Load balancing.
#[derive(Clone, Debug, PartialEq)]
pub enum LbPolicy {
    /// Weighted round robin.
    RoundRobin,
    /// The least busy of some random ones.
    LeastRequest {
        /// How many are compared; 2 by default.
        choices: u32,
        /// Where weights differ: the power to which requests under way lower a weight; 1 by default.
        bias: f64,
    },
    /// Random by weight.
    Random,
    /// Consistent hashing on a ring.
    RingHash {
        /// Fewest points on the ring; 1,024 by default.
        min_size: u64,
        /// Most points; 8,388,608 by default.
        max_size: u64,
    },
    /// Consistent hashing by Maglev's table.
    Maglev {
        /// Size of the table, a prime; 65,537 by default.
        table_size: u64,
    },
    /// The original destination's own (OriginalDst clusters).
    ClusterProvided,
}

impl LbPolicy {
    /// Whether the same hash always finds the same endpoint.
    pub fn is_consistent(&self) -> bool {
        matches!(self, LbPolicy::RingHash { .. } | LbPolicy::Maglev { .. })
    }
}

/// Limits of a cluster (Envoy's defaults: 1,024 each, 3 retries).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CircuitBreakers {
    /// Open connections.
    pub max_connections: u32,
    /// Requests that wait for a connection.
    pub max_pending_requests: u32,
    /// Requests under way.
    pub max_requests: u32,
    /// Retries under way.
    pub max_retries: u32,
    /// Retry budget: percent of active requests and the least number; replaces `max_retries`.
    pub retry_budget: Option<(f64, u32)>,
}

impl Default for CircuitBreakers {
    fn default() -> Self {
        CircuitBreakers {
            max_connections: 1024,
            max_pending_requests: 1024,
            max_requests: 1024,
            max_retries: 3,
            retry_budget: None,
        }
    }
}

/// Outlier detection: endpoints that fail are left out for a while.
#[derive(Clone, Debug, PartialEq)]
pub struct OutlierDetection {
    /// 5xx in a row that eject; `None`: never. Envoy's default is 5.
    pub consecutive_5xx: Option<u32>,
    /// Gateway errors in a row that eject; `None`: never (Envoy's default enforces 0%).
    pub consecutive_gateway: Option<u32>,
    /// Failures of our own connection in a row, counted apart from 5xx.
    pub consecutive_local: Option<u32>,
    /// Count failures of our own side apart (`split_external_local_origin_errors`).
    pub split_local: bool,
    /// Time between checks; 10 s by default.
    pub interval: Duration,
    /// Time out, multiplied by the number of ejections; 30 s by default.
    pub base_ejection: Duration,
    /// Most time out; 300 s by default.
    pub max_ejection: Duration,
    /// Most endpoints out, in percent; 10 by default.
    pub max_ejection_percent: u32,
}

impl Default for OutlierDetection {
    fn default() -> Self {
        OutlierDetection {
            consecutive_5xx: Some(5),
            consecutive_gateway: None,
            consecutive_local: None,
            split_local: false,
            interval: Duration::from_secs(10),
            base_ejection: Duration::from_secs(30),
            max_ejection: Duration::from_secs(300),
            max_ejection_percent: 10,
        }
    }
}

/// The protocol that is spoken upstream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UpstreamProtocol {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2 (prior knowledge).
    Http2,
    /// That of the downstream request (`use_downstream_protocol_config`).
    Downstream,
    /// What ALPN agrees; HTTP/1.1 without TLS.
    Auto,
}

/// HTTP/2 settings of either side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Http2Options {
    /// Streams at a time on one connection; the peer's limit where that is lower.
    pub max_concurrent_streams: u32,
    /// Initial stream window, in bytes.
    pub stream_window: u32,
    /// Initial connection window, in bytes.
    pub connection_window: u32,
}

impl Default for Http2Options {
    fn default() -> Self {
        // Envoy's present defaults: 1,024 streams, 16 MiB and 24 MiB windows.
        Http2Options { max_concurrent_streams: 1024, stream_window: 16 << 20, connection_window: 24 << 20 }
    }
}

/// Transport of upstream connections.
#[derive(Clone, Debug)]
pub enum Transport {
    /// Plain text.
    Plain,
    /// TLS.
    Tls(Arc<TlsClient>),
    /// By the endpoint's metadata: the first whose labels the endpoint has.
    Matches(Vec<TransportMatch>),
}

impl Transport {
    /// The request header that names the server to ask for (`:authority` is the rule), where that is automatic.
    pub fn auto_sni(&self) -> Option<&str> {
        let first = match self {
            Transport::Plain => None,
            Transport::Tls(tls) => Some(tls),
            // The option is the cluster's, so that every context has it.
            Transport::Matches(list) => list.iter().find_map(|candidate| candidate.tls.as_ref()),
        };
        first.and_then(|tls| tls.auto_sni.as_deref())
    }

    /// Whether no endpoint is spoken to by TLS.
    pub fn is_plain(&self) -> bool {
        match self {
            Transport::Plain => true,
            Transport::Tls(_) => false,
            Transport::Matches(matches) => matches.iter().all(|one| one.tls.is_none()),
        }
    }
}

/// A transport for endpoints that carry some labels.
#[derive(Clone, Debug)]
pub struct TransportMatch {
    /// Labels that the endpoint must have; empty matches all.
    pub labels: Vec<(Box<str>, Box<str>)>,
    /// TLS, or plain.
    pub tls: Option<Arc<TlsClient>>,
}

/// Socket settings of upstream connections.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UpstreamSocket {
    /// SO_MARK.
    pub mark: Option<u32>,
    /// Source address of connections to IPv4 (port 0: any).
    pub source_v4: Option<SocketAddrV4>,
    /// Source address of connections to IPv6 (port 0: any).
    pub source_v6: Option<SocketAddrV6>,
    /// TCP keep-alive: idle time, interval and probes.
    pub keepalive: Option<TcpKeepalive>,
}

impl UpstreamSocket {
    /// The source address of connections to an address, which is of the same IP version.
    pub fn source(&self, target: IpAddr) -> Option<SocketAddr> {
        match target {
            IpAddr::V4(_) => self.source_v4.map(SocketAddr::V4),
            IpAddr::V6(_) => self.source_v6.map(SocketAddr::V6),
        }
    }
}

/// Whose address an upstream connection bears instead of the proxy's (`envoy.filters.listener.original_src`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct UpstreamSource {
    /// The client's address.
    pub address: IpAddr,
    /// SO_MARK; none: that of the cluster.
    pub mark: Option<u32>,
}

/// TCP keep-alive; what is none stays the system's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpKeepalive {
    /// Idle time before the first probe.
    pub time: Option<Duration>,
    /// Time between probes.
    pub interval: Option<Duration>,
    /// Probes that may go unanswered.
    pub probes: Option<u32>,
}

/// What counts against circuit breakers, over all workers and updates.
#[derive(Debug, Default)]
pub struct InUse {
    /// Open connections.
    pub connections: AtomicU32,
    /// Requests that wait for a connection.
    pub pending: AtomicU32,
    /// Requests under way.
    pub requests: AtomicU32,
    /// Retries under way.
    pub retries: AtomicU32,
}

/// The place where the current cluster of one name stands. Routes hold it, so that no name is looked up on the path.
#[derive(Debug)]
pub struct ClusterSlot {
    /// Name.
    pub name: Arc<str>,
    /// A number that workers index their pools by; never used again.
    pub id: u64,
    /// Statistics; they outlive updates.
    pub stats: ClusterStats,
    /// Counters of TLS; they outlive updates as well.
    pub tls_stats: TlsStats,
    /// What is in use.
    pub in_use: InUse,
    /// Counters of active health checks, where there are any.
    pub health: OnceLock<Box<HealthStats>>,
    current: ArcSwapOption<Cluster>,
}

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

impl ClusterSlot {
    /// An empty place: requests get 503 (NC) until a cluster comes.
    pub fn empty(name: impl Into<Arc<str>>, workers: usize) -> Self {
        ClusterSlot {
            name: name.into(),
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            stats: ClusterStats::new(workers),
            tls_stats: TlsStats::new(workers),
            in_use: InUse::default(),
            health: OnceLock::new(),
            current: ArcSwapOption::empty(),
        }
    }

    /// The current cluster.
    pub fn load(&self) -> arc_swap::Guard<Option<Arc<Cluster>>> {
        self.current.load()
    }

    /// Swaps the cluster.
    pub fn store(&self, cluster: Option<Arc<Cluster>>) {
        self.current.store(cluster);
    }
}
