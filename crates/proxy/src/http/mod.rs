//! HTTP: heads and headers, codecs, routing, forwarding.

pub mod head;
pub mod headers;

pub use head::{RequestHead, ResponseHead, Scheme};
pub use headers::Headers;
