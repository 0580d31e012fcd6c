//! The HTTP routes of a VirtualService.

use std::collections::BTreeMap;

use super::virtual_service::{Destination, StringMatch};
use crate::wire::duration::Duration;
use crate::wire::message::{enumeration, message, oneof};

message! {
    /// Match conditions and actions for HTTP/1.1, HTTP/2 and gRPC.
    pub struct HttpRoute {
        /// The route's name, which appears in access logs.
        name: String,
        /// The conditions; one that holds suffices, none means every request.
        r#match: Vec<HttpMatchRequest>,
        /// Where requests are forwarded, by weight.
        route: Vec<HttpRouteDestination>,
        /// Answer with a redirect instead of forwarding.
        redirect: Option<HttpRedirect>,
        /// Answer with a fixed response instead of forwarding.
        direct_response: Option<HttpDirectResponse>,
        /// Continue with the routes of another virtual service.
        delegate: Option<Delegate>,
        /// Rewrite path and authority before forwarding.
        rewrite: Option<HttpRewrite>,
        /// How long a request may take, retries included; none by default.
        timeout: Option<Duration>,
        /// When and how often a failed request is tried again.
        retries: Option<HttpRetry>,
        /// Faults to inject.
        fault: Option<HttpFaultInjection>,
        /// Send a copy of each request there; the answers are discarded.
        mirror: Option<Destination>,
        /// Send copies to several destinations.
        mirrors: Vec<HttpMirrorPolicy>,
        /// Deprecated: use mirrorPercentage.
        mirror_percent: Option<u32>,
        /// Which share of requests is mirrored; all by default.
        mirror_percentage: Option<Percent>,
        /// Cross-origin resource sharing.
        cors_policy: Option<CorsPolicy>,
        /// Headers to change.
        headers: Option<Headers>,
    }
}

message! {
    /// Another virtual service, whose routes apply beneath a route.
    pub struct Delegate {
        /// Its name.
        name: String,
        /// Its namespace; the same by default.
        namespace: String,
    }
}

message! {
    /// Changes to headers.
    pub struct Headers {
        /// Changes to the request before it is forwarded.
        request: Option<HeaderOperations>,
        /// Changes to the response before it is returned.
        response: Option<HeaderOperations>,
    }
}

message! {
    /// What to do with headers.
    pub struct HeaderOperations {
        /// Headers to overwrite.
        set: BTreeMap<String, String>,
        /// Values to append.
        add: BTreeMap<String, String>,
        /// Headers to remove.
        remove: Vec<String>,
    }
}

message! {
    /// Conditions on a request, all of which must hold.
    pub struct HttpMatchRequest {
        /// The condition's name, which appears in access logs.
        name: String,
        /// The path, with the query cut off.
        uri: Option<StringMatch>,
        /// The scheme.
        scheme: Option<StringMatch>,
        /// The method.
        method: Option<StringMatch>,
        /// The authority (`Host`).
        authority: Option<StringMatch>,
        /// Headers, by lower-case name.
        headers: BTreeMap<String, StringMatch>,
        /// The port that is addressed.
        port: u32,
        /// Labels of the client's workload.
        source_labels: BTreeMap<String, String>,
        /// The gateways to which the condition applies, instead of the virtual service's.
        gateways: Vec<String>,
        /// Query parameters, by name.
        query_params: BTreeMap<String, StringMatch>,
        /// Whether exact and prefix matches of the path ignore case.
        ignore_uri_case: bool,
        /// Headers that must not match.
        without_headers: BTreeMap<String, StringMatch>,
        /// The namespace of the client's workload.
        source_namespace: String,
        /// A prefix for the statistics of this route.
        stat_prefix: String,
    }
}

message! {
    /// A destination of requests and its share.
    pub struct HttpRouteDestination {
        /// Where requests are sent.
        destination: Option<Destination>,
        /// Its share of the requests, relative to the sum of all weights; a lone destination gets all.
        weight: i32,
        /// Headers to change.
        headers: Option<Headers>,
    }
}

message! {
    /// A redirect.
    pub struct HttpRedirect {
        /// The new path (with its query).
        uri: String,
        /// The new authority.
        authority: String,
        /// The new scheme.
        scheme: String,
        /// The status: 301 by default.
        redirect_code: u32,
    }
    oneof {
        /// The new port.
        redirect_port: RedirectPort,
    }
}

oneof! {
    /// The port of a redirect.
    pub enum RedirectPort {
        /// This port.
        port: Port(u32),
        /// A port that follows from the request.
        derive_port: Derive(RedirectPortSelection),
    }
}

enumeration! {
    /// How the port of a redirect follows from the request.
    pub enum RedirectPortSelection {
        /// 80 for HTTP, 443 for HTTPS.
        FromProtocolDefault = 0 "FROM_PROTOCOL_DEFAULT",
        /// The request's own port.
        FromRequestPort = 1 "FROM_REQUEST_PORT",
    }
}

message! {
    /// A fixed response.
    pub struct HttpDirectResponse {
        /// Its status.
        status: u32,
        /// Its body; none by default.
        body: Option<HttpBody>,
    }
}

oneof! {
    /// The body of a fixed response.
    pub message enum HttpBody {
        /// As text.
        string: Text(String),
        /// As bytes, in base64.
        bytes: Base64(String),
    }
}

message! {
    /// How path and authority are rewritten.
    pub struct HttpRewrite {
        /// What replaces the path, or the prefix that was matched.
        uri: String,
        /// What replaces the authority.
        authority: String,
        /// How the path is rewritten by a regular expression.
        uri_regex_rewrite: Option<RegexRewrite>,
    }
}

message! {
    /// A rewrite by a regular expression.
    pub struct RegexRewrite {
        /// The RE2 expression.
        r#match: String,
        /// What replaces it; `\1` stands for the first group.
        rewrite: String,
    }
}

message! {
    /// When and how often a failed request is tried again.
    pub struct HttpRetry {
        /// How many times a request is tried again; 0 means never.
        attempts: i32,
        /// How long each try may take; the route's timeout by default.
        per_try_timeout: Option<Duration>,
        /// After which failures: Envoy's names, comma-separated, and status codes.
        retry_on: String,
        /// Whether other localities may be tried.
        retry_remote_localities: Option<bool>,
        /// Whether hosts that failed already are passed over; true by default.
        retry_ignore_previous_hosts: Option<bool>,
        /// The shortest wait between tries; 25 ms by default.
        backoff: Option<Duration>,
    }
}

message! {
    /// Cross-origin resource sharing.
    pub struct CorsPolicy {
        /// Deprecated: use allowOrigins.
        allow_origin: Vec<String>,
        /// The origins that are allowed.
        allow_origins: Vec<StringMatch>,
        /// `Access-Control-Allow-Methods`.
        allow_methods: Vec<String>,
        /// `Access-Control-Allow-Headers`.
        allow_headers: Vec<String>,
        /// `Access-Control-Expose-Headers`.
        expose_headers: Vec<String>,
        /// `Access-Control-Max-Age`.
        max_age: Option<Duration>,
        /// `Access-Control-Allow-Credentials`.
        allow_credentials: Option<bool>,
        /// What becomes of preflight requests of origins that do not match.
        unmatched_preflights: UnmatchedPreflights,
    }
}

enumeration! {
    /// What becomes of preflight requests of origins that do not match.
    pub enum UnmatchedPreflights {
        /// As FORWARD.
        Unspecified = 0 "UNSPECIFIED",
        /// They are forwarded to the destination.
        Forward = 1 "FORWARD",
        /// They are answered with 200 and no CORS headers.
        Ignore = 2 "IGNORE",
    }
}

message! {
    /// Faults to inject.
    pub struct HttpFaultInjection {
        /// Hold requests before they are forwarded.
        delay: Option<FaultDelay>,
        /// End requests with an error.
        abort: Option<FaultAbort>,
    }
}

message! {
    /// A delay.
    pub struct FaultDelay {
        /// Deprecated: use percentage.
        percent: i32,
        /// Which share of requests is held.
        percentage: Option<Percent>,
    }
    oneof {
        /// How long.
        http_delay: DelayTime,
    }
}

oneof! {
    /// The time of a delay.
    pub enum DelayTime {
        /// Always the same time; at least 1 ms.
        fixed_delay: Fixed(Duration),
        /// Not implemented by Istio.
        exponential_delay: Exponential(Duration),
    }
}

message! {
    /// An abort.
    pub struct FaultAbort {
        /// Deprecated: use percentage.
        percent: i32,
        /// Which share of requests is ended; all by default.
        percentage: Option<Percent>,
    }
    oneof {
        /// With which error.
        error: AbortError,
    }
}

oneof! {
    /// The error of an abort.
    pub enum AbortError {
        /// This HTTP status.
        http_status: HttpStatus(i32),
        /// This gRPC status, by its name.
        grpc_status: GrpcStatus(String),
        /// Not implemented by Istio.
        http2_error: Http2Error(String),
    }
}

message! {
    /// A mirror.
    pub struct HttpMirrorPolicy {
        /// Where copies are sent.
        destination: Option<Destination>,
        /// Which share of requests is copied; all by default.
        percentage: Option<Percent>,
    }
}

message! {
    /// A share, from 0.0 to 100.0.
    pub struct Percent {
        /// The share.
        value: f64,
    }
}
