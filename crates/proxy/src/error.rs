//! What goes wrong on the path, and the one place that turns it into a response, a flag and a counter.

use crate::request_info::ResponseFlags;
use bytes::Bytes;

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
    pub details: &'static str,
    /// Further headers, names in lower case.
    pub headers: Vec<(&'static str, Bytes)>,
}
