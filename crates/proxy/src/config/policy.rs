//! Policies of a route: retries, faults, mirrors, CORS, hashing.

use super::cluster::ClusterSlot;
use super::matcher::{Fraction, HeaderMatcher, Regex, StringMatcher};
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;

/// Conditions on which a request is tried again (`x-envoy-retry-on`, `x-envoy-retry-grpc-on`), a set of bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RetryOn(pub u32);

macro_rules! conditions {
    ($($(#[$doc:meta])* $name:ident = $bit:literal, $text:literal;)*) => {
        impl RetryOn {
            $($(#[$doc])* pub const $name: RetryOn = RetryOn(1 << $bit);)*

            /// The condition of that name.
            pub fn by_name(name: &str) -> Option<RetryOn> {
                match name { $($text => Some(RetryOn::$name),)* _ => None }
            }
        }
    };
}

conditions! {
    /// Any 5xx, or no response at all.
    FIVE_XX = 0, "5xx";
    /// 502, 503 or 504.
    GATEWAY_ERROR = 1, "gateway-error";
    /// No response: disconnect, reset or read timeout.
    RESET = 2, "reset";
    /// As `reset`, but only before the request was sent.
    RESET_BEFORE_REQUEST = 3, "reset-before-request";
    /// The connection could not be made.
    CONNECT_FAILURE = 4, "connect-failure";
    /// The upstream refused the stream (HTTP/2 REFUSED_STREAM).
    REFUSED_STREAM = 5, "refused-stream";
    /// 409.
    RETRIABLE_4XX = 6, "retriable-4xx";
    /// One of `retriable_status_codes`.
    RETRIABLE_STATUS_CODES = 7, "retriable-status-codes";
    /// One of `retriable_headers` matches the response.
    RETRIABLE_HEADERS = 8, "retriable-headers";
    /// `x-envoy-ratelimited` on the response does not prevent a retry.
    ENVOY_RATE_LIMITED = 9, "envoy-ratelimited";
    /// gRPC status 1.
    GRPC_CANCELLED = 10, "cancelled";
    /// gRPC status 4.
    GRPC_DEADLINE_EXCEEDED = 11, "deadline-exceeded";
    /// gRPC status 13.
    GRPC_INTERNAL = 12, "internal";
    /// gRPC status 8.
    GRPC_RESOURCE_EXHAUSTED = 13, "resource-exhausted";
    /// gRPC status 14.
    GRPC_UNAVAILABLE = 14, "unavailable";
    /// HTTP/3 failed after connecting (never happens here).
    HTTP3_POST_CONNECT_FAILURE = 15, "http3-post-connect-failure";
}

impl RetryOn {
    /// Parses a comma-separated list; also tells whether every name was known.
    pub fn parse(list: &str) -> (RetryOn, bool) {
        let (mut set, mut known) = (RetryOn::default(), true);
        for name in list.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            match RetryOn::by_name(name) {
                Some(condition) => set.0 |= condition.0,
                None => known = false,
            }
        }
        (set, known)
    }

    /// Whether one of `other`'s conditions is in the set.
    pub fn has(self, other: RetryOn) -> bool {
        self.0 & other.0 != 0
    }
}

/// When and how often a request is tried again.
#[derive(Clone, Debug)]
pub struct RetryPolicy {
    /// Conditions.
    pub on: RetryOn,
    /// Tries after the first.
    pub max_retries: u32,
    /// Timeout of each try; none: the route's timeout alone.
    pub per_try_timeout: Option<Duration>,
    /// Longest silence of one try.
    pub per_try_idle_timeout: Option<Duration>,
    /// Codes for `retriable-status-codes`.
    pub retriable_status_codes: Vec<u16>,
    /// Response headers for `retriable-headers`.
    pub retriable_headers: Vec<HeaderMatcher>,
    /// Request headers, one of which must match for the request to be tried again; empty: all requests.
    pub retriable_request_headers: Vec<HeaderMatcher>,
    /// Base of the jittered exponential back-off; 25 ms by default.
    pub base_interval: Duration,
    /// Largest back-off; ten times the base by default.
    pub max_interval: Duration,
    /// Avoid hosts that were tried (`envoy.retry_host_predicates.previous_hosts`).
    pub avoid_previous_hosts: bool,
    /// How often another host is asked for before an avoided one is taken.
    pub host_selection_attempts: u32,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        RetryPolicy {
            on: RetryOn::default(),
            max_retries: 1,
            per_try_timeout: None,
            per_try_idle_timeout: None,
            retriable_status_codes: Vec::new(),
            retriable_headers: Vec::new(),
            retriable_request_headers: Vec::new(),
            base_interval: Duration::from_millis(25),
            max_interval: Duration::from_millis(250),
            avoid_previous_hosts: false,
            host_selection_attempts: 1,
        }
    }
}

/// Delays and aborts (Envoy's `HTTPFault`).
#[derive(Clone, Debug, Default)]
pub struct FaultPolicy {
    /// The delay.
    pub delay: Option<FaultDelay>,
    /// The abort.
    pub abort: Option<FaultAbort>,
    /// Headers that a request must have for faults to apply.
    pub headers: Vec<HeaderMatcher>,
    /// Most faults at a time in this process; none: no limit.
    pub max_active: Option<u32>,
    /// Only for this upstream cluster.
    pub upstream_cluster: Option<Box<str>>,
}

/// A delay fault.
#[derive(Clone, Debug)]
pub struct FaultDelay {
    /// How long.
    pub kind: FaultSource<Duration>,
    /// For how many requests.
    pub percentage: Fraction,
}

/// An abort fault.
#[derive(Clone, Debug)]
pub struct FaultAbort {
    /// With what.
    pub kind: FaultSource<AbortStatus>,
    /// For how many requests.
    pub percentage: Fraction,
}

/// Where a fault's value comes from.
#[derive(Clone, Debug)]
pub enum FaultSource<T> {
    /// The configuration.
    Fixed(T),
    /// The request's `x-envoy-fault-*` headers.
    Header,
}

/// What an abort answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AbortStatus {
    /// An HTTP status.
    Http(u16),
    /// A gRPC status.
    Grpc(u32),
}

/// A copy of requests to another cluster.
#[derive(Clone, Debug)]
pub struct MirrorPolicy {
    /// The cluster; its answers are dropped.
    pub cluster: Arc<ClusterSlot>,
    /// For how many requests.
    pub fraction: Fraction,
    /// Keep the authority as it is; otherwise `-shadow` is appended to its host.
    pub keep_host: bool,
}

/// Cross-origin resource sharing.
#[derive(Clone, Debug, Default)]
pub struct CorsPolicy {
    /// Origins that are allowed.
    pub allow_origins: Vec<StringMatcher>,
    /// `access-control-allow-methods`.
    pub allow_methods: Option<Bytes>,
    /// `access-control-allow-headers`.
    pub allow_headers: Option<Bytes>,
    /// `access-control-expose-headers`.
    pub expose_headers: Option<Bytes>,
    /// `access-control-max-age`.
    pub max_age: Option<Bytes>,
    /// `access-control-allow-credentials: true`.
    pub allow_credentials: bool,
    /// For how many requests it is enforced.
    pub enabled: Option<Fraction>,
    /// Let preflights that do not match reach the application (Envoy's default is true).
    pub forward_not_matching_preflights: bool,
}

/// One source of the hash that ring hash and maglev use.
#[derive(Clone, Debug)]
pub struct HashPolicy {
    /// What is hashed.
    pub source: HashSource,
    /// Stop when this policy gave a hash.
    pub terminal: bool,
}

/// What a hash policy hashes.
#[derive(Clone, Debug)]
pub enum HashSource {
    /// A request header, by lower-case name.
    Header(Box<str>),
    /// A cookie; made and sent to the client with a lifetime when it is missing and `ttl` is set.
    Cookie {
        /// The cookie's name.
        name: Box<str>,
        /// Lifetime of a cookie that is made; zero makes a session cookie.
        ttl: Option<Duration>,
        /// Path of a cookie that is made.
        path: Box<str>,
    },
    /// The client's address.
    SourceIp,
    /// A query parameter.
    Query(Box<str>),
}

/// How a path is rewritten.
#[derive(Clone, Debug)]
pub enum PathRewrite {
    /// The matched prefix (or whole path of an exact match) is replaced.
    Prefix(Bytes),
    /// Matches of the expression in the path are replaced.
    Regex(Regex, super::matcher::Substitution),
    /// The whole path is replaced, the query kept.
    Full(Bytes),
}

/// How the authority is rewritten.
#[derive(Clone, Debug)]
pub enum HostRewrite {
    /// By a constant.
    Literal(Bytes),
    /// By the host name of the chosen endpoint (DNS clusters).
    Auto,
    /// By the value of a request header (lower-case name).
    Header(Box<str>),
    /// By the matches of an expression in the path.
    PathRegex(Regex, super::matcher::Substitution),
}
