//! What goes wrong on the path, and the one place that turns it into a response, a flag and a counter.

use crate::http::h1::H1Error;
use crate::request_info::ResponseFlags;
use bytes::Bytes;
use std::borrow::Cow;

/// An answer that the proxy gives itself.
#[derive(Clone, Debug)]
pub struct LocalReply {
    /// Status.
    pub status: u16,
    /// gRPC status for gRPC requests; none: derived from `status`.
    pub grpc_status: Option<u32>,
    /// Body (or `grpc-message`).
    pub body: Bytes,
    /// Flags of the log.
    pub flags: ResponseFlags,
    /// Envoy's `%RESPONSE_CODE_DETAILS%`.
    pub details: Cow<'static, str>,
    /// Further headers, names in lower case.
    pub headers: Vec<(&'static str, Bytes)>,
}

impl LocalReply {
    /// A reply with a constant body.
    pub fn new(status: u16, body: &'static str, flags: ResponseFlags, details: &'static str) -> Self {
        LocalReply {
            status,
            grpc_status: None,
            body: Bytes::from_static(body.as_bytes()),
            flags,
            details: details.into(),
            headers: Vec::new(),
        }
    }
}

/// Where a failure comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The peer that asked.
    Client,
    /// The peer that was asked.
    Upstream,
    /// The configuration.
    Config,
}

/// Why a request could not be forwarded or answered.
#[derive(Debug)]
pub enum Failure {
    /// The client closed its connection.
    ClientClosed,
    /// We closed the client's connection: the time of its filter chain to drain is over.
    Drained,
    /// The client reset the stream.
    ClientReset,
    /// The client broke the protocol.
    ClientProtocol(H1Error),
    /// The cluster does not exist; the status to answer with.
    NoCluster(u16),
    /// The cluster has no endpoint that can be used.
    NoHealthyUpstream,
    /// A circuit breaker is open.
    Overflow,
    /// The connection could not be made: why.
    Connect(String),
    /// The connection was not made in time.
    ConnectTimeout,
    /// TLS to the upstream failed: why.
    Tls(String),
    /// The upstream closed the connection within a message, or before the response.
    UpstreamClosed {
        /// Nothing of the response had come, on a connection that had served before: it may just have been idle
        /// for too long.
        stale: bool,
    },
    /// The upstream reset the stream.
    UpstreamReset {
        /// It said that it had not begun (REFUSED_STREAM).
        refused: bool,
    },
    /// The upstream broke the protocol.
    UpstreamProtocol(&'static str),
    /// The route's timeout.
    Timeout,
    /// The timeout of one try.
    PerTryTimeout,
    /// The stream was silent for too long.
    StreamIdle,
    /// The stream lived for too long.
    MaxDuration,
}

impl Failure {
    /// Where it comes from.
    pub fn source(&self) -> Source {
        match self {
            Failure::ClientClosed | Failure::Drained | Failure::ClientReset | Failure::ClientProtocol(_) => {
                Source::Client
            }
            Failure::NoCluster(_) => Source::Config,
            _ => Source::Upstream,
        }
    }

    /// The flag of the log.
    pub fn flag(&self) -> ResponseFlags {
        match self {
            Failure::ClientClosed | Failure::Drained => ResponseFlags::DC,
            Failure::ClientReset => ResponseFlags::DR,
            Failure::ClientProtocol(_) => ResponseFlags::DPE,
            Failure::NoCluster(_) => ResponseFlags::NC,
            Failure::NoHealthyUpstream => ResponseFlags::UH,
            Failure::Overflow => ResponseFlags::UO,
            Failure::Connect(_) | Failure::ConnectTimeout | Failure::Tls(_) => ResponseFlags::UF,
            Failure::UpstreamClosed { .. } => ResponseFlags::UC,
            Failure::UpstreamReset { .. } => ResponseFlags::UR,
            Failure::UpstreamProtocol(_) => ResponseFlags::UPE,
            Failure::Timeout | Failure::PerTryTimeout => ResponseFlags::UT,
            Failure::StreamIdle => ResponseFlags::SI,
            Failure::MaxDuration => ResponseFlags::UMSDR,
        }
    }

    /// Why the transport failed, for `%UPSTREAM_TRANSPORT_FAILURE_REASON%`.
    pub fn transport_reason(&self) -> Option<&str> {
        match self {
            Failure::Connect(why) | Failure::Tls(why) => Some(why),
            _ => None,
        }
    }

    /// Envoy's words for the reset and its `%RESPONSE_CODE_DETAILS%`.
    fn reset_reason(&self) -> (&'static str, &'static str) {
        match self {
            Failure::Overflow => ("overflow", "upstream_reset_before_response_started{overflow}"),
            Failure::Connect(_) | Failure::Tls(_) => (
                "remote connection failure",
                "upstream_reset_before_response_started{remote_connection_failure}",
            ),
            Failure::ConnectTimeout => {
                ("connection timeout", "upstream_reset_before_response_started{connection_timeout}")
            }
            Failure::UpstreamReset { refused: false } => {
                ("remote reset", "upstream_reset_before_response_started{remote_reset}")
            }
            Failure::UpstreamReset { refused: true } => (
                "remote refused stream reset",
                "upstream_reset_before_response_started{remote_refused_stream_reset}",
            ),
            Failure::UpstreamProtocol(_) => {
                ("protocol error", "upstream_reset_before_response_started{protocol_error}")
            }
            _ => ("connection termination", "upstream_reset_before_response_started{connection_termination}"),
        }
    }

    /// The answer to the client. `retried`: other attempts went before.
    pub fn reply(&self, retried: bool) -> LocalReply {
        let flags = self.flag();
        match self {
            Failure::NoHealthyUpstream => {
                LocalReply::new(503, "no healthy upstream", flags, "no_healthy_upstream")
            }
            Failure::NoCluster(status) => LocalReply::new(*status, "", flags, "cluster_not_found"),
            Failure::Timeout => LocalReply::new(504, "upstream request timeout", flags, "response_timeout"),
            Failure::PerTryTimeout => {
                LocalReply::new(504, "upstream request timeout", flags, "upstream_per_try_timeout")
            }
            Failure::StreamIdle => LocalReply::new(408, "stream timeout", flags, "stream_idle_timeout"),
            Failure::MaxDuration => {
                LocalReply::new(408, "downstream duration timeout", flags, "max_duration_timeout")
            }
            Failure::ClientProtocol(error) => client_protocol_reply(error),
            Failure::ClientClosed | Failure::Drained | Failure::ClientReset => {
                LocalReply::new(0, "", flags, "downstream_remote_disconnect")
            }
            _ => {
                let (reason, details) = self.reset_reason();
                let mut body = String::from("upstream connect error or disconnect/reset before headers. ");
                body.push_str(if retried {
                    "retried and the latest reset reason: "
                } else {
                    "reset reason: "
                });
                body.push_str(reason);
                if let Some(why) = self.transport_reason() {
                    body.push_str(", transport failure reason: ");
                    body.push_str(why);
                }
                let mut reply = LocalReply { body: body.into(), ..LocalReply::new(503, "", flags, details) };
                if matches!(self, Failure::Overflow) {
                    reply.headers.push(("x-envoy-overloaded", Bytes::from_static(b"true")));
                }
                reply
            }
        }
    }

    /// Envoy's details of a session that is no HTTP; none where its flag says it all.
    pub fn session_details(&self) -> Option<&'static str> {
        match self {
            Failure::ClientClosed
            | Failure::Drained
            | Failure::ClientReset
            | Failure::ClientProtocol(_)
            | Failure::Timeout
            | Failure::StreamIdle
            | Failure::MaxDuration => Some(self.late_details()),
            _ => None,
        }
    }

    /// Envoy's details when the response had begun already.
    pub fn late_details(&self) -> &'static str {
        match self {
            Failure::ClientClosed => "downstream_remote_disconnect",
            Failure::Drained => "downstream_local_disconnect",
            Failure::ClientReset => "http2.remote_reset",
            Failure::ClientProtocol(_) => "http1.codec_error",
            Failure::Timeout => "response_timeout",
            Failure::StreamIdle => "stream_idle_timeout",
            Failure::MaxDuration => "max_duration_timeout",
            Failure::UpstreamReset { .. } => "upstream_reset_after_response_started{remote_reset}",
            Failure::UpstreamProtocol(_) => "upstream_reset_after_response_started{protocol_error}",
            _ => "upstream_reset_after_response_started{connection_termination}",
        }
    }
}

/// The answer to a client that broke HTTP/1.
pub fn client_protocol_reply(error: &H1Error) -> LocalReply {
    let flags = ResponseFlags::DPE;
    match error {
        H1Error::TooLarge => {
            LocalReply::new(431, "Request Header Fields Too Large", flags, "http1.headers_too_large")
        }
        H1Error::UnsupportedCoding => {
            LocalReply::new(501, "Not Implemented", flags, "http1.invalid_transfer_encoding")
        }
        H1Error::Timeout => LocalReply::new(408, "Request Timeout", flags, "request_header_timeout"),
        _ => LocalReply::new(400, "Bad Request", flags, "http1.codec_error"),
    }
}

/// The gRPC status that stands for an HTTP status (gRPC's http-grpc-status-mapping).
pub fn grpc_status_of(http: u16) -> u32 {
    match http {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502..=504 => 14,
        _ => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_connection_says_why_in_envoys_words() {
        let reply = Failure::Connect("delayed connect error: Connection refused".into()).reply(false);
        assert_eq!(
            reply.body,
            "upstream connect error or disconnect/reset before headers. reset reason: remote connection failure, \
             transport failure reason: delayed connect error: Connection refused"
        );
        assert_eq!((reply.status, reply.flags), (503, ResponseFlags::UF));
    }

    #[test]
    fn after_retries_the_latest_reason_is_told() {
        let body = Failure::UpstreamClosed { stale: false }.reply(true).body;
        assert!(body.ends_with(b"retried and the latest reset reason: connection termination"));
    }
}
