//! External authorization: whom to ask, what to tell, and what an answer may change.

use super::cluster::ClusterSlot;
use super::matcher::{Fraction, StringMatcher};
use super::metadata::MetadataMatcher;
use crate::upstream::stats::ExtAuthzStats;
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;

/// An external authorization filter, of HTTP or of a connection.
#[derive(Clone, Debug)]
pub struct ExtAuthzFilter {
    /// Whom to ask.
    pub service: AuthzService,
    /// Let requests pass when nobody answers.
    pub failure_mode_allow: bool,
    /// Tell the upstream so, in `x-envoy-auth-failure-mode-allowed`.
    pub failure_mode_header: bool,
    /// Send the body as well.
    pub body: Option<AuthzBody>,
    /// The route is chosen anew when the answer has changed the request.
    pub clear_route_cache: bool,
    /// Status when nobody answers; 403 by default.
    pub status_on_error: u16,
    /// Namespaces of metadata that are told.
    pub metadata_namespaces: Vec<Box<str>>,
    /// Only this share of requests.
    pub share: Option<Fraction>,
    /// Only requests of which other filters told this.
    pub enabled: Option<MetadataMatcher>,
    /// Refuse requests for which the filter is not enabled.
    pub deny_at_disable: bool,
    /// Tell the client's certificate.
    pub peer_certificate: bool,
    /// Tell the server name that the client asked for.
    pub tls_session: bool,
    /// Headers that are told; none: those of the service's default.
    pub allowed_headers: Option<Vec<StringMatcher>>,
    /// Headers that are not told.
    pub disallowed_headers: Vec<StringMatcher>,
    /// Most bytes of a refusal's body that go to the client; 0: all that are read.
    pub max_denied_body: usize,
    /// Prefix of counters after `ext_authz.`.
    pub stat_prefix: Box<str>,
    /// Counters.
    pub stats: Arc<ExtAuthzStats>,
}

/// How much of the body is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuthzBody {
    /// Most bytes.
    pub max: usize,
    /// Send the beginning of a longer body; else it is answered by 413.
    pub partial: bool,
    /// As bytes and not as text (gRPC).
    pub raw: bool,
}

/// Whom to ask.
#[derive(Clone, Debug)]
pub enum AuthzService {
    /// A gRPC service.
    Grpc(Arc<GrpcAuthz>),
    /// An HTTP server.
    Http(Arc<HttpAuthz>),
}

/// A gRPC service (`envoy.service.auth.v3.Authorization`).
#[derive(Debug)]
pub struct GrpcAuthz {
    /// Its cluster.
    pub cluster: Arc<ClusterSlot>,
    /// `:authority`.
    pub authority: Bytes,
    /// Limit of the call; 200 ms by default.
    pub timeout: Duration,
    /// Metadata of the call; names in lower case.
    pub metadata: Vec<(Bytes, Bytes)>,
}

/// An HTTP server.
#[derive(Debug)]
pub struct HttpAuthz {
    /// Its cluster.
    pub cluster: Arc<ClusterSlot>,
    /// Limit of the call.
    pub timeout: Duration,
    /// Stands before the path.
    pub path_prefix: Box<str>,
    /// Stands in place of the path.
    pub path_override: Option<Bytes>,
    /// Headers that are set; names in lower case.
    pub headers_to_add: Vec<(Bytes, Bytes)>,
    /// Headers of a good answer that replace the request's.
    pub upstream_headers: Vec<StringMatcher>,
    /// Headers of a good answer that are appended to the request's.
    pub upstream_append: Vec<StringMatcher>,
    /// Headers of a refusal that go to the client; none: all.
    pub client_headers: Option<Vec<StringMatcher>>,
    /// Headers of a good answer that go to the client.
    pub client_success_headers: Vec<StringMatcher>,
    /// Headers of an answer that become metadata.
    pub metadata_headers: Vec<StringMatcher>,
}

/// What a route says of an external authorization filter.
#[derive(Clone, Debug)]
pub enum ExtAuthzOverride {
    /// It is off.
    Disabled,
    /// Other settings.
    Settings(Arc<AuthzSettings>),
}

/// Settings of a route.
#[derive(Clone, Debug, Default)]
pub struct AuthzSettings {
    /// Told beside the request.
    pub extensions: Vec<(Box<str>, Box<str>)>,
    /// Do not send the body.
    pub no_body: bool,
    /// How much of the body is sent, instead of the filter's.
    pub body: Option<AuthzBody>,
    /// Whom to ask instead.
    pub service: Option<AuthzService>,
}
