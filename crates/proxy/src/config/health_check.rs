//! Active health checks (Envoy's "Health checking").

use bytes::Bytes;
use std::ops::RangeInclusive;
use std::time::Duration;

/// How the endpoints of a cluster are checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// Limit of one check.
    pub timeout: Duration,
    /// Time between checks, by what the last one told.
    pub intervals: Intervals,
    /// Most that is added to an interval at random, so that proxies do not check all at once.
    pub jitter: Duration,
    /// The same in percent of the interval.
    pub jitter_percent: u32,
    /// Most that the first check waits, at random.
    pub initial_jitter: Duration,
    /// Failures in a row that make a healthy endpoint unhealthy.
    pub unhealthy_threshold: u32,
    /// Successes in a row that make an unhealthy endpoint healthy.
    pub healthy_threshold: u32,
    /// Another port than that of the endpoint.
    pub port: Option<u16>,
    /// What is asked.
    pub probe: Probe,
}

/// Time between checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Intervals {
    /// After a success.
    pub healthy: Duration,
    /// After a success that does not count for healthy yet.
    pub healthy_edge: Duration,
    /// After a failure.
    pub unhealthy: Duration,
    /// After a failure that does not count for unhealthy yet.
    pub unhealthy_edge: Duration,
    /// While the cluster has had no traffic; 60 s by default.
    pub no_traffic: Duration,
    /// While the cluster has had no traffic, after a success.
    pub no_traffic_healthy: Duration,
}

/// What is asked of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probe {
    /// An HTTP request.
    Http(Box<HttpProbe>),
    /// A connection, and perhaps bytes.
    Tcp {
        /// What is sent.
        send: Bytes,
        /// What must come back, in this order.
        receive: Vec<Bytes>,
    },
    /// `grpc.health.v1.Health/Check`.
    Grpc {
        /// The service that is asked for; empty: the server as a whole.
        service: String,
        /// The request's authority; the cluster's name by default.
        authority: Option<String>,
        /// Metadata that is sent.
        metadata: Vec<(String, String)>,
    },
}

/// An HTTP request that tells health.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpProbe {
    /// Speak HTTP/2.
    pub http2: bool,
    /// Method; GET by default.
    pub method: http::Method,
    /// Path.
    pub path: String,
    /// The request's host; the cluster's name by default.
    pub host: Option<String>,
    /// Headers that are added.
    pub headers: Vec<(String, String)>,
    /// Statuses of a healthy endpoint; 200 by default.
    pub expected: Vec<RangeInclusive<u16>>,
    /// Statuses that count against the threshold; others than these and the expected are a failure at once.
    pub retriable: Vec<RangeInclusive<u16>>,
}

/// What an endpoint says about its own checks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndpointCheck {
    /// Another port.
    pub port: Option<u16>,
    /// Another host name.
    pub hostname: Option<String>,
    /// It is not checked.
    pub disabled: bool,
}
