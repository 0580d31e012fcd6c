//! The HTTP connection manager's settings.

use super::cluster::Http2Options;
use super::ext_authz::ExtAuthzFilter;
use super::jwt::JwtFilter;
use super::policy::{CorsPolicy, FaultPolicy};
use super::rbac::RbacFilter;
use super::route_table::RouteSlot;
use super::tracing::Tracing;
use crate::request_info::{AccessLog, HttpExtension};
use crate::upstream::stats::HttpStats;
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;

/// ALPN protocols by the protocol that is spoken upstream, so that the peer knows what comes before it comes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AlpnOverride {
    /// For HTTP/1.1.
    pub http1: Vec<Vec<u8>>,
    /// For HTTP/2.
    pub http2: Vec<Vec<u8>>,
}

impl AlpnOverride {
    /// The protocols to offer.
    pub fn of(&self, http2: bool) -> &[Vec<u8>] {
        if http2 { &self.http2 } else { &self.http1 }
    }
}

/// Settings of HTTP on a filter chain.
#[derive(Debug)]
pub struct HttpConnectionManager {
    /// Prefix of statistics.
    pub stat_prefix: Arc<str>,
    /// Which protocols are served.
    pub codec: Codec,
    /// ALPN protocols that are offered to upstreams instead of their clusters' (Istio's `istio.alpn` filter).
    pub alpn_override: Option<Arc<AlpnOverride>>,
    /// Where routes stand.
    pub routes: Arc<RouteSlot>,
    /// Filters in order, without the router.
    pub filters: Vec<HttpFilter>,
    /// Access logs and metrics.
    pub access_logs: Vec<Arc<dyn AccessLog>>,
    /// The name in `server`; `envoy` by default (Istio: `istio-envoy`).
    pub server_name: Bytes,
    /// What happens to `server`.
    pub server_header: ServerHeader,
    /// Appended to `via` both ways.
    pub via: Option<Bytes>,
    /// Trust the connection's address and append it to `x-forwarded-for`.
    pub use_remote_address: bool,
    /// Trusted proxies in front of us.
    pub xff_num_trusted_hops: u32,
    /// Do not append to `x-forwarded-for`.
    pub skip_xff_append: bool,
    /// Addresses that are internal; none: loopback and the private ranges are not (Envoy's present default is
    /// RFC 1918 and loopback unless configured).
    pub internal_ranges: Option<Vec<super::listener::Cidr>>,
    /// Make `x-request-id` where none is (true by default).
    pub generate_request_id: bool,
    /// Keep `x-request-id` from outside.
    pub preserve_request_id: bool,
    /// Send `x-request-id` back.
    pub request_id_in_response: bool,
    /// What happens to `x-forwarded-client-cert`.
    pub client_cert: ForwardClientCert,
    /// Resolve `.` and `..` and percent-encoded unreserved characters in paths.
    pub normalize_path: bool,
    /// Fold repeated slashes.
    pub merge_slashes: bool,
    /// What happens to escaped slashes (`%2F`, `%5C`).
    pub escaped_slashes: EscapedSlashes,
    /// Take the port off the authority before routing.
    pub strip_port: StripPort,
    /// Upgrades (lower case) and whether they are on.
    pub upgrades: Vec<(Box<str>, bool)>,
    /// Accept HTTP/1.0.
    pub accept_http10: bool,
    /// Idle connections are closed after this; 1 h by default, `None`: never.
    pub idle_timeout: Option<Duration>,
    /// Longest silence of a stream; 5 min by default, `None`: none.
    pub stream_idle_timeout: Option<Duration>,
    /// Limit for the whole request to arrive.
    pub request_timeout: Option<Duration>,
    /// Limit for the request's head to arrive.
    pub headers_timeout: Option<Duration>,
    /// Life of a connection.
    pub max_connection_duration: Option<Duration>,
    /// Requests on one connection.
    pub max_requests_per_connection: Option<u32>,
    /// Time between the announcement of a drain and the end of the connection; 5 s by default.
    pub drain_timeout: Duration,
    /// Largest request head in KiB; 60 by default.
    pub max_request_headers_kb: u32,
    /// Most headers of a request; 100 by default.
    pub max_headers: u32,
    /// HTTP/2 settings.
    pub http2: Http2Options,
    /// Send 100-continue on to the upstream instead of answering it here.
    pub proxy_100_continue: bool,
    /// Suppress `x-envoy-*` headers that the router adds.
    pub suppress_envoy_headers: bool,
    /// Tracing; none: requests are not traced.
    pub tracing: Option<Box<Tracing>>,
    /// Statistics.
    pub stats: Arc<HttpStats>,
}

impl HttpConnectionManager {
    /// Envoy's defaults over a place for routes.
    pub fn new(stat_prefix: &str, routes: Arc<RouteSlot>, workers: usize) -> Self {
        HttpConnectionManager {
            stat_prefix: stat_prefix.into(),
            codec: Codec::Auto,
            alpn_override: None,
            routes,
            filters: Vec::new(),
            access_logs: Vec::new(),
            server_name: Bytes::from_static(b"envoy"),
            server_header: ServerHeader::Overwrite,
            via: None,
            use_remote_address: false,
            xff_num_trusted_hops: 0,
            skip_xff_append: false,
            internal_ranges: None,
            generate_request_id: true,
            preserve_request_id: false,
            request_id_in_response: false,
            client_cert: ForwardClientCert::Sanitize,
            normalize_path: false,
            merge_slashes: false,
            escaped_slashes: EscapedSlashes::Keep,
            strip_port: StripPort::No,
            upgrades: Vec::new(),
            accept_http10: false,
            idle_timeout: Some(Duration::from_secs(3600)),
            stream_idle_timeout: Some(Duration::from_secs(300)),
            request_timeout: None,
            headers_timeout: None,
            max_connection_duration: None,
            max_requests_per_connection: None,
            drain_timeout: Duration::from_secs(5),
            max_request_headers_kb: 60,
            max_headers: 100,
            http2: Http2Options::default(),
            proxy_100_continue: false,
            suppress_envoy_headers: false,
            tracing: None,
            stats: Arc::new(HttpStats::new(workers)),
        }
    }
}

/// A filter before the router.
#[derive(Clone, Debug)]
pub enum HttpFilter {
    /// Faults; the policy here is that of routes that have none of their own.
    Fault(Arc<FaultPolicy>),
    /// CORS; routes and virtual hosts have the policies.
    Cors(Arc<CorsPolicy>),
    /// Role-based access control, by its name; routes may have rules of their own.
    Rbac(Box<str>, Arc<RbacFilter>),
    /// JSON Web Tokens, by its name; routes may have requirements of their own.
    Jwt(Box<str>, Arc<JwtFilter>),
    /// External authorization, by its name; routes may have settings of their own.
    ExtAuthz(Box<str>, Arc<ExtAuthzFilter>),
    /// A filter that needs no waiting, by its name.
    Extension(Box<str>, Arc<dyn HttpExtension>),
}

/// Which protocols are served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Codec {
    /// By ALPN or the first bytes.
    #[default]
    Auto,
    /// HTTP/1 alone.
    Http1,
    /// HTTP/2 alone.
    Http2,
}

/// What happens to `server` in responses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ServerHeader {
    /// Ours replaces the upstream's.
    #[default]
    Overwrite,
    /// Ours where there is none.
    AppendIfAbsent,
    /// It stays as it is.
    PassThrough,
}

/// What happens to `x-forwarded-client-cert`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ForwardClientCert {
    /// Removed.
    #[default]
    Sanitize,
    /// Forwarded on mutual TLS connections.
    ForwardOnly,
    /// The client's certificate is appended on mutual TLS connections.
    AppendForward(CertFields),
    /// Replaced by the client's certificate.
    SanitizeSet(CertFields),
    /// Forwarded always.
    AlwaysForwardOnly,
}

/// Which facts of the client's certificate are told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CertFields {
    /// Subject.
    pub subject: bool,
    /// The certificate in PEM.
    pub cert: bool,
    /// The chain in PEM.
    pub chain: bool,
    /// DNS names.
    pub dns: bool,
    /// URI.
    pub uri: bool,
}

/// What happens to `%2F` and `%5C` in paths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EscapedSlashes {
    /// Nothing.
    #[default]
    Keep,
    /// 400.
    Reject,
    /// Redirect to the unescaped path.
    UnescapeAndRedirect,
    /// Unescaped in place.
    UnescapeAndForward,
}

/// Whether the port is taken off the authority.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StripPort {
    /// No.
    #[default]
    No,
    /// When it is the listener's.
    Matching,
    /// Always.
    Any,
}
