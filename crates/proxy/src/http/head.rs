//! Heads of requests and responses as the path sees them, whatever protocol brought them.

use super::headers::Headers;
use bytes::Bytes;

/// The head of a request. Pseudo-headers are fields; `headers` holds no `host`.
#[derive(Clone, Debug)]
pub struct RequestHead {
    /// The method.
    pub method: http::Method,
    /// `:authority` (HTTP/1's Host).
    pub authority: Bytes,
    /// `:path` with its query; `*` for OPTIONS of the server.
    pub path: Bytes,
    /// `:scheme`.
    pub scheme: Scheme,
    /// All other headers.
    pub headers: Headers,
}

/// The scheme of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Scheme {
    /// `http`.
    #[default]
    Http,
    /// `https`.
    Https,
}

impl Scheme {
    /// As written in a URL.
    pub fn as_str(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
        }
    }
}

impl RequestHead {
    /// A header or pseudo-header (`:method`, `:authority`, `:path`, `:scheme`; `host` is the authority) by lower-case
    /// name; repeated values are joined by `,`.
    pub fn field(&self, name: &str) -> Option<std::borrow::Cow<'_, [u8]>> {
        match name {
            ":method" => Some(self.method.as_str().as_bytes().into()),
            ":authority" | "host" => Some((&self.authority[..]).into()),
            ":path" => Some((&self.path[..]).into()),
            ":scheme" => Some(self.scheme.as_str().as_bytes().into()),
            _ => self.headers.joined(name),
        }
    }

    /// The path without query and fragment.
    pub fn path_only(&self) -> &[u8] {
        let end = self.path.iter().position(|b| matches!(b, b'?' | b'#')).unwrap_or(self.path.len());
        &self.path[..end]
    }

    /// Whether this is a gRPC request (`content-type: application/grpc` or `application/grpc+...`).
    pub fn is_grpc(&self) -> bool {
        is_grpc_content_type(self.headers.get("content-type"))
    }
}

/// Whether a content type is gRPC's own (not gRPC-Web's).
pub fn is_grpc_content_type(value: Option<&[u8]>) -> bool {
    let Some(rest) = value.and_then(|v| v.strip_prefix(b"application/grpc")) else { return false };
    rest.first().is_none_or(|b| matches!(b, b'+' | b';'))
}

/// The head of a response.
#[derive(Clone, Debug)]
pub struct ResponseHead {
    /// The status code.
    pub status: u16,
    /// All headers.
    pub headers: Headers,
}

impl ResponseHead {
    /// A header or `:status` by lower-case name; repeated values are joined by `,`.
    pub fn field(&self, name: &str) -> Option<std::borrow::Cow<'_, [u8]>> {
        match name {
            ":status" => Some(self.status.to_string().into_bytes().into()),
            _ => self.headers.joined(name),
        }
    }
}
