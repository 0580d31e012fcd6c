//! The policies of a DestinationRule: load balancing, connection pools, outlier detection and TLS.

use std::collections::BTreeMap;

use super::virtual_service::PortSelector;
use crate::wire::duration::Duration;
use crate::wire::message::{enumeration, message, oneof};

message! {
    /// What applies to traffic to a destination.
    pub struct TrafficPolicy {
        /// How an endpoint is chosen.
        load_balancer: Option<LoadBalancerSettings>,
        /// How many connections and requests there may be.
        connection_pool: Option<ConnectionPoolSettings>,
        /// When an endpoint is left out for its failures.
        outlier_detection: Option<OutlierDetection>,
        /// How connections are secured.
        tls: Option<ClientTlsSettings>,
        /// What applies to single ports, instead of the above.
        port_level_settings: Vec<PortTrafficPolicy>,
        /// Tunnel TCP connections through another protocol.
        tunnel: Option<TunnelSettings>,
        /// Announce the client's address by the PROXY protocol.
        proxy_protocol: Option<ProxyProtocol>,
        /// How many retries there may be, relative to the requests.
        retry_budget: Option<RetryBudget>,
    }
}

message! {
    /// What applies to one port.
    pub struct PortTrafficPolicy {
        /// The port.
        port: Option<PortSelector>,
        /// How an endpoint is chosen.
        load_balancer: Option<LoadBalancerSettings>,
        /// How many connections and requests there may be.
        connection_pool: Option<ConnectionPoolSettings>,
        /// When an endpoint is left out for its failures.
        outlier_detection: Option<OutlierDetection>,
        /// How connections are secured.
        tls: Option<ClientTlsSettings>,
    }
}

message! {
    /// Tunnelling of TCP connections.
    pub struct TunnelSettings {
        /// `CONNECT` (the default) or `POST`.
        protocol: String,
        /// Where the tunnel ends: a host or an address.
        target_host: String,
        /// The port there.
        target_port: u32,
    }
}

message! {
    /// The PROXY protocol towards the destination.
    pub struct ProxyProtocol {
        /// Its version.
        version: Option<ProxyProtocolVersion>,
    }
}

enumeration! {
    /// Version of the PROXY protocol.
    pub enum ProxyProtocolVersion {
        /// Version 1, in text.
        V1 = 0 "V1",
        /// Version 2, in binary.
        V2 = 1 "V2",
    }
}

message! {
    /// How many retries there may be at a time.
    pub struct RetryBudget {
        /// Share of the active requests, 0 to 100; 20 by default.
        percent: Option<f64>,
        /// The number that is always allowed; 3 by default.
        min_retry_concurrency: u32,
        /// The time over which requests are counted; 0 counts only those that are active.
        budget_interval: Option<Duration>,
    }
}

message! {
    /// How an endpoint is chosen.
    pub struct LoadBalancerSettings {
        /// Preference of near localities, instead of the mesh's.
        locality_lb_setting: Option<LocalityLoadBalancerSetting>,
        /// Deprecated: use warmup.
        warmup_duration_secs: Option<Duration>,
        /// How new endpoints come to their share.
        warmup: Option<WarmupConfiguration>,
    }
    oneof {
        /// The policy.
        lb_policy: LbPolicy,
    }
}

oneof! {
    /// Load balancing policy.
    pub enum LbPolicy {
        /// One that needs no settings.
        simple: Simple(SimpleLb),
        /// By the hash of something in the request.
        consistent_hash: ConsistentHash(ConsistentHashLb),
    }
}

enumeration! {
    /// Load balancing policies that need no settings.
    pub enum SimpleLb {
        /// Istio's default, which is LEAST_REQUEST.
        Unspecified = 0 "UNSPECIFIED",
        /// Deprecated: LEAST_REQUEST.
        LeastConn = 1 "LEAST_CONN",
        /// Any endpoint.
        Random = 2 "RANDOM",
        /// The address that the client asked for.
        Passthrough = 3 "PASSTHROUGH",
        /// One after the other.
        RoundRobin = 4 "ROUND_ROBIN",
        /// The one with fewer requests of two chosen at random.
        LeastRequest = 5 "LEAST_REQUEST",
    }
}

message! {
    /// Load balancing by a hash, for soft affinity.
    pub struct ConsistentHashLb {
        /// Deprecated: use ringHash.
        minimum_ring_size: u64,
    }
    oneof {
        /// What is hashed.
        hash_key: HashKey,
        /// How the hash finds an endpoint; a ring by default.
        hash_algorithm: HashAlgorithm,
    }
}

oneof! {
    /// What is hashed.
    pub enum HashKey {
        /// A header.
        http_header_name: HttpHeaderName(String),
        /// A cookie.
        http_cookie: HttpCookie(HttpCookie),
        /// The client's address.
        use_source_ip: UseSourceIp(bool),
        /// A query parameter.
        http_query_parameter_name: HttpQueryParameterName(String),
    }
}

oneof! {
    /// How a hash finds an endpoint.
    pub enum HashAlgorithm {
        /// Ketama ring.
        ring_hash: RingHash(RingHash),
        /// Maglev table.
        maglev: Maglev(Maglev),
    }
}

message! {
    /// A cookie that is hashed.
    pub struct HttpCookie {
        /// Its name.
        name: String,
        /// The path for which it is set.
        path: String,
        /// How long it lives when it is made here; 0 means for the session. Without it no cookie is made.
        ttl: Option<Duration>,
        /// What else is set with it (`SameSite`, `Secure`...).
        attributes: Vec<CookieAttribute>,
    }
}

message! {
    /// An attribute of a cookie.
    pub struct CookieAttribute {
        /// Its name.
        name: String,
        /// Its value; attributes such as `Secure` have none.
        value: String,
    }
}

message! {
    /// Settings of the ring.
    pub struct RingHash {
        /// The least number of entries; 1024 by default.
        minimum_ring_size: u64,
    }
}

message! {
    /// Settings of the Maglev table.
    pub struct Maglev {
        /// The table's size, a prime below 5000011; 65537 by default.
        table_size: u64,
    }
}

message! {
    /// How new endpoints come to their share.
    pub struct WarmupConfiguration {
        /// Over which time.
        duration: Option<Duration>,
        /// The share with which they start, in percent; 10 by default.
        minimum_percent: Option<f64>,
        /// How steeply the share grows; 1.0 (linear) by default.
        aggression: Option<f64>,
    }
}

message! {
    /// Preference of near localities. At most one of distribute, failover and failoverPriority may be set.
    pub struct LocalityLoadBalancerSetting {
        /// Shares of localities, by the client's.
        distribute: Vec<LocalityDistribute>,
        /// Where traffic of a region goes when its endpoints fail.
        failover: Vec<LocalityFailover>,
        /// Labels, in order of weight, that make an endpoint near.
        failover_priority: Vec<String>,
        /// Whether any of this applies; true by default where outlier detection is set.
        enabled: Option<bool>,
    }
}

message! {
    /// Shares of localities.
    pub struct LocalityDistribute {
        /// The client's locality: `region/zone/subzone`, with or without `*` at the end.
        from: String,
        /// Percentages by locality; they must add up to 100.
        to: BTreeMap<String, u32>,
    }
}

message! {
    /// Where traffic goes when a region fails.
    pub struct LocalityFailover {
        /// The client's region.
        from: String,
        /// The region that takes over.
        to: String,
    }
}

message! {
    /// How many connections and requests there may be to each destination.
    pub struct ConnectionPoolSettings {
        /// For all connections.
        tcp: Option<TcpSettings>,
        /// For HTTP/1.1, HTTP/2 and gRPC.
        http: Option<HttpSettings>,
    }
}

message! {
    /// Settings of all connections.
    pub struct TcpSettings {
        /// The most connections; 2^32-1 by default.
        max_connections: i32,
        /// How long connecting may take; 10 s by default.
        connect_timeout: Option<Duration>,
        /// TCP keepalive.
        tcp_keepalive: Option<TcpKeepalive>,
        /// How long a connection may live; without end by default.
        max_connection_duration: Option<Duration>,
        /// How long a connection may be idle; 1 h by default, 0 means without end.
        idle_timeout: Option<Duration>,
    }
}

message! {
    /// TCP keepalive.
    pub struct TcpKeepalive {
        /// How many probes go unanswered before a connection is dead.
        probes: u32,
        /// How long a connection is idle before it is probed.
        time: Option<Duration>,
        /// The time between probes.
        interval: Option<Duration>,
    }
}

message! {
    /// Settings of HTTP connections.
    pub struct HttpSettings {
        /// The most requests that wait for a connection; 2^32-1 by default.
        http1_max_pending_requests: i32,
        /// The most requests at a time; 2^32-1 by default.
        http2_max_requests: i32,
        /// The most requests on one connection; 0 means without end.
        max_requests_per_connection: i32,
        /// The most retries at a time; 2^32-1 by default.
        max_retries: i32,
        /// How long a connection may be idle; 1 h by default.
        idle_timeout: Option<Duration>,
        /// Whether HTTP/1.1 is upgraded to HTTP/2.
        h2_upgrade_policy: H2UpgradePolicy,
        /// Whether the client's protocol is kept.
        use_client_protocol: bool,
        /// The most streams on one HTTP/2 connection; 2^31-1 by default.
        max_concurrent_streams: i32,
    }
}

enumeration! {
    /// Whether HTTP/1.1 is upgraded to HTTP/2.
    pub enum H2UpgradePolicy {
        /// As the mesh has it.
        Default = 0 "DEFAULT",
        /// Never.
        DoNotUpgrade = 1 "DO_NOT_UPGRADE",
        /// Always.
        Upgrade = 2 "UPGRADE",
    }
}

message! {
    /// When an endpoint is left out for its failures.
    pub struct OutlierDetection {
        /// Deprecated: use consecutive5xxErrors or consecutiveGatewayErrors.
        consecutive_errors: i32,
        /// Whether failures to connect are counted apart from answers.
        split_external_local_origin_errors: bool,
        /// How many failures to connect in a row; 5 by default.
        consecutive_local_origin_failures: Option<u32>,
        /// How many answers 502, 503 and 504 in a row; 0 (the default) means any number.
        consecutive_gateway_errors: Option<u32>,
        /// How many answers 5xx in a row; 5 by default, 0 means any number.
        consecutive_5xx_errors: Option<u32>,
        /// How often endpoints are looked at; 10 s by default.
        interval: Option<Duration>,
        /// How long an endpoint is left out, times the number of times it was; 30 s by default.
        base_ejection_time: Option<Duration>,
        /// The most endpoints that may be left out, in percent; 10 by default.
        max_ejection_percent: i32,
        /// The share of healthy endpoints, in percent, below which none is left out.
        min_health_percent: i32,
    }
}

message! {
    /// How connections to the destination are secured.
    pub struct ClientTlsSettings {
        /// Whether and how TLS is used.
        mode: Option<ClientTlsMode>,
        /// MUTUAL: the file with the client's certificate.
        client_certificate: String,
        /// MUTUAL: the file with the client's key.
        private_key: String,
        /// The file with the authorities that sign the server's certificate; the system's by default.
        ca_certificates: String,
        /// The secret with certificate, key and authorities, instead of files.
        credential_name: String,
        /// Names of which the server's certificate must have one.
        subject_alt_names: Vec<String>,
        /// The server name (SNI) to ask for.
        sni: String,
        /// Whether the server's certificate goes unverified.
        insecure_skip_verify: Option<bool>,
        /// The file with revoked certificates.
        ca_crl: String,
    }
}

enumeration! {
    /// Whether and how TLS is used towards a destination.
    pub enum ClientTlsMode {
        /// No TLS.
        Disable = 0 "DISABLE",
        /// TLS.
        Simple = 1 "SIMPLE",
        /// TLS with the given client certificate.
        Mutual = 2 "MUTUAL",
        /// TLS with the workload's own certificate.
        IstioMutual = 3 "ISTIO_MUTUAL",
    }
}
